"""Matching of radiographs and masks by file name, and the errors for missing ones, shared by all sources."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lung_seg.errors import UserError
from lung_seg.raw.case import Case, Listing
from lung_seg.raw.dicom import KNOWN_SUFFIXES, is_image_or_dicom


@dataclass(frozen=True)
class Layout:
    """Where a source expects its files below ``data.raw_dir``, for error messages."""

    radiographs: str
    masks: str
    remedy: str  # where to get them, a sentence


def images(folder: Path) -> list[Path]:
    """The image files of a folder by name, without hidden ones; empty if the folder does not exist."""
    return [path for path in files_below(folder) if path.parent == folder and is_image_or_dicom(path)]


def files_below(folder: Path) -> list[Path]:
    """The files of a folder and of the folders in it, without hidden ones; empty if the folder does not exist."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if not any(part[0] == "." for part in path.relative_to(folder).parts))


def stem(path: Path, folder: Path) -> str:
    """The path below ``folder`` without the image format's suffix, with "/" between folders."""
    known = path.suffix.lower() in KNOWN_SUFFIXES  # DICOM files without a suffix are named 1.2.840.5
    return (path.with_suffix("") if known else path).relative_to(folder).as_posix()


def by_stem(paths: Iterable[Path], suffix: str = "", folder: Path | None = None) -> dict[str, Path]:
    """Files whose stem ends with ``suffix``, by their stem without it; two of the same stem are refused.

    With ``folder`` the stem is the path below it.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = stem(path, folder or path.parent)
        if name.endswith(suffix):
            name = name.removesuffix(suffix)
            if name in found:
                raise UserError(f"{found[name]} and {path} have the same stem {name}.\nRename or remove one of them.")
            found[name] = path
    return found


def masks_by_stem(*groups: Iterable[Path], suffix: str = "") -> dict[str, tuple[Path, ...]]:
    """One mask of each group by stem; a stem that is missing in a group is left out."""
    indexed = [by_stem(group, suffix) for group in groups]
    complete = set.intersection(*map(set, indexed))
    return {stem: tuple(masks[stem] for masks in indexed) for stem in complete}


def listing(candidates: Sequence[Case], raw_dir: Path, layout: Layout) -> Listing:
    """The candidates by case id, those without masks listed separately; it is an error if none has masks."""
    if not candidates:
        found = f"holds no {layout.radiographs}" if raw_dir.is_dir() else "is not a folder"
        raise UserError(f"data.raw_dir={raw_dir} {found}.\n{layout.remedy}")
    ordered = sorted(candidates, key=lambda case: case.case_id)
    cases = [case for case in ordered if case.mask_paths or case.bounds_path]
    if not cases:
        found = f"{len(ordered)} radiographs in {ordered[0].image_path.parent}"
        raise UserError(f"None of the {found} has its mask in {layout.masks}.\n{layout.remedy}")
    return Listing(cases, [case.image_path for case in ordered if case not in cases])
