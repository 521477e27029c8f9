"""A prepared set on disk: its folder, its record and the journal of one that is being made."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lung_seg.config import DataConfig
from lung_seg.errors import UserError
from lung_seg.files import atomic_path, sha256, write_text
from lung_seg.prepared.manifest import Row, read_manifest
from lung_seg.raw.image_file import Grey, open_image
from lung_seg.raw.masks import Mask

MANIFEST = "manifest.csv"
SUBFOLDERS = ("images", "masks")  # a folder of each
PROGRESS_LOG = "journal.jsonl"


@dataclass(frozen=True)
class PreparedCase:
    """A case that is prepared: its row, and the fingerprint of its raw files then."""

    row: Row
    fingerprint: str


def prepared_folder(data: DataConfig) -> Path:
    """Where the prepared set of these settings lies: data/segmentation/<name>-<size>."""
    letterbox = "-letterbox" if data.resize == "letterbox" else ""
    return Path(data.prepared_dir) / f"{data.name}-{data.image_size_px}{letterbox}"


def read_case(folder: Path, case_id: str) -> tuple[Grey, Mask]:
    """Image and mask of a prepared case, (S, S) uint8 and (S, S) bool.

    Raises:
        UserError: a file of the set was deleted or broken.
    """
    image, mask = (np.asarray(open_image(folder / kind / f"{case_id}.png")) for kind in SUBFOLDERS)
    return image, mask > 0


def write_case_png(folder: Path, kind: str, case_id: str, pixels: Grey) -> Path:
    """Write one PNG of a case, of one of the KINDS."""
    path = folder / kind / f"{case_id}.png"
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=3)
    return path


def read_record(folder: Path) -> dict[str, Any]:
    """dataset.json: how the set was made; empty where no set is finished.

    Raises:
        UserError: the file is broken.
    """
    path = folder / "dataset.json"
    try:
        record: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is broken: {error}.\nDelete {folder} to prepare it anew.") from error
    return record


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write dataset.json; from then on the set is finished, and its journals are no longer needed."""
    write_text(folder / "dataset.json", json.dumps(record, indent=1))
    for journal in progress_logs(folder):
        journal.unlink(missing_ok=True)


def progress_logs(folder: Path) -> list[Path]:
    """The journal of a set that is being made, and those of its shards."""
    return sorted(folder.glob("*.jsonl"))


def append_progress(path: Path, done: PreparedCase) -> None:
    """Note a finished case, so that preparing can go on from there."""
    line = dataclasses.asdict(done.row) | {"fingerprint": done.fingerprint}
    with path.open("a", encoding="utf-8") as journal:
        journal.write("\n" + json.dumps(line))  # a line that was cut off stays alone


def load_progress(folder: Path) -> dict[str, PreparedCase]:
    """Cases prepared before, by case_id: those of the manifest, with their splits, and those of the journals."""
    raw: dict[str, str] = read_record(folder).get("raw", {})
    rows = read_manifest(folder / MANIFEST) if raw else []
    done = {row.case_id: PreparedCase(row, raw.get(row.case_id, "")) for row in rows}
    for line in (line for journal in progress_logs(folder) for line in _whole_lines(journal)):
        fingerprint, case_id = line.pop("fingerprint"), line["case_id"]
        split = done[case_id].row.split if case_id in done else ""
        done[case_id] = PreparedCase(Row(**line | {"split": split}), fingerprint)
    return done


def _whole_lines(journal: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal; one that was cut off is left out."""
    for line in journal.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            yield json.loads(line)


NAMED = 3  # files that an error message names


def refuse_changed(folder: Path, all_files: bool) -> None:
    """Refuse a prepared set whose files are no longer those that were prepared.

    Unless ``all_files`` are asked for, only those written after the manifest are read, so that a large set costs a look
    at its folders.

    Raises:
        UserError: files are missing or changed.
    """
    manifest = folder / MANIFEST
    since = -1 if all_files else manifest.stat().st_mtime_ns
    changed = [
        path
        for row in read_manifest(manifest)
        for path, digest in case_files(folder, row)
        if _differs(path, digest, since)
    ]
    if changed:
        names = ", ".join(path.relative_to(folder).as_posix() for path in changed[:NAMED])
        raise UserError(
            f"{len(changed)} files of {folder} are missing or have changed since it was prepared: "
            f"{names}{', …' if len(changed) > NAMED else ''}.\n"
            "Bring them back, or delete that folder to prepare it anew; prepare_data.py check=true tells all."
        )


def _differs(path: Path, digest: str, since: int) -> bool:
    try:
        return path.stat().st_mtime_ns > since and sha256(path) != digest
    except FileNotFoundError:
        return True


def case_files(folder: Path, row: Row) -> tuple[tuple[Path, str], ...]:
    """Image and mask of a case, with the hashes they must have."""
    image, mask = (folder / kind / f"{row.case_id}.png" for kind in SUBFOLDERS)
    return (image, row.image_sha256), (mask, row.mask_sha256)
