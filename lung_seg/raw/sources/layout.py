"""What every source does with the files it found: match them, and say what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lung_seg.errors import UserError
from lung_seg.raw.case import Case, Listing
from lung_seg.raw.dicom import DICOM_SUFFIXES
from lung_seg.raw.image_file import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Layout:
    """Where the files of a source lie, as its error messages tell it."""

    radiographs: str  # below data.raw_dir
    masks: str  # below data.raw_dir
    remedy: str  # where to get them, in a sentence


def images(folder: Path) -> list[Path]:
    """The image files of a folder by name, without hidden ones; none if the folder is not there."""
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES | DICOM_SUFFIXES and p.name[0] != "."
    )


def by_stem(paths: Iterable[Path], suffix: str) -> dict[str, Path]:
    """Files whose stem ends with ``suffix``, found by the stem without it.

    Raises:
        UserError: two files would be found by the same stem.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem.endswith(suffix):
            stem = path.stem.removesuffix(suffix)
            if stem in found:
                raise UserError(f"{found[stem]} and {path} have the same stem {stem}.\nRename or remove one of them.")
            found[stem] = path
    return found


def listing(candidates: Sequence[Case], raw_dir: Path, layout: Layout) -> Listing:
    """The candidates ordered by id, those with no masks put aside.

    Raises:
        UserError: there is no radiograph, or not one with masks.
    """
    if not candidates:
        found = f"holds no {layout.radiographs}" if raw_dir.is_dir() else "is not a folder"
        raise UserError(f"data.raw_dir={raw_dir} {found}.\n{layout.remedy}")
    ordered = sorted(candidates, key=lambda case: case.case_id)
    cases = [case for case in ordered if case.mask_paths]
    if not cases:
        raise UserError(
            f"None of the {len(ordered)} radiographs in {ordered[0].image_path.parent} has its mask in "
            f"{layout.masks}.\n{layout.remedy}"
        )
    return Listing(cases, [case.image_path for case in ordered if not case.mask_paths])
