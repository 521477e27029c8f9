"""Masks of which some pixels are not known to be lung or not: maps of BACKGROUND, LUNG and UNKNOWN.

Their user said so by a value (``data.folder.ignore_value``), or drew only what contains the lungs
(``data.folder.bounds_dir``): outside such a mask is background, inside it lung where another mask says so.
"""

from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lung_seg.config import BACKGROUND, LUNG, UNKNOWN
from lung_seg.errors import UserError
from lung_seg.raw.case import Case
from lung_seg.raw.image_file import open_pages
from lung_seg.raw.masks import Mask, label_values, mask_to_network_input, read_mask, rim

Labels = NDArray[np.uint8]

MARGIN = 0.008  # of the longer side: outlines drawn by hand are no finer, so this much around bounds is not known
UNKNOWN_GREY = 128  # in a file, where background is 0 and lung 255


class CaseMasks(NamedTuple):
    """The masks of a radiograph, (H, W) bool each."""

    lungs: list[Mask]  # one of each of the case's mask files
    unknown: list[Mask]  # likewise; none without an ignore_value
    bounds: Mask | None  # what contains the lungs

    def labels(self) -> Labels:
        """BACKGROUND, LUNG or UNKNOWN for each pixel (H, W); the masks are of one size."""
        masks = [*self.lungs, *([] if self.bounds is None else [self.bounds])]
        nothing = np.zeros_like(masks[0])
        lung, unknown = reduce(np.logical_or, self.lungs, nothing), reduce(np.logical_or, self.unknown, nothing)
        if self.bounds is not None:
            lung, unknown = lung & self.bounds, self.bounds | rim(self.bounds, round(MARGIN * max(self.bounds.shape)))
        return np.where(lung, LUNG, np.where(unknown, UNKNOWN, BACKGROUND)).astype(np.uint8)


def read_case_masks(case: Case, max_megapixels: int) -> CaseMasks:
    """Read the masks of a case.

    Raises:
        UserError: a file cannot be read, or which of its values are lung is not known.
    """
    bounds = read_mask(case.bounds_path, max_megapixels) if case.bounds_path else None
    if case.ignore_value is None:
        return CaseMasks([read_mask(path, max_megapixels, case.lung_labels) for path in case.mask_paths], [], bounds)
    pairs = [_read_partly_known(path, case, case.ignore_value, max_megapixels) for path in case.mask_paths]
    return CaseMasks([lung for lung, _ in pairs], [unknown for _, unknown in pairs], bounds)


def labels_to_network_input(labels: Labels, size_px: int, resize: str) -> Labels:
    """Resize to (size_px, size_px): a pixel is what at least half of its area was, lung before not known."""
    lung = mask_to_network_input(labels == LUNG, size_px, resize)
    not_background = mask_to_network_input(labels != BACKGROUND, size_px, resize)
    return np.where(lung, LUNG, np.where(not_background, UNKNOWN, BACKGROUND)).astype(np.uint8)


def labels_to_grey(labels: Labels) -> Labels:
    """As a file holds them: 0, 128 for not known, 255 for lung."""
    return np.array([0, 255, UNKNOWN_GREY], np.uint8)[labels]


def grey_to_labels(grey: NDArray[np.uint8]) -> Labels:
    """The opposite; any other value but 0 is lung."""
    return np.where(grey == UNKNOWN_GREY, UNKNOWN, grey > 0).astype(np.uint8)


def _read_partly_known(path: Path, case: Case, ignore_value: int, max_megapixels: int) -> tuple[Mask, Mask]:
    """Lung, and not known, of a file."""
    pages = open_pages(path, max_megapixels)
    if len(pages) != 1:
        raise UserError(f"{path} has {len(pages)} pages.\nSave the mask as a file of one page.")
    values = label_values(path, pages[0], "ignore_value")
    unknown = values == ignore_value
    lungs: Mask = np.isin(values, case.lung_labels) if case.lung_labels else (values != 0) & ~unknown
    return lungs, unknown
