"""Files that crash their decoder, hang it or fill its memory: each costs itself, and nothing else."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import lung_seg
from lung_seg.config import DataConfig, PredictConfig
from lung_seg.errors import UserError
from lung_seg.prediction.batch import predict
from lung_seg.prediction.predictor import SHIPPED_ONNX
from lung_seg.prediction.table import read_table
from lung_seg.prepared.manifest import read_manifest
from lung_seg.prepared.prepare import prepare
from lung_seg.prepared.store import read_record
from lung_seg.raw import decoding
from lung_seg.raw.decoding import Decoders
from lung_seg.raw.radiograph import open_radiograph
from tests.layouts import draw_chest, write_image, write_mask
from tests.raw import failing_decoders

END = decoding._end  # the other tests' own one keeps the processes

SAVE_ANEW = "Save the file anew, or leave it out."
LITTLE_MEMORY = "b.png needs more memory than this machine has free, or than 3.0 GB, the limit of max_megapixels=80."
WHY = {
    "crash": f"films/b.png cannot be read: its decoder crashes (SIGSEGV). {SAVE_ANEW}",
    "leave": f"films/b.png cannot be read: its decoder crashes (exit code 7). {SAVE_ANEW}",
    "hang": "films/b.png was not read within 2 s, the limit of max_megapixels=80; raise that if you trust the file.",
    "fill_memory": f"films/{LITTLE_MEMORY}",
    "be_killed": f"films/{LITTLE_MEMORY}",
    "raise_anything": "films/b.png cannot be read: CannotBePickledError.",
}


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    names = [f"films/{name}.png" for name in "abcd"]
    for number, name in enumerate(names):
        write_image(Path(name), draw_chest(number, 48, 41)[0])
    return names


@pytest.mark.parametrize("fault", WHY)
def test_only_the_film_whose_decoder_fails_has_no_mask(
    films: list[str], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "fill_memory" and sys.platform != "linux":
        pytest.skip("only Linux limits the memory of a process")
    monkeypatch.setattr("lung_seg.prediction.batch.open_radiograph", getattr(failing_decoders, fault))
    if fault == "hang":
        monkeypatch.setattr(decoding, "SECONDS", 2)
        monkeypatch.setattr(decoding, "SECONDS_PER_MEGAPIXEL", 0)
    outcome = predict(PredictConfig(input="films", checkpoint=str(SHIPPED_ONNX), overlay=False), Path("out"))
    assert (outcome.predicted, outcome.errors) == (3, [WHY[fault]])
    rows = read_table(Path("out/predictions.csv"))
    assert {name: row["error"] for name, row in rows.items()} == dict.fromkeys(films, "") | {"films/b.png": WHY[fault]}
    assert all(Path("out", row["mask"]).is_file() for row in rows.values() if not row["error"])


def test_a_mask_whose_decoder_crashes_is_named_and_the_others_are_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate("abcdefgh"):
        image, right, left = draw_chest(number, 40, 40)
        write_image(tmp_path / "raw" / "images" / f"{name}.png", image)
        write_mask(tmp_path / "raw" / "masks" / f"{name}.png", right | left)
    monkeypatch.setattr("lung_seg.prepared.prepare.read_case_masks", failing_decoders.crash_at_masks)
    data = DataConfig(name="x", source="folder", raw_dir=str(tmp_path / "raw"), image_size_px=32)
    data.prepared_dir = str(tmp_path)
    folder = prepare(data)
    assert [row.case_id for row in read_manifest(folder / "manifest.csv")] == list("acdefgh")
    why = f"{tmp_path}/raw/masks/b.png cannot be read: its decoder crashes (SIGSEGV). {SAVE_ANEW}"
    assert read_record(folder)["skipped"] == {"b": why}


def test_pixels_are_those_that_this_process_reads_whatever_a_decoder_prints(films: list[str]) -> None:
    with closing(Decoders()) as decoders:
        for name in films:
            read = decoders.run(name, failing_decoders.print_much, Path(name))
            np.testing.assert_array_equal(read.pixels, open_radiograph(Path(name)).pixels)


def test_errors_of_a_reader_are_raised_unchanged(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with closing(Decoders()) as decoders, pytest.raises(UserError) as there:
        decoders.run("a name", open_radiograph, tmp_path / "empty.png")
    with pytest.raises(UserError) as here:
        open_radiograph(tmp_path / "empty.png")
    assert str(there.value) == str(here.value)


def test_processes_end_where_they_are_closed_and_ctrl_c_reaches_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_end", END)
    decoders = Decoders()
    number, group = decoders.run("", os.getpid), decoders.run("", os.getpgrp)
    assert group == number != os.getpgrp()
    assert decoders.run("", os.getpid) == number, "a second process for the second file"
    decoders.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_process_ends_with_a_killed_one_and_takes_no_module_of_the_current_folder(tmp_path: Path) -> None:
    stranger, own = tmp_path / "stranger", tmp_path / "own"
    write_image(stranger / "film.png", draw_chest(0, 48, 41)[0])
    (stranger / "numpy.py").write_text("raise SystemExit('a stranger runs')")
    own.mkdir()
    (own / "start.py").write_text(
        "import os, signal\n"
        "from pathlib import Path\n"
        "from lung_seg.raw.decoding import Decoders\n"
        "from lung_seg.raw.radiograph import open_radiograph\n"
        "print(Decoders().run('', open_radiograph, Path('film.png')).pixels.shape, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, str(own / "start.py")]
    environment = os.environ | {"PYTHONPATH": str(Path(lung_seg.__file__).parents[1])}
    # Both hold the other end of standard error: this returns where both have ended.
    done = subprocess.run(command, cwd=stranger, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-9, "(48, 41)\n", "")
