"""Whatever a file holds, its reader reads it or refuses it in at most two lines that name it, in bounded time.

A file of each kind is damaged at random. ``make fuzz`` tries for ten minutes and keeps what fails in
.hypothesis/; what it found is listed in ``FOUND``.
"""

import csv
import dataclasses
import json
import os
import shutil
import signal
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as any_of
from onnx import TensorProto, helper
from PIL import Image

from lung_seg import Predictor
from lung_seg.cli.resume import saved_overrides
from lung_seg.errors import UserError
from lung_seg.model import DESCRIPTION_KEY
from lung_seg.model.checkpoint import DATA_KEY, load_training, write_safetensors
from lung_seg.model.unet import UNet
from lung_seg.prediction import table
from lung_seg.prepared import manifest
from lung_seg.prepared.store import FORMAT_VERSION, load_progress, read_record
from lung_seg.raw.download import SHENZHEN, download
from lung_seg.raw.masks import read_mask
from lung_seg.raw.radiograph import read_radiograph
from lung_seg.training.epoch_table import read_epochs
from tests.layouts import draw_chest, write_dicom, write_tiff

LONG = int(os.environ.get("LUNG_SEG_FUZZ", "1"))
SECONDS = 20  # on a busy machine; a file of this size takes milliseconds
SIDE_PX = 32
CHEST = draw_chest(0, SIDE_PX, SIDE_PX)[0]
NETWORK = {"base_channels": 4, "depth": 2, "max_channels": 8, "normalization": "batch"}
DESCRIPTION = {
    "network": NETWORK,
    "data": {"image_size_px": SIDE_PX, "resize": "stretch"},
    "ranges": {"area": [0.1, 0.4]},
    "seed": 0,
    "recipe": {},
}


class Kind(NamedTuple):
    name: str  # of the file
    write: Callable[[Path], object]
    read: Callable[[Path], object]  # what is found, for a test that nothing was passed over


# Files of each kind


def write_picture(path: Path, **options: Any) -> None:
    Image.fromarray(CHEST).save(path, **options)


def write_png_with_extras(path: Path) -> None:
    Image.fromarray(CHEST).convert("RGBA").quantize(16).save(
        path, dpi=(96, 96), icc_profile=bytes(40), exif=b"Exif\0\0"
    )


def write_checkpoint(path: Path) -> None:
    torch.manual_seed(0)
    weights = {f"network.{name}": value for name, value in UNet(**NETWORK).state_dict().items()}
    splits: dict[str, Any] = {split: {"a": ["0", "1"]} for split in ("train", "validation", "test")}
    data = splits | {"ranges": {"area": [0.1, 0.4]}, "identities": {"train": ["x"], "validation": []}}
    description = {key: DESCRIPTION[key] for key in ("network", "data", "seed", "recipe")}
    torch.save({"state_dict": weights, DATA_KEY: data, DESCRIPTION_KEY: description, "global_step": 3}, path)


def write_weights(path: Path) -> None:
    torch.manual_seed(0)
    write_safetensors(UNet(**NETWORK), DESCRIPTION | {"seen": {"training": [], "validation": []}}, path, half=True)


def write_onnx(path: Path) -> None:
    """The mean of three by three pixels above mid-grey: small, with the kinds of node that an export has."""
    kernel = helper.make_tensor(
        "kernel", TensorProto.FLOAT, [1, 1, 3, 3], np.full(9, 1 / 9, np.float32).tobytes(), True
    )
    middle = helper.make_node("Constant", [], ["middle"], value=helper.make_tensor("", TensorProto.FLOAT, [], [127.5]))
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "kernel"], ["mean"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        middle,
        helper.make_node("Sub", ["mean", "middle"], ["logits"]),
    ]
    sides = ["batch", 1, "rows", "columns"]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, sides)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, sides)
    graph = helper.make_graph(nodes, "mean", [image], [logits], [kernel])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {DESCRIPTION_KEY: json.dumps(DESCRIPTION)})
    path.write_bytes(model.SerializeToString())


def row(case_id: str) -> manifest.Row:
    return manifest.Row(case_id, "montgomery", "train", 1, "p", 40, 30, "0", "1", "2", "3", 0.2, 0.2, 40, "F")


def write_manifest(path: Path) -> None:
    manifest.write_manifest(path, [row("a"), row("b")])


def write_record(path: Path) -> None:
    """dataset.json beside a manifest."""
    write_manifest(path.with_name("manifest.csv"))
    record: dict[str, Any] = {"version": FORMAT_VERSION, "skipped": {}, "raw": {"a": "x"}, "warnings": []}
    record |= {"appearance": {"a": [0.9, 0.0, True], "b": [0.9, 0.0, True]}, "remarks": {"a": ["turned"]}}
    path.write_text(json.dumps(record))


def write_journal(path: Path) -> None:
    line = {"row": dataclasses.asdict(row("a")), "fingerprint": "x", "appearance": [0.9, 0.0, True], "remarks": []}
    path.write_text("\n" + json.dumps(line | {"version": FORMAT_VERSION}))


def write_overrides(path: Path) -> None:
    lines = ["seed=1", "data=montgomery", "'optimizer.betas=[0.9,0.99]'", "+trainer.devices=2"]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"- {line}\n" for line in lines))


def write_predictions(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table.COLUMNS, restval="0")
        writer.writeheader()
        writer.writerows({"input": f"{name}.png", "mask": f"{name}_mask.png"} for name in "ab")


def write_epochs(path: Path) -> None:
    path.write_text("epoch,step,train/dice,validation/dice\n0,2,0.5,0.6\n1,5,0.6,\n")


def write_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("CXR_png/a.png", "mask/a_mask.png", "ClinicalReadings/a.txt"):
            file.writestr(f"{SHENZHEN.folder}/{name}", name * 9)


# Readers, each through what a command calls


def read_image(path: Path) -> int:
    """Either reader of image files; the mask first, as it is refused more often."""
    try:
        read_mask(path)
    except UserError as error:
        assert_names(error, path)
    grey = read_radiograph(path)
    assert grey.ndim == 2
    return grey.size


def predict(path: Path) -> int:
    lungs = Predictor(path, device="cpu", threads=1).predict(CHEST)
    assert lungs.mask.shape == CHEST.shape
    assert 0 <= lungs.quality <= 1
    return lungs.mask.size


def read_set(path: Path) -> object:
    """Cases of a set by its record and its progress log."""
    read_record(path.parent)
    return load_progress(path.parent)


def read_rows(path: Path) -> object:
    manifest.read_splits(path)
    rows = manifest.read_manifest(path)
    for case in rows:
        assert case.width_px > 0
        assert case.case_id
        assert case.patient
    return rows


def unpack(path: Path) -> object:
    """An archive that is there already is unpacked without a download."""
    download("shenzhen", path.parent)
    assert (path.parent / SHENZHEN.folder / "CXR_png").is_dir()
    return list((path.parent / SHENZHEN.folder).rglob("*.png"))


KINDS = {
    "PNG": Kind("film.png", write_picture, read_image),
    "PNG with palette": Kind("film.png", write_png_with_extras, read_image),
    "JPEG": Kind("film.jpg", write_picture, read_image),
    "TIFF": Kind("film.tif", lambda path: write_tiff(path, CHEST.astype("u2") * 200), read_image),
    "TIFF with LZW": Kind("film.tif", lambda path: write_picture(path, compression="tiff_lzw"), read_image),
    "GIF": Kind("film.gif", write_picture, read_image),
    "BMP": Kind("film.bmp", write_picture, read_image),
    "WebP": Kind("film.webp", write_picture, read_image),
    "DICOM": Kind("film.dcm", lambda path: write_dicom(path, CHEST.astype("u2") * 16, BitsStored=12), read_image),
    "checkpoint": Kind("best.ckpt", write_checkpoint, predict),
    "checkpoint to resume": Kind("last.ckpt", write_checkpoint, load_training),
    "safetensors": Kind("lungs.safetensors", write_weights, predict),
    "ONNX": Kind("lungs.onnx", write_onnx, predict),
    "manifest": Kind("manifest.csv", write_manifest, read_rows),
    "record": Kind("dataset.json", write_record, read_set),
    "progress log": Kind("journal.jsonl", write_journal, read_set),
    "overrides": Kind(".hydra/overrides.yaml", write_overrides, lambda path: saved_overrides(path.parents[1])),
    "predictions": Kind("predictions.csv", write_predictions, table.read_table),
    "epochs": Kind("metrics.csv", write_epochs, read_epochs),
    "archive": Kind(f"{SHENZHEN.name}", write_archive, unpack),
}

Edit = tuple[int, int, bytes]  # where, in 65536ths of the file; how many bytes are cut there; what is put there

# Of the text formats; random bytes are the others' part.
TOKENS = (
    *(b"", b"\x00", b"\xff", b"\n", b"\r", b",", b'"', b"'", b"{", b"}", b"[" * 2000, b"null", b"NaN", b"1e999", b"-1"),
    *(b"9" * 5000, b"true", b"../", b"\xef\xbb\xbf", b"\xe9", b"&a", b"*a", b"!!x", b"${x}", b"\xff" * 4, b"\x00" * 4),
)
EDIT = any_of.tuples(
    any_of.integers(0, 2**16),
    any_of.one_of(any_of.integers(0, 8), any_of.integers(0, 2**16)),
    any_of.one_of(any_of.binary(max_size=8), any_of.sampled_from(TOKENS)),
)

# What ended in a traceback, or took minutes.
FOUND: list[tuple[str, list[Edit]]] = [
    ("epochs", [(0, 0, b"\x80")]),  # no UTF-8
    ("epochs", [(0, 0, b"\x00")]),  # no column of epochs
    ("epochs", [(0, 6, b"")]),  # more cells than columns
    ("overrides", [(0, 0, b"[" * 20_000)]),  # nested lists of YAML
]


def damaged(content: bytes, edits: list[Edit]) -> bytes:
    for where, cut, put in edits:
        at = where * len(content) // 2**16
        content = content[:at] + put + content[at + cut :]
    return content


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail a test that takes longer; no reader catches what pytest raises."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    previous = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"takes over {seconds} s", pytrace=False))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def assert_names(error: UserError, path: Path) -> None:
    assert len(str(error).splitlines()) <= 2
    assert str(path) in str(error)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with an undamaged file of each kind."""
    folders = {name: tmp_path_factory.mktemp("whole") for name in KINDS}
    for name, kind in KINDS.items():
        path = folders[name] / kind.name
        kind.write(path)
    return folders


@pytest.mark.parametrize("name", KINDS)
def test_the_undamaged_file_is_read(whole: dict[str, Path], name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(whole[name], tmp_path / "copy")
    assert KINDS[name].read(folder / KINDS[name].name), "it was passed over"


def check(folder: Path, name: str, edits: list[Edit]) -> None:
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as temporary:
        copy = shutil.copytree(folder, Path(temporary) / "copy")  # of a set or a run
        path = copy / kind.name
        path.write_bytes(damaged(path.read_bytes(), edits))
        try:
            with at_most(SECONDS):
                kind.read(path)
        except UserError as error:
            assert_names(error, copy)


@pytest.mark.filterwarnings("ignore")  # readers warn of what they then refuse
@pytest.mark.parametrize("name", KINDS)
@examples(
    max_examples=6 * LONG,
    derandomize=LONG == 1,
    database=None if LONG == 1 else examples.default.database,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(edits=any_of.lists(EDIT, min_size=1, max_size=4))
def test_a_damaged_file_is_read_or_refused_by_name(whole: dict[str, Path], name: str, edits: list[Edit]) -> None:
    check(whole[name], name, edits)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "edits"), FOUND)
def test_what_was_found_is_read_or_refused_by_name(whole: dict[str, Path], name: str, edits: list[Edit]) -> None:
    check(whole[name], name, edits)
