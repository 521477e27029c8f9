"""Image files of any common encoding, decoded with a size limit: PNG, JPEG, TIFF and others that Pillow reads."""

import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.files import atomic_path

Grey = NDArray[np.uint8]
Spacing = tuple[float, float]  # millimetres from row to row and from column to column

# Without DICOM.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")  # Pillow's readers of other formats are less well tested
PILLOW_MAX_PIXELS = Image.MAX_IMAGE_PIXELS or math.inf  # Pillow warns above it and refuses twice as many
TOO_LARGE = "it has {} megapixels, over max_megapixels={}; raise that if you trust the file"

_pillow_limit_lock = threading.Lock()


def open_image(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> Image.Image:
    """Decode an image file of any mode, with its EXIF orientation applied; of CIELAB the lightness is returned."""
    with (
        translate_image_errors(path, max_megapixels),
        pillow_pixel_limit(max_megapixels),
        Image.open(path, formats=FORMATS) as image,
    ):
        check_pixel_count(image.width * image.height, max_megapixels)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return image.getchannel("L") if image.mode == "LAB" else image  # Pillow converts LAB to no other mode


def to_grey(image: Image.Image) -> Grey:
    """One 8-bit channel (H, W) of an image of any mode; transparent pixels are black."""
    if image.mode == "L":
        return np.asarray(image)
    if image.mode.startswith(("I", "F")):
        return stretch_to_8_bits(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return np.asarray(image.convert("L"))


def stretch_to_8_bits(values: NDArray[Any]) -> Grey:
    """Darkest value to 0 and brightest to 255; an image of one value becomes black."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)  # TIFF may be big-endian
    grey = np.empty(values.shape, np.uint8)
    return cv2.normalize(native, grey, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U).astype(np.uint8, copy=False)


def check_pixel_count(count: int, max_megapixels: int) -> None:
    """Raise ValueError for more pixels than allowed; to be called before they are decoded."""
    if count > max_megapixels * 1_000_000:
        raise ValueError(TOO_LARGE.format(math.ceil(count / 1e6), max_megapixels))


@contextmanager
def pillow_pixel_limit(max_megapixels: int) -> Iterator[None]:
    """Raise Pillow's own limit where more is allowed: one thread at a time, since the limit is global."""
    if max_megapixels * 1_000_000 <= PILLOW_MAX_PIXELS:
        yield
        return
    with _pillow_limit_lock:
        default, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_megapixels * 1_000_000
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = default


@contextmanager
def translate_image_errors(path: Path, max_megapixels: int) -> Iterator[None]:
    """Raise every error of an image reader as a UserError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a warning where those are errors
        reason = TOO_LARGE.format("too many", max_megapixels)
        raise UserError(f"{path} cannot be read as an image: {reason}.") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:  # Pillow raises SyntaxError for a broken PNG
        raise UserError(f"{path} cannot be read as an image: {error}.") from error


def png_bytes(picture: Grey) -> bytes:
    """Encode a picture, (H, W) or (H, W, 3) RGB, as PNG."""
    # Filter "up" encodes radiographs in a quarter of Pillow's time and masks in half, and smaller.
    options = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
        options += [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return cv2.imencode(".png", picture, options)[1].tobytes()


def write_png(path: Path, picture: Grey) -> None:
    """Write a PNG file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(png_bytes(picture))
