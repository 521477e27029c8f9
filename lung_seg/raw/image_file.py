"""Image files of any common encoding, decoded with care: PNG, JPEG, TIFF and others that Pillow reads."""

import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.files import atomic_path

Grey = NDArray[np.uint8]
Spacing = tuple[float, float]  # millimetres from row to row and from column to column

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp"})  # DICOM has its own
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")  # Pillow knows others, whose readers are less well tried
PILLOWS_PIXELS = Image.MAX_IMAGE_PIXELS or math.inf  # more of them it warns of, and twice as many it refuses
UNREADABLE = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    struct.error,
)
TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # a warning where those are errors

_one_at_a_time = threading.Lock()


class Decoded(NamedTuple):
    """An image in memory: as Pillow has it, of any mode, and what NumPy makes of it without a copy, if it can."""

    image: Image.Image
    shared: Grey | None

    @property
    def pixels(self) -> NDArray[Any]:
        """(H, W) or (H, W, C), to be read only."""
        return np.asarray(self.image) if self.shared is None else self.shared


def open_image(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> Decoded:
    """Decode an image file with its EXIF orientation applied; ``format`` stays known.

    Raises:
        UserError: the file is missing, broken, no image or larger than allowed.
    """
    with reading(path, max_megapixels), pillow_allowing(max_megapixels), Image.open(path, formats=FORMATS) as image:
        check_pixels(image.width * image.height, max_megapixels)
        shared = _give_memory(image) if image.mode == "L" else None
        memory = image.im if shared is not None else None
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        decoded = _lightness(image) if image.mode == "LAB" else image
        return Decoded(decoded, shared if decoded.im is memory else None)


def _give_memory(image: Image.Image) -> Grey:
    """An array that 8-bit grey is decoded into, unless the format's reader takes memory of its own.

    A film of 4000 px has 13 MB, and to copy them out of Pillow takes a twentieth of the time that decoding does.
    """
    pixels = np.zeros((image.height, image.width), np.uint8)
    image.im = Image.frombuffer("L", image.size, pixels, "raw", "L", 0, 1).im
    pixels.flags.writeable = False
    return pixels


def _lightness(image: Image.Image) -> Image.Image:
    """The grey of an image in CIELAB, which Pillow converts to no other mode by itself."""
    lightness = image.getchannel("L")
    lightness.format = image.format
    return lightness


def to_grey(decoded: Decoded) -> Grey:
    """One 8-bit channel of any mode; transparent pixels are black."""
    image = decoded.image
    if image.mode == "L":
        return decoded.pixels
    if image.mode.startswith(("I", "F")):
        return stretch_to_8_bits(decoded.pixels)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), rgba)
    return np.asarray(image.convert("L"))


def stretch_to_8_bits(values: NDArray[Any]) -> Grey:
    """Darkest value to 0 and brightest to 255; a blank film is black."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)  # TIFF may be big-endian
    grey = np.empty(values.shape, np.uint8)
    return cv2.normalize(native, grey, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U).astype(np.uint8, copy=False)


def check_pixels(count: int, max_megapixels: int) -> None:
    """Raise ValueError for more pixels than are allowed; to be asked before they are decoded."""
    if count > max_megapixels * 1_000_000:
        raise ValueError(_too_large(f"{math.ceil(count / 1e6)}", max_megapixels))


def _too_large(megapixels: str, max_megapixels: int) -> str:
    return f"it has {megapixels} megapixels, over max_megapixels={max_megapixels}; raise that if you trust the file"


@contextmanager
def pillow_allowing(max_megapixels: int) -> Iterator[None]:
    """Lift Pillow's own limit where more is allowed: one thread at a time, since it is that of the whole process."""
    if max_megapixels * 1_000_000 <= PILLOWS_PIXELS:
        yield
        return
    with _one_at_a_time:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_megapixels * 1_000_000
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


@contextmanager
def reading(path: Path, max_megapixels: int) -> Iterator[None]:
    """Every error of a reader of images becomes the user's, with the file's name."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there.") from error
    except TOO_LARGE as error:
        reason = _too_large("too many", max_megapixels)
        raise UserError(f"{path} cannot be read as an image: {reason}.") from error
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as an image: {error}.") from error


def png_bytes(picture: Grey) -> bytes:
    """The picture as a PNG file's content."""
    # Each row as its difference from the one above: films take a quarter of Pillow's time, masks half, and less room.
    options = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
        options += [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return cv2.imencode(".png", picture, options)[1].tobytes()


def write_png(path: Path, picture: Grey) -> None:
    """Write a PNG file so that it appears whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(png_bytes(picture))
