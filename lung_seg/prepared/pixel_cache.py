"""The pixel cache of a prepared set: all images and masks in one file that processes map into memory."""

import os
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lung_seg.errors import UserError
from lung_seg.files import atomic_path, locked, open_in_use, remove_parts, remove_unused, sha256
from lung_seg.prepared.manifest import Row, read_manifest
from lung_seg.prepared.store import MANIFEST, read_case, refuse_changed


class PixelCache(NamedTuple):
    """A prepared set at the time its cache was opened; later changes of the folder do not affect it."""

    path: Path  # a .npy of (N, 2, S, S) uint8: image, and mask: BACKGROUND, LUNG or UNKNOWN
    rows: list[Row]  # N, in the same order
    manifest_sha256: str


def build_cache(folder: Path, owner: object = None) -> PixelCache:
    """The pixel cache of a prepared set, written from its PNG files if it is missing or damaged.

    Its name contains the manifest's hash, so that a changed set gets another file; the old file is removed once its
    ``owner``, and those of other processes, no longer exist. Files that are missing or changed, and a read-only folder
    without a cache raise a UserError.
    """
    with locked(folder):
        rows, digest = read_manifest(folder / MANIFEST), sha256(folder / MANIFEST)
        path = folder / f"pixels-{digest[:12]}.npy"
        exists = _is_whole(path, len(rows))
        refuse_changed(folder, all_files=not exists)
        if not exists:
            _write(path, rows)
        if owner is not None:  # in use before the lock is released
            weakref.finalize(owner, open_in_use(path).close)
    return PixelCache(path, rows, digest)


def _is_whole(path: Path, count: int) -> bool:
    """Whether a file is a pixel cache of so many cases."""
    try:
        pixels = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return bool(pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[:2] == (count, 2))


def _write(path: Path, rows: list[Row]) -> None:
    folder = path.parent
    if not os.access(folder, os.W_OK):
        raise UserError(
            f"{folder} is read-only and has no pixel cache {path.name}.\n"
            "Run prepare_data.py where the folder is writable, or copy it and set data.prepared_dir=<folder>."
        )
    remove_parts(folder)
    size_px = len(read_case(folder, rows[0].case_id)[0])
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), 2, size_px, size_px)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:  # written, not mapped: mapped pages would count as this process's memory
            file.write(np.stack(read_case(folder, row.case_id)).tobytes())
    for old in folder.glob("pixels-*.npy"):
        if old != path:
            remove_unused(old)
