"""The memory map of a prepared set: all its radiographs and masks in one file, made once and read by many processes."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lung_seg.errors import UserError
from lung_seg.files import atomic_path, locked, remove_parts, remove_unused, sha256
from lung_seg.prepared.manifest import Row, read_manifest
from lung_seg.prepared.store import MANIFEST, read_case, refuse_changed


class PixelCache(NamedTuple):
    """A prepared set as it was when it was packed, whatever becomes of its folder."""

    path: Path  # a .npy of (N, 2, S, S) uint8: image, and mask as 0 or 1
    rows: list[Row]  # N, in the same order
    manifest_sha256: str


def build_cache(folder: Path) -> PixelCache:
    """The memory map of a prepared set, written from its PNG files unless it is there already.

    Its name holds the manifest's hash, so that a set that changed gets another file; that of the old set goes once no
    training reads it any more.

    Raises:
        UserError: files are missing or changed, or the map is not there and the folder is read-only.
    """
    with locked(folder):
        rows, digest = read_manifest(folder / MANIFEST), sha256(folder / MANIFEST)
        path = folder / f"pixels-{digest[:12]}.npy"
        packed_before = path.is_file()
        refuse_changed(folder, all_files=not packed_before)
        if not packed_before:
            _write(path, rows)
    return PixelCache(path, rows, digest)


def _write(path: Path, rows: list[Row]) -> None:
    folder = path.parent
    if not os.access(folder, os.W_OK):
        raise UserError(
            f"{folder} is read-only and was never packed: {path.name} is not there.\n"
            "Let prepare_data.py pack it where it can be written to, or copy it and name the copy's place by "
            "data.prepared_dir=<folder>."
        )
    remove_parts(folder)
    size_px = len(read_case(folder, rows[0].case_id)[0])
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), 2, size_px, size_px)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:  # written, not mapped: the process would hold the whole set in the end
            file.write(np.stack(read_case(folder, row.case_id)).tobytes())
    for old in folder.glob("pixels-*.npy"):
        if old != path:
            remove_unused(old)
