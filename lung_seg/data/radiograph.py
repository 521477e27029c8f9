"""From a radiograph's file to the network's input: the one way, shared by preparing and predicting."""

import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lung_seg.data.case import MAX_MEGAPIXELS
from lung_seg.errors import UserError

Grey = NDArray[np.uint8]
Spacing = tuple[float, float]  # millimetres from row to row and from column to column
ValuesT = TypeVar("ValuesT", bound=NDArray[Any])

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp"})  # DICOM has its own
JSRT_BITS = 12  # JSRT's raw files: big-endian words of 12 bits, square, without a header (Shiraishi et al. 2000)
JSRT_SIDE_MM = 2048 * 0.175
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")  # Pillow knows others, whose readers are less well tried
PILLOWS_PIXELS = Image.MAX_IMAGE_PIXELS or math.inf  # more of them it warns of, and twice as many it refuses
LONGEST_FRAMED_PX = 20_000  # a letterbox is as high as wide: a strip of some megapixels could ask for gigabytes
HALVED_FROM = 8  # times its new size an image is first halved: a third of the time, edges within a twentieth of a pixel
UNREADABLE = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    struct.error,
)
TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # a warning where those are errors

_one_at_a_time = threading.Lock()


class Radiograph(NamedTuple):
    """A radiograph in memory."""

    pixels: Grey  # (H, W), air dark and bone bright
    spacing_mm: Spacing | None  # None where the file does not tell


def read_radiograph(path: Path, inverted: bool = False, max_megapixels: int = MAX_MEGAPIXELS) -> Grey:
    """The pixels that ``open_radiograph`` reads, (H, W), air dark and bone bright."""
    return open_radiograph(path, inverted, max_megapixels).pixels


def open_radiograph(path: Path, inverted: bool = False, max_megapixels: int = MAX_MEGAPIXELS) -> Radiograph:
    """Read a radiograph of any common encoding as 8-bit grey, air dark and bone bright.

    Eight-bit files keep their values. Deeper ones are stretched from their own darkest to their own brightest value,
    since 16-bit files seldom use all 16 bits; DICOM has its own rules. The orientation of EXIF is applied.

    Args:
        path: PNG, JPEG, TIFF, GIF or BMP, DICOM with any name, or a raw ``.IMG`` file of JSRT.
        inverted: the file shows air bright and bone dark.
        max_megapixels: a file that says it holds more is refused before it is decoded.

    Raises:
        UserError: the file cannot be read as an image, or is DICOM and no frontal chest radiograph.
    """
    radiograph = _open_as_shown(path, max_megapixels)
    if inverted:
        return radiograph._replace(pixels=cv2.bitwise_not(radiograph.pixels).astype(np.uint8))
    return radiograph


def _open_as_shown(path: Path, max_megapixels: int) -> Radiograph:
    from lung_seg.data.dicom import is_dicom, read_dicom  # that module builds on this one

    if path.suffix.lower() == ".img":
        return _read_jsrt_raw(path, max_megapixels)
    if is_dicom(path):
        return read_dicom(path, max_megapixels)
    return Radiograph(_to_grey(open_image(path, max_megapixels)), spacing_mm=None)


def open_image(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> Image.Image:
    """Decode an image file with its EXIF orientation applied; ``format`` stays known.

    Raises:
        UserError: the file is missing, broken, no image or larger than allowed.
    """
    with _reading(path, max_megapixels), pillow_allowing(max_megapixels), Image.open(path, formats=FORMATS) as image:
        check_pixels(image.width * image.height, max_megapixels)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _lightness(image) if image.mode == "LAB" else image


def _lightness(image: Image.Image) -> Image.Image:
    """The grey of an image in CIELAB, which Pillow converts to no other mode by itself."""
    lightness = image.getchannel("L")
    lightness.format = image.format
    return lightness


def to_square(image: Grey, size_px: int, resize: str) -> Grey:
    """Resize to (size_px, size_px): ``stretch`` both axes, or ``letterbox`` with black bars on the short one.

    An axis that shrinks is averaged over the area of each pixel, so that fine structure does not alias.

    Raises:
        UserError: the image is a strip too long for a letterbox.
    """
    if resize == "letterbox":
        image = _pad_to_square(image)
    height_px, width_px = image.shape
    shrunk = shrink(image, min(height_px, size_px), min(width_px, size_px))
    return cv2.resize(shrunk, (size_px, size_px), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def shrink(image: Grey, height_px: int, width_px: int, halved_from: int = HALVED_FROM) -> Grey:
    """Average over the area of each new pixel; (H, W) or (H, W, 3), neither side of which may grow.

    Args:
        image: 8-bit grey or colours.
        height_px: what is asked for.
        width_px: what is asked for.
        halved_from: times its new size the image is halved first, which is faster and less exact.
    """
    while image.shape[0] >= halved_from * height_px and image.shape[1] >= halved_from * width_px:
        image = _halved(image)
    return cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def from_square(square: ValuesT, height_px: int, width_px: int, resize: str, interpolation: int) -> ValuesT:
    """The way back from ``to_square``: a map over the square (S, S) as one over the radiograph, (height_px, width_px).

    Args:
        square: values of any type that OpenCV resizes.
        height_px: of the radiograph.
        width_px: of the radiograph.
        resize: how the radiograph became square.
        interpolation: OpenCV's, e.g. ``cv2.INTER_LINEAR``; pixel centres stay where they were in the radiograph.
    """
    if resize != "letterbox":
        return cv2.resize(square, (width_px, height_px), interpolation=interpolation)  # type: ignore[return-value]
    side, top, left = _frame(height_px, width_px)
    framed = cv2.resize(square, (side, side), interpolation=interpolation)
    return framed[top : top + height_px, left : left + width_px]  # type: ignore[return-value]


def _halved(image: Grey) -> Grey:
    """The mean of each two by two pixels; of an odd number of rows or columns the last one counts twice."""
    height_px, width_px = image.shape[:2]
    if height_px % 2 or width_px % 2:
        image = np.asarray(cv2.copyMakeBorder(image, 0, height_px % 2, 0, width_px % 2, cv2.BORDER_REPLICATE), np.uint8)
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def _pad_to_square(image: Grey) -> Grey:
    height_px, width_px = image.shape
    side, top, left = _frame(height_px, width_px)
    if side > LONGEST_FRAMED_PX:
        raise UserError(
            f"An image of {width_px}x{height_px} pixels is too long for a letterbox of at most {LONGEST_FRAMED_PX}.\n"
            "No radiograph is as long; cut it, or use resize=stretch."
        )
    return np.pad(image, ((top, side - height_px - top), (left, side - width_px - left)))


def _frame(height_px: int, width_px: int) -> tuple[int, int, int]:
    """Side of the letterbox around a radiograph, and where in it the radiograph begins: row and column."""
    side = max(height_px, width_px)
    return side, (side - height_px) // 2, (side - width_px) // 2


def _to_grey(image: Image.Image) -> Grey:
    """One 8-bit channel of any mode; transparent pixels are black."""
    if image.mode in ("L", "1"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if image.mode.startswith(("I", "F")):
        return stretch_to_8_bits(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), rgba)
    return np.asarray(image.convert("L"))


def stretch_to_8_bits(values: NDArray[Any]) -> Grey:
    """Darkest value to 0 and brightest to 255; a blank film is black."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)  # TIFF may be big-endian
    grey = np.empty(values.shape, np.uint8)
    return cv2.normalize(native, grey, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U).astype(np.uint8, copy=False)


def _read_jsrt_raw(path: Path, max_megapixels: int) -> Radiograph:
    with _reading(path, max_megapixels):
        count = path.stat().st_size // 2
        side = math.isqrt(count)
        check_pixels(count, max_megapixels)
        if side == 0 or side * side != count:
            raise ValueError(f"{count} 16-bit words make no square")
        words = np.fromfile(path, dtype=">u2", count=count)
    grey = (words.reshape(side, side) >> (JSRT_BITS - 8)).clip(0, 255).astype(np.uint8)
    return Radiograph(grey, (JSRT_SIDE_MM / side, JSRT_SIDE_MM / side))


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
def _reading(path: Path, max_megapixels: int) -> Iterator[None]:
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
