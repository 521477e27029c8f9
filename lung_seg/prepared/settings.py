"""The settings that a prepared set was made with, and the use of a set that is prepared already."""

import dataclasses
import logging
import shlex
from pathlib import Path
from typing import Any

from lung_seg.config import DataConfig
from lung_seg.config_field import as_typed, flatten
from lung_seg.errors import UserError
from lung_seg.files import sha256
from lung_seg.prepared.manifest import read_manifest
from lung_seg.prepared.store import MANIFEST, prepared_folder, read_record, refuse_other_version

SPLIT_KEYS = ("source", "test_cases", "validation_fraction", "split_seed", "folder")  # fixed once a set is split
READING_KEYS = ("window", "folder.inverted", "folder.lung_labels")  # a change prepares the cases again
RECORDED_KEYS = ("name", "raw_dir", "image_size_px", "resize", "window", *SPLIT_KEYS)

log = logging.getLogger(__name__)


def find_prepared(data: DataConfig) -> Path:
    """The folder of a set that is prepared already; nothing is written.

    Raises:
        UserError: the set is missing, of another version of the format, or was prepared with other settings.
    """
    folder = prepared_folder(data)
    if not read_checked_record(data, folder):
        raise UserError(f"{folder} is no prepared set, and evaluation prepares none.\nPrepare it: {_command(data)}")
    refuse_other_reading(data, folder)
    repeat_warnings(folder)
    return folder


def read_checked_record(data: DataConfig, folder: Path) -> dict[str, Any]:
    """dataset.json, empty if there is no set; raises a UserError if the set was split with other settings."""
    record = read_record(folder)
    for key, (before, now) in _differences(data, record).items():
        if key.partition(".")[0] in SPLIT_KEYS and key not in READING_KEYS:
            raise UserError(
                f"data.{key}={now}, but {folder} was prepared with {before or repr(before)} and keeps its split.\n"
                "Choose another data.name, or delete that folder to prepare it again."
            )
    return record


def refuse_other_reading(data: DataConfig, folder: Path) -> None:
    """Raise a UserError if raw files would be read in another way now: by another version or other settings."""
    refuse_other_version(folder)
    for key, (before, now) in _differences(data, read_record(folder)).items():
        if key in READING_KEYS:
            remedy = f"Prepare it again, with the same split, from its raw files: {_command(data)}"
            raise UserError(f"data.{key}={now}, but {folder} was prepared with {before or repr(before)}.\n{remedy}")


def _differences(data: DataConfig, record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Recorded settings that differ now: the value of the set, by default that of a new key, and the one of now."""
    recorded = {key: record[key] for key in RECORDED_KEYS if key in record}
    now = flatten(dataclasses.asdict(data))
    before = _defaults(data) | flatten(recorded) if record else now
    compared = [key for key in now if key.partition(".")[0] in RECORDED_KEYS and before[key] != now[key]]
    return {key: (as_typed(before[key]), as_typed(now[key])) for key in compared}


def refuse_other_files(data: DataConfig, folder: Path, record: dict[str, Any], raw: dict[str, Path]) -> None:
    """Raise a UserError if radiographs of another ``data.raw_dir`` would replace those that a set was made from.

    A raw folder may be moved or copied; ``raw`` holds its radiographs by case_id.
    """
    before = record.get("raw_dir", data.raw_dir)  # earlier versions recorded none
    if before == data.raw_dir:
        return
    rows = [row for row in read_manifest(folder / MANIFEST) if row.raw_sha256 != sha256(raw[row.case_id])]
    if rows:
        raise UserError(
            f"data.raw_dir={data.raw_dir} has {len(rows)} other radiographs than data.raw_dir={before}, from which "
            f"{folder} was prepared, first {rows[0].case_id}.\n"
            "Choose another data.name, or delete that folder to prepare it again."
        )


def refuse_other_place(data: DataConfig, folder: Path, record: dict[str, Any], reason: str) -> None:
    """Raise a UserError if a ``data.raw_dir`` without radiographs is given for a set that was made from another."""
    before = record.get("raw_dir", data.raw_dir)
    if data.raw_dir not in (before, _defaults(data)["raw_dir"]):
        raise UserError(
            f"{reason} {folder} was prepared from data.raw_dir={before}.\n"
            "Correct data.raw_dir, choose another data.name, or leave data.raw_dir out to use that set unchanged."
        )


def _command(data: DataConfig) -> str:
    """The command that prepares a set."""
    default, shown = _defaults(data), ("raw_dir", "prepared_dir", *RECORDED_KEYS)
    changed = [
        f"data.{key}={as_typed(value)}"
        for key, value in flatten(dataclasses.asdict(data)).items()
        if key.partition(".")[0] in shown and value != default[key]
    ]
    return shlex.join(["python", "prepare_data.py", f"data={data.source}", *changed])


def _defaults(data: DataConfig) -> dict[str, Any]:
    return flatten(dataclasses.asdict(DataConfig(name=data.source, source=data.source)))


def repeat_warnings(folder: Path) -> None:
    """Log what preparing found wrong with a set, each time that a training or an evaluation uses it."""
    for warning in read_record(folder)["warnings"]:
        log.warning(warning)
