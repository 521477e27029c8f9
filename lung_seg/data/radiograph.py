"""From a radiograph's file to the network's input: the one way, shared by preparing and predicting."""

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lung_seg.errors import UserError

Grey = NDArray[np.uint8]

JSRT_BITS = 12  # JSRT's raw files: big-endian words of 12 bits, square, without a header (Shiraishi et al. 2000)


def read_radiograph(path: Path, inverted: bool = False) -> Grey:
    """Read a radiograph of any common encoding as 8-bit grey, (H, W), air dark and bone bright.

    Eight-bit files keep their values. Deeper ones are stretched from their own darkest to their own brightest value,
    since 16-bit files seldom use all 16 bits. The orientation of EXIF is applied.

    Args:
        path: PNG, JPEG, TIFF, GIF or BMP, or a raw ``.IMG`` file of JSRT.
        inverted: the file shows air bright and bone dark.

    Raises:
        UserError: the file cannot be read as an image.
    """
    grey = _read_jsrt_raw(path) if path.suffix.lower() == ".img" else _to_grey(open_image(path))
    return cv2.bitwise_not(grey).astype(np.uint8) if inverted else grey


def open_image(path: Path) -> Image.Image:
    """Decode an image file with its EXIF orientation applied.

    Raises:
        UserError: the file is missing, broken or no image.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image) or image
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there.") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        UnidentifiedImageError,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"{path} cannot be read as an image: {error}.") from error


def to_square(image: Grey, size_px: int, resize: str) -> Grey:
    """Resize to (size_px, size_px): ``stretch`` both axes, or ``letterbox`` with black bars on the short one.

    Shrinking averages over the area of each pixel, so that fine structure does not alias.
    """
    if resize == "letterbox":
        image = _pad_to_square(image)
    shrinks = max(image.shape) > size_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size_px, size_px), interpolation=interpolation).astype(np.uint8, copy=False)


def _pad_to_square(image: Grey) -> Grey:
    height_px, width_px = image.shape
    side = max(height_px, width_px)
    top, left = (side - height_px) // 2, (side - width_px) // 2
    return np.pad(image, ((top, side - height_px - top), (left, side - width_px - left)))


def _to_grey(image: Image.Image) -> Grey:
    """One 8-bit channel of any mode; transparent pixels are black."""
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    if image.mode.startswith(("I", "F")):
        return _stretch_to_8_bits(np.asarray(image, dtype=np.float32))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), rgba)
    return np.asarray(image.convert("L"))


def _stretch_to_8_bits(values: NDArray[np.float32]) -> Grey:
    darkest, brightest = float(values.min()), float(values.max())
    span = max(brightest - darkest, 1.0)  # a blank film stays black
    grey: Grey = np.rint((values - darkest) * (255 / span)).astype(np.uint8)
    return grey


def _read_jsrt_raw(path: Path) -> Grey:
    if not path.is_file():
        raise UserError(f"{path} is not there.")
    words = np.fromfile(path, dtype=">u2")
    side = round(len(words) ** 0.5)
    if side == 0 or side * side != len(words):
        raise UserError(f"{path} cannot be read as an image: {len(words)} 16-bit words make no square.")
    return (words.reshape(side, side) >> (JSRT_BITS - 8)).clip(0, 255).astype(np.uint8)
