"""Any two folders of radiographs and masks, matched by their paths below the folders, without suffixes.

Among others: COVID-QU-Ex (``images`` and ``lung masks`` with the same names), exports of V7 Darwin, a user's own files.
"""

import dataclasses
import re
from pathlib import Path

from lung_seg.config import FolderConfig
from lung_seg.errors import UserError
from lung_seg.raw.case import Case, Listing
from lung_seg.raw.dicom import is_image_or_dicom
from lung_seg.raw.sources.layout import Layout, by_stem, files_below, listing, stem
from lung_seg.raw.sources.patients import find_patients

ADDED = "added"  # source of the cases of another folder
# In names of cases and patients, which become file names and cells of tables: separators, control characters, bytes
# that are not UTF-8, and a beginning that spreadsheets take for a formula.
UNSAFE = re.compile(r"^[=+@-]|[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def find_cases(raw_dir: Path, folder: FolderConfig) -> Listing:
    """Cases of the two folders and the folders in them; files without the configured suffix are ignored.

    Those of ``folder.add_dir`` are a source of their own, so that each split has its part of them.
    """
    found = _find_cases(raw_dir, folder)
    if folder.add_dir is None:
        return found
    added = _find_cases(Path(folder.add_dir), FolderConfig(inverted=folder.inverted))
    cases = [dataclasses.replace(case, case_id=f"{ADDED}_{case.case_id}", source=ADDED) for case in added.cases]
    _refuse_equal_ids([*found.cases, *cases])
    return Listing(
        sorted([*found.cases, *cases], key=lambda case: case.case_id),
        [*found.without_mask, *added.without_mask],
        [*found.remarks, *added.remarks],
    )


def _find_cases(raw_dir: Path, folder: FolderConfig) -> Listing:
    image_dir, mask_dir = raw_dir / folder.image_dir, raw_dir / folder.mask_dir
    layout = Layout(
        radiographs=f"{folder.image_dir}/*{folder.image_suffix}.png (or another image format)",
        masks=f"{mask_dir} as *{folder.mask_suffix}.png (or another image format)",
        remedy="Check data.folder.image_dir, mask_dir, image_suffix and mask_suffix.",
    )
    mask_files = files_below(mask_dir)
    masks_within = set() if mask_dir == image_dir else set(mask_files)  # a mask folder may lie in the other one
    files = [path for path in files_below(image_dir) if path not in masks_within]
    images = [path for path in files if is_image_or_dicom(path)]
    bounds = _bounds(raw_dir, folder)
    radiographs = by_stem(images, folder.image_suffix, image_dir)
    masks = by_stem(filter(is_image_or_dicom, mask_files), folder.mask_suffix, mask_dir)
    if folder.patient_pattern:
        patients, remark = _by_pattern(radiographs, image_dir, folder.patient_pattern), ""
    else:
        patients, remark = find_patients(radiographs)
    cases = [
        Case(
            case_id=UNSAFE.sub("_", name),
            source="folder",
            patient_id=UNSAFE.sub("_", patients[name]),
            image_path=path,
            mask_paths=(masks[name],) if name in masks else (),
            inverted=folder.inverted,
            lung_labels=tuple(folder.lung_labels),
            ignore_value=folder.ignore_value,
            bounds_path=bounds.get(name),
        )
        for name, path in radiographs.items()
    ]
    _refuse_equal_ids(cases)
    found = listing(cases, raw_dir, layout)
    found.remarks.extend(filter(None, (remark, _passed_over(files, images), _left_masks(masks, radiographs))))
    return found


def _bounds(raw_dir: Path, folder: FolderConfig) -> dict[str, Path]:
    if not folder.bounds_dir:
        return {}
    bounds_dir = raw_dir / folder.bounds_dir
    found = by_stem(filter(is_image_or_dicom, files_below(bounds_dir)), "", bounds_dir)
    if not found:
        raise UserError(f"data.folder.bounds_dir: {bounds_dir} holds no masks.\nIt is relative to data.raw_dir.")
    return found


def _by_pattern(radiographs: dict[str, Path], image_dir: Path, pattern: str) -> dict[str, str]:
    return {name: _patient(stem(path, image_dir), pattern) for name, path in radiographs.items()}


def _patient(name: str, pattern: str) -> str:
    key = f"data.folder.patient_pattern={pattern}"
    try:
        match = re.search(pattern, name)
        patient = match[1] if match else None
    except (re.error, IndexError) as error:
        raise UserError(f"{key} is not a regular expression with a group: {error}.") from error
    if not patient:
        raise UserError(
            f"{key} finds no patient in {name}; each radiograph needs one.\n"
            "Widen the pattern, or leave it empty if every radiograph is of a different patient."
        )
    return str(patient)


def _refuse_equal_ids(cases: list[Case]) -> None:
    """Raise a UserError for films/a_b.png and films/a/b.png, which would be one case."""
    paths: dict[str, Path] = {}
    for case in cases:
        if case.case_id in paths:
            both = f"{paths[case.case_id]} and {case.image_path}"
            raise UserError(f"{both} would both be the case {case.case_id}.\nRename one of them.")
        paths[case.case_id] = case.image_path


def _passed_over(files: list[Path], images: list[Path]) -> str:
    others = sorted(set(files) - set(images))
    return (
        f"{len(others)} files among the radiographs are no images and were left out, first {others[0]}."
        if others
        else ""
    )


def _left_masks(masks: dict[str, Path], radiographs: dict[str, Path]) -> str:
    left = sorted(path for name, path in masks.items() if name not in radiographs)
    return f"{len(left)} masks have no radiograph of their name, first {left[0]}." if left else ""
