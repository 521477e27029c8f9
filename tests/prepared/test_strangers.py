"""Prepared sets that somebody else wrote: every fault is refused with the file's name."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lung_seg.config import DataConfig
from lung_seg.errors import UserError
from lung_seg.prepared.manifest import COLUMNS, read_manifest
from lung_seg.prepared.prepare import prepare
from lung_seg.prepared.store import load_progress, read_record
from lung_seg.raw.radiograph import Radiograph, open_radiograph
from tests.conftest import read_here
from tests.layouts import draw_chest, write_image, write_mask

GOOD = dict.fromkeys(COLUMNS, "") | {"case_id": "a", "split": "train", "width_px": "9", "height_px": "9"}


def write_table(path: Path, *rows: dict[str, str], encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("case_id", ["../../../x", "/etc/x", "..", "", "a/b", "a\\b"])
def test_a_case_is_a_file_name_not_a_path(tmp_path: Path, case_id: str) -> None:
    path = write_table(tmp_path / "manifest.csv", GOOD, GOOD | {"case_id": case_id})
    with pytest.raises(UserError, match=r"manifest\.csv, line 3, has case_id=.*\n.*file name, not a path") as refusal:
        read_manifest(path)
    assert repr(case_id) in str(refusal.value)


@pytest.mark.parametrize("change", [{"width_px": "9" * 5000}, {"height_px": "0"}, {"tb_label": "x"}, {"split": "all"}])
def test_cells_out_of_range_are_refused(tmp_path: Path, change: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"manifest\.csv, line 2"):
        read_manifest(write_table(tmp_path / "manifest.csv", GOOD | change))


@pytest.mark.parametrize("ending", [",extra", ""])
def test_a_row_has_as_many_cells_as_columns(tmp_path: Path, ending: str) -> None:
    cells = len(COLUMNS) if ending else 3
    text = ",".join(COLUMNS) + "\n" + ",".join(["a", "b", "train", *[""] * (cells - 3)]) + ending + "\n"
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.csv, line 2, has more or fewer than"):
        read_manifest(tmp_path / "manifest.csv")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_table_of_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    path = write_table(tmp_path / "manifest.csv", GOOD | {"case_id": "Zoé"}, encoding=encoding)
    with pytest.raises(UserError, match=r"manifest\.csv is no table in UTF-8"):
        read_manifest(path)


def prepared(tmp_path: Path, *names: str, resize: str = "stretch") -> Path:
    for number, name in enumerate(names):
        image, right, left = draw_chest(number, 40, 40)
        write_image(tmp_path / "raw" / "images" / f"{name}.png", image)
        write_mask(tmp_path / "raw" / "masks" / f"{name}.png", right | left)
    data = DataConfig(name="x", source="folder", raw_dir=str(tmp_path / "raw"), image_size_px=32, resize=resize)
    data.prepared_dir = str(tmp_path)
    return prepare(data)


def test_whatever_a_case_raises_the_others_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NotForeseenError(Exception):
        pass

    def open_or_fail(path: Path, *options: Any) -> Radiograph:
        if path.stem == "c":
            raise NotForeseenError
        return open_radiograph(path, *options)

    read_here(monkeypatch, open_or_fail)
    folder = prepared(tmp_path, *"abcdefghij")
    assert len(read_manifest(folder / "manifest.csv")) == 9
    path = tmp_path / "raw" / "images" / "c.png"
    assert read_record(folder)["skipped"] == {"c": f"{path} cannot be prepared: NotForeseenError."}


def test_a_case_too_long_for_a_letterbox_is_named(tmp_path: Path) -> None:
    strip = np.zeros((4, 30_000), np.uint8)
    strip[:, 9000:20_000] = 200
    write_image(
        tmp_path / "raw" / "images" / "long.png", np.where(strip, strip, np.arange(30_000) % 99).astype(np.uint8)
    )
    write_mask(tmp_path / "raw" / "masks" / "long.png", strip > 0)
    folder = prepared(tmp_path, *"abcdefghij", resize="letterbox")
    (reason,) = read_record(folder)["skipped"].values()
    assert reason.startswith(f"{tmp_path / 'raw' / 'images' / 'long.png'}: An image of 30000x4 pixels is too long")


def test_names_of_any_bytes_make_a_set_that_can_be_read(tmp_path: Path) -> None:
    folder = prepared(tmp_path, "a\rb", "=1+1", "-c", "@d", "e\udcff", "f\\g", "h", "i", "j", "k")
    names = {row.case_id for row in read_manifest(folder / "manifest.csv")}
    assert names == {"a_b", "_1+1", "_c", "_d", "e_", "f_g", "h", "i", "j", "k"}


def test_a_record_without_a_key_and_odd_lines_of_a_log(tmp_path: Path) -> None:
    folder = prepared(tmp_path, *"abcdefghij")
    lines = b'[]\nnull\n3\n{"version": 2}\n\xff\xfe\n{"version": 2, "row": {}}\n' + b"[" * 100_000
    (folder / "journal.jsonl").write_bytes(lines)
    assert len(load_progress(folder)) == 10
    record = json.loads((folder / "dataset.json").read_text())
    for broken in (record | {"skipped": None}, {k: record[k] for k in record if k != "remarks"}, [], None):
        (folder / "dataset.json").write_text(json.dumps(broken))
        with pytest.raises(UserError, match=r"dataset\.json is broken"):
            read_record(folder)
    (folder / "dataset.json").write_text(json.dumps(record | {"appearance": {}}))
    with pytest.raises(UserError, match=r"dataset\.json does not describe a"):
        load_progress(folder)
