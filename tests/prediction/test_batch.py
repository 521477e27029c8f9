"""What predict.py takes for radiographs, and what it records of how each mask was made."""

import csv
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread

import lung_seg.prediction.batch
import lung_seg.prediction.predictor
from lung_seg import Predictor
from lung_seg.config import PredictConfig
from lung_seg.errors import UserError
from lung_seg.prediction.batch import Outcome, predict
from lung_seg.prediction.inputs import find_inputs
from lung_seg.prediction.table import read_table
from lung_seg.raw.radiograph import Radiograph, open_radiograph
from tests.conftest import Run, read_here
from tests.layouts import draw_chest, write_dicom, write_image

CHECKPOINT = "checkpoint=runs/first"
MAY_BE_ANY_BYTES = pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode there")


def rows_of(folder: str) -> dict[str, dict[str, str]]:
    with Path(folder, "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["input"]: row for row in csv.DictReader(file)}


def write_films(folder: str, *names: str) -> None:
    for number, name in enumerate(names):
        write_image(Path(folder, name), draw_chest(600 + number, 48, 41)[0])


def predicted(text: str, output: str = "out", **settings: object) -> Outcome:
    """As predict.py input=text output=output, without the command line."""
    config = PredictConfig(**{"input": text, "output": output, "checkpoint": "runs/first", "overlay": False} | settings)
    return predict(config, Path(output))


def read_mask(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path)) > 0


def as_mirrored(path: Path, *settings: object) -> Radiograph:
    """What the reader returns of a DICOM file that says R\\F."""
    return open_radiograph(path, *settings)._replace(mirrored=True, remarks=("first remark", "second remark"))


@pytest.fixture
def mirrored(trained: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A film in its usual orientation; film.dcm holds it mirrored, and says so."""
    film = draw_chest(7, 60, 51)[0]
    write_dicom(Path("film.dcm"), np.ascontiguousarray(film[:, ::-1]), WindowCenter=128, WindowWidth=256)
    monkeypatch.setattr(lung_seg.prediction.predictor, "open_radiograph", as_mirrored)
    read_here(monkeypatch, as_mirrored)
    return film


@pytest.mark.parametrize("flip", [False, True])
def test_a_mirrored_film_has_the_masks_of_the_usual_one_mirrored(mirrored: np.ndarray, flip: bool) -> None:
    predictor = Predictor("runs/first", flip=flip)
    usual, found = predictor.predict(mirrored), predictor.predict("film.dcm")
    assert usual.right.any()
    assert usual.left.any()
    for name in ("right", "left", "mask", "probability"):
        np.testing.assert_array_equal(getattr(found, name), getattr(usual, name)[:, ::-1])
    assert found.quality == usual.quality
    remarks = found.warning.split("; ")
    assert remarks[:2] == ["first remark", "second remark"]
    assert remarks[2].startswith("the file is mirrored")


def test_files_of_a_mirrored_film_name_the_patients_sides(mirrored: np.ndarray, run: Run) -> None:
    usual = Predictor("runs/first").predict(mirrored)
    assert run("predict", "input=film.dcm", CHECKPOINT, "output=out", "dicom_seg=true", "crop=true").code == 0
    (row,) = rows_of("out").values()
    assert (int(row["right_lung_area_px"]), int(row["left_lung_area_px"])) == (usual.right.sum(), usual.left.sum())
    assert row["warning"].startswith("first remark; second remark; the file is mirrored")
    mask = read_mask("out/film_mask.png")
    np.testing.assert_array_equal(mask, usual.mask[:, ::-1])
    columns = np.flatnonzero(mask.any(axis=0))
    assert (int(row["box_left_px"]), int(row["box_width_px"])) == (columns[0], np.ptp(columns) + 1)
    segmentation = dcmread("out/film_seg.dcm")
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["Right lung", "Left lung"]
    np.testing.assert_array_equal(segmentation.pixel_array, [usual.right[:, ::-1], usual.left[:, ::-1]])


def test_a_predictor_reads_negatives(trained: Path) -> None:
    film = draw_chest(7, 60, 51)[0]
    write_image(Path("negative.png"), 255 - film)
    expected = Predictor("runs/first").predict(film).probability
    inverted = Predictor("runs/first", inverted=True)
    for negative in ("negative.png", 255 - film):
        np.testing.assert_array_equal(inverted.predict(negative).probability, expected)


def test_an_impossible_spacing_is_warned_of(trained: Path) -> None:
    write_dicom(Path("films/a.dcm"), draw_chest(7, 60, 60)[0], PixelSpacing=[500, 500])
    write_dicom(Path("films/b.dcm"), draw_chest(7, 60, 60)[0], PixelSpacing=[5.5, 5.5])
    predicted("films")
    warnings = {name: row["warning"] for name, row in rows_of("out").items()}
    assert "500 x 500 mm the radiograph is 3000 x 3000 cm" in warnings["films/a.dcm"]
    assert "spacing_mm=" not in warnings["films/b.dcm"]
    predicted("films/b.dcm", spacing_mm=0.1)
    assert "0.1 x 0.1 mm the radiograph is 0.6 x 0.6 cm" in rows_of("out")["films/b.dcm"]["warning"]


def test_rows_of_runs_that_share_a_folder_all_survive(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_films("one", "a.png", "b.png")
    write_films("two", "a.png", "c.png")
    both_have_read = threading.Barrier(2, timeout=1)

    def read_together(path: Path) -> dict[str, dict[str, str]]:
        rows = read_table(path)
        with suppress(threading.BrokenBarrierError):
            both_have_read.wait()
        return rows

    monkeypatch.setattr(lung_seg.prediction.batch, "read_table", read_together)
    runs = [threading.Thread(target=predicted, args=(folder,)) for folder in ("one", "two")]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    rows = rows_of("out")
    assert len(rows) == len(list(Path("out").glob("*_mask.png"))) == len({row["mask"] for row in rows.values()}) == 4


def test_what_other_weights_or_settings_made_is_made_anew(trained: Path, run: Run) -> None:
    write_films("films", "a.png")
    predicted("films")
    (first,) = rows_of("out").values()
    assert "flip=false cleaning=true inverted=false window=auto spacing_mm=none" in first["settings"]
    flipped = run(
        "predict", "input=films", "output=out", CHECKPOINT, "overlay=false", "skip_existing=true", "flip=true"
    ).out
    assert "Predicted 1 radiograph" in flipped
    assert "1 of them replaced masks of other weights or settings." in flipped
    assert "flip=true" in rows_of("out")["films/a.png"]["settings"]

    checkpoint = torch.load("runs/first/checkpoints/best.ckpt", weights_only=True)
    torch.save(checkpoint | {"epoch": 99}, "other.ckpt")
    for networks, replaced in (("other.ckpt", 1), (["other.ckpt", "runs/first"], 1), (["runs/first", "other.ckpt"], 0)):
        outcome = predicted("films", checkpoint=networks, flip=True, skip_existing=True)
        assert (outcome.predicted, outcome.replaced, outcome.skipped) == (replaced, replaced, 1 - replaced)
    assert first["weights"] in rows_of("out")["films/a.png"]["weights"].split()


def test_a_radiograph_that_was_replaced_is_predicted_anew(trained: Path) -> None:
    write_films("films", "a.png", "b.png")
    predicted("films")
    later = Path("out/a_mask.png").stat().st_mtime + 10
    os.utime("films/a.png", (later, later))
    assert predicted("films", skip_existing=True).skipped == 1


@MAY_BE_ANY_BYTES
def test_names_of_any_bytes_get_a_row_and_their_files(trained: Path, run: Run) -> None:
    names = (b"a\xe4.png", b"b\nc.png", b"d\re.png", 'f\u2028,"g.png'.encode())
    write_films("films", *map(os.fsdecode, names))
    assert run("predict", "input=films", CHECKPOINT, "output=out", "overlay=false").code == 0
    rows = rows_of("out")
    assert set(rows) == {"films/a\\udce4.png", "films/b\\nc.png", "films/d\\re.png", 'films/f\\u2028,"g.png'}
    for row in rows.values():
        assert read_mask(Path("out", row["mask"])).sum() == int(row["lung_area_px"]) > 0
    assert Path("out/predictions.csv").read_text(encoding="utf-8").count("\n") == 5
    assert predicted("films", skip_existing=True).skipped == 4

    Path("films/a\udce4.png").write_text("no image")
    Path("list.txt").write_bytes(b"films/a\xe4.png\r\nfilms/zero\0.png")
    assert len(predicted("list.txt", "list").errors) == 2
    assert {name for name, row in rows_of("list").items() if name in row["error"]} == {
        "films/a\\udce4.png",
        "films/zero\\0.png",
    }


def test_a_list_may_be_written_by_powershell(trained: Path) -> None:
    write_films("films", "a.png")
    Path("list.txt").write_text("films/a.png\n", encoding="utf-16")
    assert find_inputs("list.txt", Path("out")).paths == [Path("films/a.png")]
    Path("list.txt").write_bytes("films/a.png\n".encode("utf-16") + b"\x00\xd8")  # half a surrogate pair
    assert find_inputs("list.txt", Path("out")).paths[0] == Path("films/a.png")


def test_a_film_too_long_for_a_png_ends_no_run(trained: Path) -> None:
    write_films("films", "a.png", "c.png")
    Image.fromarray(np.tile(np.uint8([0, 99]), (1_000_001, 1))).save("films/b.tif")
    assert len(predicted("films").errors) == 1
    assert "a side too long to be written as PNG" in rows_of("out")["films/b.tif"]["error"]
    assert all(rows_of("out")[f"films/{name}.png"]["mask"] for name in "ac")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_ends_no_run(trained: Path) -> None:
    write_films("films", "a.png")
    os.mkfifo("films/b.png")
    Path("list.txt").write_text("films/b.png\nfilms/a.png\n")
    assert len(predicted("list.txt").errors) == 1
    assert rows_of("out")["films/b.png"]["error"] == "films/b.png is no file but a pipe or a device."
    assert rows_of("out")["films/a.png"]["mask"]
    assert len(predicted("films", "other").errors) == 0


def test_a_name_too_long_for_its_results_ends_no_run(trained: Path) -> None:
    long = "x" * 248 + ".png"
    write_films("films", "a.png", long)
    assert (len(predicted("films").errors), len(rows_of("out"))) == (1, 2)
    assert "a name too long for those of its results" in rows_of("out")[f"films/{long}"]["error"]


def test_earlier_results_are_no_radiographs(trained: Path, run: Run) -> None:
    write_films("films", "a.png", "ward/b.png")
    predicted("films", "films/one", crop=True)
    outcome = run("predict", "input=films", CHECKPOINT, "output=films/two", "overlay=false")
    assert "Predicted 2 radiographs" in outcome.out
    assert outcome.out.splitlines()[-1] == "Left out 8 files of films/one: results of an earlier prediction."
    assert find_inputs("films/**/*.png", Path("out")).paths == [Path("films/a.png"), Path("films/ward/b.png")]
    assert len(find_inputs("films/../films", Path("films/two")).remarks) == 1  # on films/one, as above
    Path("films/ward/predictions.csv").write_text("name,age\n")
    assert len(find_inputs("films", Path("out")).paths) == 2
    with pytest.raises(UserError, match=r"films/one names no radiograph. Left out 8 files of films/one"):
        find_inputs("films/one", Path("out"))


@pytest.mark.parametrize("output", ["films", "."])
def test_results_may_lie_among_the_radiographs(trained: Path, output: str) -> None:
    write_films("films", "a.png", "ward/b.png")
    predicted("films", output, overlay=True, crop=True)
    assert find_inputs("films", Path(output)).paths == [Path("films/a.png"), Path("films/ward/b.png")]


def test_files_that_are_passed_over_are_counted(trained: Path, run: Run) -> None:
    write_films("films", "a.jpg", "b.png")
    for name in ("c.jfif", "d.JPE"):
        Path("films", name).write_bytes(Path("films/a.jpg").read_bytes())
    for name in ("e.jp2", "notes.TXT", "more.txt", "f.nii.gz", "1.2.840.10008", ".hidden", ".folder/x.yaml"):
        Path("films", name).parent.mkdir(exist_ok=True)
        Path("films", name).write_bytes(b"")
    Path("films/linked").symlink_to("..")
    outcome = run("predict", "input=films", CHECKPOINT, "output=films/out")
    assert "Predicted 4 radiographs" in outcome.out
    assert outcome.out.splitlines()[-1] == (
        "Passed over 6 files: 2 .txt, 1 without a suffix, 1 .jp2, 1 .nii.gz, 1 linked folder."
    )
    Path("none").mkdir()
    Path("none/a.jp2").touch()
    with pytest.raises(UserError, match=r"names no radiograph. Passed over 1 file: 1 .jp2."):
        find_inputs("none", Path("out"))


def test_an_ensembles_warnings_do_not_depend_on_the_order_of_its_networks(trained: Path) -> None:
    checkpoint = torch.load("runs/first/checkpoints/best.ckpt", weights_only=True)
    data = next(value for value in checkpoint.values() if isinstance(value, dict) and "ranges" in value)
    data["ranges"] = dict.fromkeys(data["ranges"], (-1.0, -0.5))
    torch.save(checkpoint, "strange.ckpt")
    film = draw_chest(7, 60, 51)[0]
    strange, one, other = (
        Predictor(*paths).predict(film).warning
        for paths in (("strange.ckpt",), ("runs/first", "strange.ckpt"), ("strange.ckpt", "runs/first"))
    )
    assert "of the image wide" in strange
    assert "of the image wide" not in one
    assert one == other


def test_names_like_formulas_are_text_in_a_spreadsheet(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("=1+1.png", "-a.png", "@b.png", "+c.png")
    write_films("films", *names)
    monkeypatch.chdir("films")
    assert len(predicted(".", "../out", checkpoint="../runs/first").errors) == 0
    rows = rows_of("../out")
    assert set(rows) == {f"./{name}" for name in names}
    assert all((Path("../out") / row["mask"]).is_file() and row["mask"].startswith("./") for row in rows.values())
    assert predicted(".", "../out", checkpoint="../runs/first", skip_existing=True).skipped == len(names)


@pytest.mark.parametrize("error", [MemoryError(), ValueError("x"), ZeroDivisionError()])
def test_whatever_a_film_raises_is_its_row(trained: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    write_films("films", "a.png", "b.png", "c.png")
    to_network_input = Predictor.to_network_input

    def fail_at_b(self: Predictor, pixels: np.ndarray, mirrored: bool = False) -> np.ndarray:
        if np.array_equal(pixels, open_radiograph(Path("films/b.png")).pixels):
            raise error
        return to_network_input(self, pixels, mirrored)

    monkeypatch.setattr(Predictor, "to_network_input", fail_at_b)
    assert len(predicted("films").errors) == 1
    assert rows_of("out")["films/b.png"]["error"].startswith("films/b.png ")
    assert all(rows_of("out")[f"films/{name}.png"]["mask"] for name in "ac")
