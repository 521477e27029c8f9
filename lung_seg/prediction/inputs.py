"""The radiographs meant by ``input=``, and the names of their results."""

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from lung_seg.errors import UserError
from lung_seg.raw.dicom import DICOM_SUFFIXES, is_dicom
from lung_seg.raw.image_file import IMAGE_SUFFIXES

SUFFIXES = IMAGE_SUFFIXES | DICOM_SUFFIXES | {".img"}  # JSRT's raw files


@dataclass(frozen=True)
class Job:
    """One radiograph to predict; ``stem`` begins the names of its results, relative to the output folder."""

    path: Path
    stem: str


def find_inputs(text: str, output: Path) -> list[Path]:
    """The files meant by a file, a folder, a pattern (``films/*.png``, ``**``) or a .txt list with one path per line.

    Folders are searched recursively for images and DICOM files, ``output`` excepted. Paths in a list are relative to
    the current folder. Files are not opened here, except to recognise DICOM.

    Raises:
        UserError: no file was found.
    """
    path = Path(text)
    if text and path.is_dir():  # Path("") is the current folder
        files = (file for file in sorted(path.rglob("*")) if output.absolute() not in file.absolute().parents)
        found = [file for file in files if _is_image(file)]
    elif path.suffix.lower() == ".txt" and path.is_file():
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        found = [Path(line.strip()) for line in lines if line.strip()]
    elif path.is_file():
        found = [path]
    else:
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [file for file in map(Path, matches) if file.is_file()]
    if not found:
        raise UserError(
            f"input={text} names no radiograph.\n"
            "Give a file, a folder with images or DICOM files, a pattern in quotes, or a .txt file with a path a line."
        )
    return list(dict.fromkeys(found))


def name_results(paths: Sequence[Path], known: Mapping[str, str]) -> list[Job]:
    """Give each radiograph a unique stem: its path below the common folder of all.

    Radiographs with earlier results keep their stems, which ``known`` holds by path.
    """
    absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - a ".." would leave the output folder
    root = os.path.commonpath([path.parent for path in absolute])
    names = [path.relative_to(root) for path in absolute]
    stems = Counter(_fold_case(name.with_suffix("")) for name in names)
    used = set(map(_fold_case, known.values()))
    jobs = []
    for path, name in zip(paths, names, strict=True):
        is_unique = stems[_fold_case(name.with_suffix(""))] == 1
        stem = str(name.with_suffix("")) if is_unique else str(name).replace(".", "_")
        candidates = chain([stem], (f"{stem}_{number}" for number in count(2)))
        stem = known.get(str(path)) or next(free for free in candidates if _fold_case(free) not in used)
        used.add(_fold_case(stem))
        jobs.append(Job(path, stem))
    return jobs


def _fold_case(name: Path | str) -> str:
    """A name as case-insensitive file systems compare it."""
    return Path(name).as_posix().casefold()


def _is_image(path: Path) -> bool:
    is_broken_link = path.is_symlink() and not path.exists()  # reported as a file that cannot be read
    if path.name.startswith(".") or not (path.is_file() or is_broken_link):
        return False
    return path.suffix.lower() in SUFFIXES or is_dicom(path)
