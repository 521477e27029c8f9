"""Which radiographs are meant by ``input=``, and what their results are called."""

import glob
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from lung_seg.errors import UserError
from lung_seg.raw.dicom import is_dicom
from lung_seg.raw.image_file import IMAGE_SUFFIXES

JSRT_SUFFIX = ".img"
LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class Job:
    """One file to predict, and what the names of its results begin with, below the output folder."""

    path: Path
    stem: str


def find_inputs(text: str, output: Path) -> list[Path]:
    """The files meant by a file's name, a folder's, a pattern (``films/*.png``, ``**``) or that of a .txt list.

    Folders are searched to the bottom for images and DICOM files, but not what was written to ``output`` before. Paths
    in a list, one a line, are relative to the current folder. Whether a file can be read is found out later.

    Raises:
        UserError: there is no such file.
    """
    path = Path(text)
    if text and path.is_dir():  # an empty text would be this folder
        found = [file for file in sorted(path.rglob("*")) if _looks_like_an_image(file) and not _below(file, output)]
    elif path.suffix.lower() == LIST_SUFFIX and path.is_file():
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


def name_results(paths: list[Path], known: Mapping[str, str]) -> list[Job]:
    """Names below the output folder like those of the inputs below the folder they share, each only once.

    Args:
        paths: of the radiographs.
        known: names that results have already, by their radiograph, which keeps its own.
    """
    whole = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - a ".." would lead out of the output
    root = os.path.commonpath([path.parent for path in whole])
    names = [path.relative_to(root) for path in whole]
    stems = Counter(_on_disk(name.with_suffix("")) for name in names)
    used = set(map(_on_disk, known.values()))
    jobs = []
    for path, name in zip(paths, names, strict=True):
        stem = str(name.with_suffix(""))
        wanted = stem if stems[_on_disk(stem)] == 1 else str(name).replace(".", "_")
        jobs.append(Job(path, known.get(str(path)) or _free(wanted, used)))
        used.add(_on_disk(jobs[-1].stem))
    return jobs


def _free(stem: str, used: set[str]) -> str:
    """The name, or with the first number behind it that makes it one of its own."""
    numbered = chain([stem], (f"{stem}_{number}" for number in count(2)))
    return next(name for name in numbered if _on_disk(name) not in used)


def _on_disk(name: Path | str) -> str:
    """A name as disks see it that do not tell case."""
    return Path(name).as_posix().casefold()


def _looks_like_an_image(path: Path) -> bool:
    if path.name.startswith(".") or not (path.is_file() or _leads_nowhere(path)):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES | {JSRT_SUFFIX} or is_dicom(path)


def _leads_nowhere(path: Path) -> bool:
    """Whether it is a link to what is gone: a radiograph by its name, that has to be told of."""
    return path.is_symlink() and not path.exists()


def _below(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())
