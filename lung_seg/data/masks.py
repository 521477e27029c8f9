"""What counts as a lung pixel: masks of any encoding, their union and their resizing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lung_seg.data.radiograph import open_image, to_square
from lung_seg.errors import UserError

Mask = NDArray[np.bool_]

LOSSY_FORMATS = ("JPEG", "WEBP", "MPO")
LABEL_MAP_LEVELS = (
    4  # a lossless file with so few levels numbers its labels (0, left 1, right 2); one with more is a ramp
)


def read_mask(path: Path) -> Mask:
    """Read a mask of any encoding, (H, W) bool.

    A file that numbers its labels (0/1, 0/255, left 1 and right 2, palettes, 16-bit) has lung wherever it is not zero.
    A ramp, as JPEG and smoothed resizing leave it, has lung above half of its scale. Of colours the brightest channel
    counts; a picture that is all of one colour carries its mask in the alpha channel.

    Raises:
        UserError: the file cannot be read as an image.
    """
    levels = _levels(open_image(path))
    mask: Mask = levels > _threshold(levels, path)
    return mask


def _threshold(levels: NDArray[np.float32], path: Path) -> float:
    """The level above which a pixel is lung."""
    with Image.open(path) as header:
        lossy = header.format in LOSSY_FORMATS
    if lossy:
        return 127
    return 0 if len(np.unique(levels)) <= LABEL_MAP_LEVELS else float(levels.max()) / 2


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
    union: Mask = np.logical_or.reduce(masks)
    return union


def mask_to_square(mask: Mask, size_px: int, resize: str) -> Mask:
    """Resize to (size_px, size_px): a pixel is lung where at least half of its area was, so that no edge shifts."""
    return to_square(mask.astype(np.uint8) * np.uint8(255), size_px, resize) >= 128


def size_text(pixels: NDArray[np.generic]) -> str:
    """Width and height as people write them: "4020x4892"."""
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _levels(image: Image.Image) -> NDArray[np.float32]:
    """One channel of an image of any mode."""
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    pixels: NDArray[np.float32] = np.asarray(image).astype(np.float32)
    if pixels.ndim == 2:
        return pixels
    if image.mode in ("LA", "RGBA"):
        colours, alpha = pixels[..., :-1].max(axis=2), pixels[..., -1]
        pixels = alpha[..., None] if np.ptp(colours) == 0 else np.where(alpha > 127, colours, 0)[..., None]
    brightest: NDArray[np.float32] = pixels.max(axis=2)
    return brightest
