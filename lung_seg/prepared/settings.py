"""The settings that a prepared set was made with, and the use of a set that is prepared already."""

import dataclasses
import logging
import shlex
from pathlib import Path
from typing import Any

from lung_seg.config import DataConfig, FolderConfig
from lung_seg.errors import UserError
from lung_seg.prepared.store import prepared_folder, read_record, refuse_other_version

SPLIT_KEYS = ("source", "test_cases", "validation_fraction", "split_seed", "folder")  # fixed once a set is split
FOLDER_DEFAULTS = dataclasses.asdict(FolderConfig())
READING_KEYS = ("inverted", "lung_labels")  # of data.folder: fingerprints include them
RECORDED_KEYS = ("name", "image_size_px", "resize", "window", *SPLIT_KEYS)

log = logging.getLogger(__name__)


def find_prepared(data: DataConfig) -> Path:
    """The folder of a set that is prepared already; nothing is written.

    Raises:
        UserError: the set is missing, of another version of the format, or has another split.
    """
    folder = prepared_folder(data)
    if not read_checked_record(data, folder):
        default = dataclasses.asdict(DataConfig(name=data.source, source=data.source))
        given = dataclasses.asdict(data)
        changed = [
            f"data.{key}={given[key]}"
            for key in ("raw_dir", "prepared_dir", *RECORDED_KEYS)
            if key not in ("source", "folder") and given[key] != default[key]
        ]
        changed += [f"data.folder.{k}={v}" for k, v in given["folder"].items() if v != default["folder"][k]]
        command = shlex.join(["python", "prepare_data.py", f"data={data.source}", *changed])
        raise UserError(f"{folder} is no prepared set, and evaluation prepares none.\nPrepare it: {command}")
    refuse_other_version(folder)
    repeat_warnings(folder)
    return folder


def read_checked_record(data: DataConfig, folder: Path) -> dict[str, Any]:
    """dataset.json, empty if there is no set; raises a UserError if the set was split with other settings."""
    record, settings = read_record(folder), dataclasses.asdict(data)
    for key in SPLIT_KEYS if record else ():
        before, now = ({key: values.get(key)} for values in (record, settings))
        if key == "folder":  # a key that was added later has its default
            before = {f"folder.{name}": value for name, value in (FOLDER_DEFAULTS | record[key]).items()}
            now = {f"folder.{name}": value for name, value in settings[key].items() if name not in READING_KEYS}
        for name, value in now.items():
            if before.get(name) != value:
                raise UserError(
                    f"data.{name}={value}, but {folder} was prepared with {before.get(name)} and keeps its split.\n"
                    "Choose another data.name, or delete that folder to prepare it again."
                )
    return record


def repeat_warnings(folder: Path) -> None:
    """Log what preparing found wrong with a set, each time that a training or an evaluation uses it."""
    for warning in read_record(folder)["warnings"]:
        log.warning(warning)
