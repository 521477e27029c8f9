"""The radiographs meant by ``input=``, and the names of their results."""

import codecs
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, takewhile
from pathlib import Path

from lung_seg.errors import UserError
from lung_seg.raw.dicom import is_image_or_dicom

JSRT_SUFFIX = ".img"  # of its raw files
TABLE, PAGE = "predictions.csv", "predictions.html"
TABLE_START = b"input,mask,width_px,height_px,"  # of all versions
MASK, OVERLAY, EVIDENCE, CROP, LUNGS, SEG = (  # name endings
    *("_mask.png", "_overlay.png", "_evidence.png", "_crop.png", "_lungs.png"),
    "_seg.dcm",
)
# Line breaks and other control characters, and the bytes of names that are not UTF-8 (PEP 383).
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Inputs:
    """Radiographs to predict, and one line on each kind of file that is not one of them."""

    paths: list[Path]
    remarks: list[str]


@dataclass(frozen=True)
class Job:
    """One radiograph to predict; ``stem`` begins the names of its results, relative to the output folder."""

    path: Path
    stem: str

    @property
    def name(self) -> str:
        """The path as predictions.csv has it: a spreadsheet would take one that begins with = for a formula."""
        return safe_cell(printable(self.path))


def find_inputs(text: str, output: Path) -> Inputs:
    """The files meant by a file, a folder, a pattern (``films/*.png``, ``**``) or a .txt list with one path per line.

    Folders are searched recursively for images and DICOM files. Results of predict.py are no radiographs: of a folder
    or pattern, ``output`` and all folders with a table of this program are left out. Paths in a list are relative to
    the current folder; lines that begin with # are comments. Files are not opened here, except to recognise DICOM.

    Raises:
        UserError: no file was found.
    """
    path = Path(text)
    remarks: list[str] = []
    if text and path.is_dir():  # Path("") is the current folder
        files, remarks = _without_results(filter(_is_visible_file, sorted(path.rglob("*"))), path, output)
        found = [file for file in files if _is_image(file)]
        others = [file for file in sorted(set(files) - set(found)) if not _is_in_hidden_folder(file, path)]
        if others:
            counts = ", ".join(f"{number} {suffix}" for suffix, number in Counter(map(_suffix, others)).most_common())
            remarks.append(f"Passed over {_files(len(others))}: {counts}.")
    elif path.suffix.lower() == ".txt" and path.is_file():
        lines = [line.strip() for line in _lines(path)]
        found = [Path(line) for line in lines if line and (line[0] != "#" or Path(line).exists())]
    elif path.is_file():
        found = [path]
    else:
        matches = map(Path, sorted(glob.glob(text, recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute pattern
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
        found, remarks = _without_results((file for file in matches if file.is_file()), root, output)
    if not found:
        raise UserError(
            f"{' '.join([f'input={text} names no radiograph.', *remarks])}\n"
            "Give a file, a folder with images or DICOM files, a pattern in quotes, or a .txt file with a path a line."
        )
    return Inputs(list(dict.fromkeys(found)), remarks)


def name_results(paths: Sequence[Path], known: Mapping[str, str]) -> list[Job]:
    """Give each radiograph a unique stem: its path below the common folder of all.

    Radiographs with earlier results keep their stems, which ``known`` holds by path.
    """
    absolute = [_absolute(path) for path in paths]
    root = os.path.commonpath([path.parent for path in absolute])
    names = [Path(printable(path.relative_to(root))) for path in absolute]
    stems = Counter(_fold_case(name.with_suffix("")) for name in names)
    used = set(map(_fold_case, known.values()))
    jobs = []
    for path, name in zip(paths, names, strict=True):
        is_unique = stems[_fold_case(name.with_suffix(""))] == 1
        stem = str(name.with_suffix("")) if is_unique else str(name).replace(".", "_")
        candidates = chain([stem], (f"{stem}_{number}" for number in count(2)))
        stem = known.get(safe_cell(printable(path))) or next(
            free for free in candidates if _fold_case(free) not in used
        )
        used.add(_fold_case(stem))
        jobs.append(Job(path, stem))
    return jobs


def _fold_case(name: Path | str) -> str:
    """A name as case-insensitive file systems compare it."""
    return Path(name).as_posix().casefold()


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - a ".." would leave the output folder


def printable(name: Path | str) -> str:
    """A name for messages, tables and new files: one line of text, whatever its bytes are."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(name))


def safe_cell(path: str) -> str:
    """A relative path that spreadsheets take for text: -x.png is ./-x.png."""
    return f"./{path}" if path.startswith(("=", "+", "-", "@")) else path


def _without_results(files: Iterable[Path], root: Path, output: Path) -> tuple[list[Path], list[str]]:
    """Files below ``root`` without results of predict.py, and remarks on those of earlier runs.

    Of a folder of results below ``root`` nothing is left. Where radiographs and results share a folder, because it is
    ``root`` itself, the results are known by their names.
    """
    given, root, output = root, _absolute(root), _absolute(output)
    folders = {root: _holds_table(root) or output in (root, *root.parents)}  # whether it is a folder of results
    kept: list[Path] = []
    results: Counter[Path] = Counter()
    for file in files:
        above = [folder for folder in _absolute(file).parents if root in (folder, *folder.parents)]
        for folder in above:
            if folder not in folders:
                folders[folder] = folder == output or _holds_table(folder)
        holder = next((folder for folder in reversed(above) if folders[folder]), None)
        is_result = file.name in (TABLE, PAGE) or file.name.endswith((MASK, OVERLAY, EVIDENCE, CROP, LUNGS, SEG))
        if holder is None or (holder == root and not is_result):
            kept.append(file)
        elif holder != output or holder == root:
            results[holder] += 1
    remarks = [
        f"Left out {_files(number)} of {printable(given / folder.relative_to(root))}: results of an earlier prediction."
        for folder, number in sorted(results.items())
    ]
    return kept, remarks


def _holds_table(folder: Path) -> bool:
    try:
        with (folder / TABLE).open("rb") as file:
            return file.read(100).removeprefix(codecs.BOM_UTF8).startswith(TABLE_START)
    except OSError:
        return False


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # written by PowerShell
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace" if is_utf16 else "surrogateescape")
    return text.replace("\0", "\\0").split("\n")


def _is_visible_file(path: Path) -> bool:
    """Whether it is a file or a link; of links, broken ones are reported as unreadable and folders are not searched."""
    return not path.name.startswith(".") and (path.is_file() or path.is_symlink())


def _is_in_hidden_folder(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_image(path: Path) -> bool:
    return not path.is_dir() and (path.suffix.lower() == JSRT_SUFFIX or is_image_or_dicom(path))


def _suffix(path: Path) -> str:
    if path.is_dir():
        return "linked folder"
    ending = re.search(r"(\.nii)?\.(?!\d+$)\w+$", path.name.lower())  # "1.2.840" has none
    return printable(ending[0]) if ending else "without a suffix"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"
