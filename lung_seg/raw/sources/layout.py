"""Matching of radiographs and masks by file name, and the errors for missing ones, shared by all sources."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lung_seg.errors import UserError
from lung_seg.raw.case import Case, Listing
from lung_seg.raw.dicom import DICOM_SUFFIXES
from lung_seg.raw.image_file import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Layout:
    """Where a source expects its files below ``data.raw_dir``, for error messages."""

    radiographs: str
    masks: str
    remedy: str  # where to get them, a sentence


def images(folder: Path) -> list[Path]:
    """The image files of a folder by name, without hidden ones; empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    suffixes = IMAGE_SUFFIXES | DICOM_SUFFIXES
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")


def by_stem(paths: Iterable[Path], suffix: str = "") -> dict[str, Path]:
    """Files whose stem ends with ``suffix``, by their stem without it; two of the same stem are refused."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem.endswith(suffix):
            stem = path.stem.removesuffix(suffix)
            if stem in found:
                raise UserError(f"{found[stem]} and {path} have the same stem {stem}.\nRename or remove one of them.")
            found[stem] = path
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
    cases = [case for case in ordered if case.mask_paths]
    if not cases:
        found = f"{len(ordered)} radiographs in {ordered[0].image_path.parent}"
        raise UserError(f"None of the {found} has its mask in {layout.masks}.\n{layout.remedy}")
    return Listing(cases, [case.image_path for case in ordered if not case.mask_paths])
