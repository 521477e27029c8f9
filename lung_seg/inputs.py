"""Which radiographs are meant by ``input=``, and what their results are called."""

import glob
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lung_seg.data.dicom import is_dicom
from lung_seg.data.radiograph import IMAGE_SUFFIXES
from lung_seg.errors import UserError

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
    if path.is_dir():
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


def name_results(paths: list[Path]) -> list[Job]:
    """Names below the output folder like those of the inputs below the folder they share, each only once."""
    root = os.path.commonpath([path.absolute().parent for path in paths])
    names = [path.absolute().relative_to(root) for path in paths]
    stems = Counter(str(name.with_suffix("")).casefold() for name in names)  # some disks do not tell case
    return [
        Job(path, str(name.with_suffix("")) if _once(stems, name) else str(name).replace(".", "_"))
        for path, name in zip(paths, names, strict=True)
    ]


def _once(stems: Counter[str], name: Path) -> bool:
    return stems[str(name.with_suffix("")).casefold()] == 1


def _looks_like_an_image(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES | {JSRT_SUFFIX} or is_dicom(path)


def _below(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())
