"""What counts as a lung pixel: masks of any encoding, their union and their resizing."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from lung_seg.data.case import MAX_MEGAPIXELS
from lung_seg.data.image_file import open_image
from lung_seg.data.radiograph import to_square
from lung_seg.errors import UserError

Mask = NDArray[np.bool_]

LOSSY_FORMATS = ("JPEG", "WEBP", "MPO")
FAINTEST_LUNG = 32  # of 255: what compression leaves of an empty mask stays below
STRIP_ROWS = 64  # of a mask that are looked at together: few enough to stay in a core's cache
MOST_LABELS = 4  # a lossless file with so few levels numbers its labels (0, left 1, right 2); one with more is a ramp


def read_mask(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> Mask:
    """Read a mask of any encoding, (H, W) bool.

    A file that numbers its labels (0/1, 0/255, left 1 and right 2, palettes, 16-bit) has lung wherever it is not zero.
    A ramp, as JPEG and smoothed resizing leave it, has lung above half of its brightest level. Of colours the brightest
    channel counts; a picture that is all of one colour carries its mask in the alpha channel.

    Raises:
        UserError: the file cannot be read as an image, or is larger than allowed.
    """
    image = open_image(path, max_megapixels)
    pixels = np.asarray(_levels(image))
    half = float(pixels.max()) / 2
    if image.format in LOSSY_FORMATS:
        threshold = max(half, FAINTEST_LUNG)
    elif _has_few_levels(pixels):
        threshold = 0
    else:
        threshold = half
    mask: Mask = pixels > threshold
    return mask


def merge_masks(masks: Sequence[Mask]) -> Mask:
    """Union of the single-lung masks of one radiograph, (H, W) bool.

    Montgomery ships the left and the right lung apart (Candemir et al. 2014, doi:10.1109/TMI.2013.2290491).

    Raises:
        UserError: no mask given, or sizes differ.
    """
    if not masks:
        raise UserError("No mask to merge.")
    sizes = {size_text(mask) for mask in masks}
    if len(sizes) > 1:
        raise UserError(f"The masks of one radiograph differ in size: {' and '.join(sorted(sizes))}.")
    union: Mask = reduce(np.logical_or, masks)
    return union


def mask_to_square(mask: Mask, size_px: int, resize: str) -> Mask:
    """Resize to (size_px, size_px): a pixel is lung where at least half of its area was, so that no edge shifts."""
    return to_square(mask.view(np.uint8) * np.uint8(255), size_px, resize) >= 128


def size_text(pixels: NDArray[np.generic]) -> str:
    """Width and height as people write them: "4020x4892"."""
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _levels(image: Image.Image) -> Image.Image:
    """One channel of an image of any mode."""
    if image.mode in ("1", "L", "I", "F"):
        return image
    if image.mode.startswith("I;16"):
        return image.convert("I")
    *colours, alpha = image.convert("RGBA").split()
    brightest = reduce(ImageChops.lighter, colours)
    return alpha if _is_flat(brightest) and not _is_flat(alpha) else ImageChops.multiply(brightest, alpha)


def _has_few_levels(pixels: NDArray[Any]) -> bool:
    """Whether there are no more different values than labels are numbered by."""
    levels = np.unique(pixels[::16, ::16])  # of a mask nearly always all; counting them takes longer than decoding
    for start in range(0, len(pixels), STRIP_ROWS):
        if len(levels) > MOST_LABELS:
            return False
        rows = pixels[start : start + STRIP_ROWS]
        known = reduce(np.logical_or, (rows == level for level in levels))
        if not known.all():
            levels = np.union1d(levels, rows[~known])
    return len(levels) <= MOST_LABELS


def _is_flat(channel: Image.Image) -> bool:
    lowest, highest = channel.getextrema()
    return lowest == highest
