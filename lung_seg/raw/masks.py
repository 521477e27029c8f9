"""Masks of any encoding, their union and their resizing."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.raw.image_file import open_image
from lung_seg.raw.resize import to_network_input

Mask = NDArray[np.bool_]

LOSSY_FORMATS = ("JPEG", "WEBP", "MPO")
FAINTEST_LUNG = 32  # of 255: compression noise on an empty mask stays below
MAX_LABELS = 4  # a lossless file with at most so many levels holds labels (0, left 1, right 2); with more, a ramp


def read_mask(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> Mask:
    """Read a mask of any encoding, (H, W) bool.

    In a file of labels (0/1, 0/255, left 1 and right 2, palettes, 16-bit) every value except zero is lung. In a ramp,
    as JPEG and smoothed resizing leave it, values above half of the highest are lung. Of colours the brightest channel
    counts; an image of a single colour has its mask in the alpha channel.
    """
    image = open_image(path, max_megapixels)
    channel = _mask_channel(image)
    values = np.asarray(channel)
    half = float(values.max()) / 2
    if image.format in LOSSY_FORMATS:
        threshold = max(half, FAINTEST_LUNG)
    elif channel.getcolors(MAX_LABELS):  # None if there are more
        threshold = 0
    else:
        threshold = half
    mask: Mask = values > threshold
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


def mask_to_network_input(mask: Mask, size_px: int, resize: str) -> Mask:
    """Resize to (size_px, size_px): a pixel is lung where at least half of its area was, so that no edge shifts."""
    return to_network_input(mask.view(np.uint8) * np.uint8(255), size_px, resize) >= 128


def size_text(pixels: NDArray[np.generic]) -> str:
    """Width and height as text: "4020x4892"."""
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _mask_channel(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "L", "I", "F"):
        return image
    if image.mode.startswith("I;16"):
        return image.convert("I")
    *colours, alpha = image.convert("RGBA").split()
    brightest = reduce(ImageChops.lighter, colours)
    if brightest.getcolors(1) and not alpha.getcolors(1):  # None for more than one level
        return alpha
    return ImageChops.multiply(brightest, alpha)
