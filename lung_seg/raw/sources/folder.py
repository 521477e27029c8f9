"""Any two folders of radiographs and masks, matched by the stem of their file names.

Among others: COVID-QU-Ex (``images`` and ``lung masks`` with the same names), exports of V7 Darwin, a user's own files.
"""

import re
from pathlib import Path

from lung_seg.config import FolderConfig
from lung_seg.errors import UserError
from lung_seg.raw.case import Case, Listing
from lung_seg.raw.sources.layout import Layout, by_stem, images, listing, masks_by_stem


def find_cases(raw_dir: Path, folder: FolderConfig) -> Listing:
    """Cases of the two folders; files without the configured suffix are ignored."""
    layout = Layout(
        radiographs=f"{folder.image_dir}/*{folder.image_suffix}.png (or another image format)",
        masks=f"{raw_dir / folder.mask_dir} as *{folder.mask_suffix}.png (or another image format)",
        remedy="Check data.folder.image_dir, mask_dir, image_suffix and mask_suffix.",
    )
    radiographs = by_stem(images(raw_dir / folder.image_dir), folder.image_suffix)
    masks = masks_by_stem(images(raw_dir / folder.mask_dir), suffix=folder.mask_suffix)
    cases = [
        Case(
            case_id=stem,
            source="folder",
            patient_id=_patient(path.stem, folder.patient_pattern) if folder.patient_pattern else stem,
            image_path=path,
            mask_paths=masks.get(stem, ()),
            inverted=folder.inverted,
        )
        for stem, path in radiographs.items()
    ]
    return listing(cases, raw_dir, layout)


def _patient(stem: str, pattern: str) -> str:
    key = f"data.folder.patient_pattern={pattern}"
    try:
        match = re.search(pattern, stem)
        patient = match[1] if match else None
    except (re.error, IndexError) as error:
        raise UserError(f"{key} is not a regular expression with a group: {error}.") from error
    if not patient:
        raise UserError(
            f"{key} finds no patient in {stem}; each radiograph needs one.\n"
            "Widen the pattern, or leave it empty if every radiograph is of a different patient."
        )
    return str(patient)
