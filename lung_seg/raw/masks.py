"""What counts as a lung pixel: masks of any encoding, their union and their resizing."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.raw.image_file import Decoded, open_image
from lung_seg.raw.resize import to_network_input

Mask = NDArray[np.bool_]

LOSSY_FORMATS = ("JPEG", "WEBP", "MPO")
FAINTEST_LUNG = 32  # of 255: what compression leaves of an empty mask stays below
ROWS_LOOKED_AT = 256  # at least: each meets the lungs' edges, and it is there that a ramp has its many levels
MOST_LABELS = 4  # a lossless file with so few levels numbers its labels (0, left 1, right 2); one with more is a ramp


def read_mask(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> Mask:
    """Read a mask of any encoding, (H, W) bool.

    A file that numbers its labels (0/1, 0/255, left 1 and right 2, palettes, 16-bit) has lung wherever it is not zero.
    A ramp, as JPEG and smoothed resizing leave it, has lung above half of its brightest level. Of colours the brightest
    channel counts; a picture that is all of one colour carries its mask in the alpha channel.

    Raises:
        UserError: the file cannot be read as an image, or is larger than allowed.
    """
    decoded = open_image(path, max_megapixels)
    pixels = _one_channel(decoded)
    mask: Mask = pixels > _highest_background(pixels, decoded.image.format in LOSSY_FORMATS)
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
    """Width and height as people write them: "4020x4892"."""
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _one_channel(decoded: Decoded) -> NDArray[Any]:
    """The values (H, W) that tell lung from background, in an image of any mode."""
    image = decoded.image
    if image.mode in ("1", "L", "I", "F"):
        return decoded.pixels
    if image.mode.startswith("I;16"):
        return np.asarray(image.convert("I"))
    *colours, alpha = image.convert("RGBA").split()
    brightest = reduce(ImageChops.lighter, colours)
    in_alpha = _is_flat(brightest) and not _is_flat(alpha)
    return np.asarray(alpha if in_alpha else ImageChops.multiply(brightest, alpha))


def _highest_background(pixels: NDArray[Any], is_lossy: bool) -> float:
    """The value that all of a lung's pixels lie above."""
    if not is_lossy and _has_few_levels(pixels):
        return 0
    half = float(pixels.max()) / 2
    return max(half, FAINTEST_LUNG) if is_lossy else half


def _has_few_levels(pixels: NDArray[Any]) -> bool:
    """Whether there are no more different values than labels are numbered by, in rows spread over the whole."""
    rows = pixels[:: max(1, len(pixels) // ROWS_LOOKED_AT)]
    levels = np.unique(rows[:, ::16])  # nearly always all of them; counting every pixel takes longer than decoding
    if len(levels) > MOST_LABELS:
        return False
    known = reduce(np.logical_or, (rows == level for level in levels))
    return len(np.union1d(levels, rows[~known])) <= MOST_LABELS


def _is_flat(channel: Image.Image) -> bool:
    lowest, highest = channel.getextrema()
    return lowest == highest
