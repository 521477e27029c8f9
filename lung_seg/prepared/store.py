"""A prepared set on disk: paths, dataset.json, the progress log of an unfinished set, and hashes."""

import dataclasses
import json
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lung_seg.config import DataConfig
from lung_seg.errors import UserError
from lung_seg.files import atomic_path, sha256, write_text
from lung_seg.prepared.manifest import Row, read_manifest
from lung_seg.prepared.plausibility import Appearance
from lung_seg.raw.image_file import Grey, open_image
from lung_seg.raw.masks import Mask
from lung_seg.raw.partly_known import Labels, grey_to_labels

MANIFEST = "manifest.csv"
# Images and masks at the size of the network input, and the masks at the size of the radiographs.
IMAGES, MASKS, ORIGINAL_MASKS = SUBFOLDERS = ("images", "masks", "original_masks")
FORMAT_VERSION = 2  # to be raised by every change of the files or of their pixels
PROGRESS_LOG = "journal.jsonl"
RECORD_TYPES = {"skipped": dict, "raw": dict, "appearance": dict, "remarks": dict, "warnings": list}  # in dataset.json


class PreparedCase(NamedTuple):
    """A prepared case: its row, the fingerprint of the raw files it was made from, and what was seen in them."""

    row: Row
    fingerprint: str
    appearance: Appearance
    remarks: tuple[str, ...] = ()  # what reading assumed or replaced


def prepared_folder(data: DataConfig) -> Path:
    """Folder of the prepared set of these settings: data/segmentation/<name>-<size>."""
    letterbox = "-letterbox" if data.resize == "letterbox" else ""
    return Path(data.prepared_dir) / f"{data.name}-{data.image_size_px}{letterbox}"


def read_case(folder: Path, case_id: str) -> tuple[Grey, Labels]:
    """Image and mask of a prepared case, (S, S) uint8 each; a broken file raises a UserError.

    The mask has the values BACKGROUND, LUNG and UNKNOWN.
    """
    image, mask = (np.asarray(open_image(folder / kind / f"{case_id}.png")) for kind in (IMAGES, MASKS))
    return image, grey_to_labels(mask)


def read_original_mask(folder: Path, row: Row) -> Labels:
    """Mask of a prepared case at the size of its radiograph, (height_px, width_px), values as of ``read_case``."""
    pixels = row.width_px * row.height_px
    return grey_to_labels(np.asarray(open_image(folder / ORIGINAL_MASKS / f"{row.case_id}.png", ceil(pixels / 1e6))))


def write_case_png(folder: Path, subfolder: str, case_id: str, pixels: Grey | Mask) -> str:
    """Write an image or mask into one of the SUBFOLDERS and return its SHA-256.

    Pillow writes it, since the hashes of existing sets depend on the encoder.
    """
    path = folder / subfolder / f"{case_id}.png"
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=3)
    return sha256(path)


def read_record(folder: Path) -> dict[str, Any]:
    """dataset.json: how the set was made; empty if no set is finished.

    Raises:
        UserError: the file is broken, or lacks an entry of the present version of the format.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise TypeError("it holds no object")
        if record.get("version") == FORMAT_VERSION:
            for key, kind in RECORD_TYPES.items():
                if not isinstance(record.get(key), kind):
                    raise TypeError(f"{key!r} is missing or of another type")
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is broken: {error}.\nDelete {folder} to prepare it again.") from error
    return record


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write dataset.json, which marks the set as finished, and remove the progress logs."""
    write_text(folder / "dataset.json", json.dumps(record, indent=1))
    for path in progress_logs(folder):
        path.unlink(missing_ok=True)


def progress_logs(folder: Path) -> list[Path]:
    """The progress logs of an unfinished set: those of its shards, then the one of what was prepared after them."""
    return sorted(folder.glob("*.jsonl"), key=lambda path: (path.name == PROGRESS_LOG, path.name))


def append_progress(path: Path, case: PreparedCase) -> None:
    """Log a prepared case, so that an interrupted preparation resumes after it."""
    line = case._asdict() | {"row": dataclasses.asdict(case.row), "version": FORMAT_VERSION}
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(line))  # newline first: a truncated line damages no other


def load_progress(folder: Path) -> dict[str, PreparedCase]:
    """Cases prepared before by this version of the format, by case_id: of the manifest and of the progress logs."""
    record = read_record(folder)
    rows = read_manifest(folder / MANIFEST) if record.get("version") == FORMAT_VERSION else []
    cases = {}
    for row in rows:
        try:
            appearance = Appearance(*record["appearance"][row.case_id])
            remarks = tuple(record["remarks"].get(row.case_id, ()))
        except (LookupError, TypeError) as error:
            raise UserError(
                f"{folder / 'dataset.json'} does not describe {row.case_id}, which {MANIFEST} has.\n"
                f"Delete {folder} to prepare it again."
            ) from error
        cases[row.case_id] = PreparedCase(row, record["raw"].get(row.case_id, ""), appearance, remarks)
    for path in progress_logs(folder):
        for text in path.read_bytes().split(b"\n"):
            case = _logged_case(text)
            if case:
                cases[case.row.case_id] = case
    return cases


def _logged_case(text: bytes) -> PreparedCase | None:
    """The case of a line of a progress log; None if it is empty, truncated, or of another version of the format."""
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        line = json.loads(text)
        if line["version"] == FORMAT_VERSION:
            appearance, remarks = Appearance(*line["appearance"]), tuple(line["remarks"])
            return PreparedCase(Row(**line["row"]), line["fingerprint"], appearance, remarks)
    return None


def refuse_other_version(folder: Path) -> None:
    """Raise a UserError if a finished set has the format of another version of this package."""
    version = read_record(folder).get("version", 1)
    if version != FORMAT_VERSION:
        raise UserError(
            f"{folder} was prepared by another version of lung_seg (format {version}, not {FORMAT_VERSION}).\n"
            "Prepare it again, with the same split, from its raw files: python prepare_data.py data=… data.raw_dir=…"
        )


def refuse_changed(folder: Path, all_files: bool) -> None:
    """Raise a UserError if files of a prepared set are missing or differ from the manifest's hashes.

    Without ``all_files`` only files written after the manifest are read, so that a large set is checked quickly.
    """
    manifest = folder / MANIFEST
    since_ns = -1 if all_files else manifest.stat().st_mtime_ns
    changed = []
    for row in read_manifest(manifest):
        for path, digest in case_files(folder, row):
            if not path.is_file() or (path.stat().st_mtime_ns > since_ns and sha256(path) != digest):
                changed.append(path.relative_to(folder).as_posix())
    if changed:
        names = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
        raise UserError(
            f"{len(changed)} files of {folder} are missing or have changed since it was prepared: {names}.\n"
            "Restore them, or delete that folder to prepare it again; prepare_data.py check=true lists them all."
        )


def case_files(folder: Path, row: Row) -> tuple[tuple[Path, str], ...]:
    """The files of a case, in the order of SUBFOLDERS, each with the SHA-256 of the manifest."""
    image, mask, original_mask = (folder / kind / f"{row.case_id}.png" for kind in SUBFOLDERS)
    return (image, row.image_sha256), (mask, row.mask_sha256), (original_mask, row.original_mask_sha256)
