"""From a radiograph's file to the network's input: the one way, shared by preparing and predicting."""

import math
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.data.case import MAX_MEGAPIXELS
from lung_seg.data.dicom import is_dicom, read_dicom
from lung_seg.data.image_file import Grey, Spacing, check_pixels, open_image, reading, to_grey
from lung_seg.errors import UserError

ValuesT = TypeVar("ValuesT", bound=NDArray[Any])

JSRT_BITS = 12  # JSRT's raw files: big-endian words of 12 bits, square, without a header (Shiraishi et al. 2000)
JSRT_SIDE_MM = 2048 * 0.175
LONGEST_FRAMED_PX = 20_000  # a letterbox is as high as wide: a strip of some megapixels could ask for gigabytes
# Times its new size an image is first halved, as 4020 px are for 512: a third of the time, edges within 1/15 of a pixel
HALVED_FROM = 7.5


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
    if path.suffix.lower() == ".img":
        return _read_jsrt_raw(path, max_megapixels)
    if is_dicom(path):
        return Radiograph(*read_dicom(path, max_megapixels))
    return Radiograph(to_grey(open_image(path, max_megapixels)), spacing_mm=None)


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


def shrink(image: Grey, height_px: int, width_px: int, halved_from: float = HALVED_FROM) -> Grey:
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


def _read_jsrt_raw(path: Path, max_megapixels: int) -> Radiograph:
    with reading(path, max_megapixels):
        count = path.stat().st_size // 2
        side = math.isqrt(count)
        check_pixels(count, max_megapixels)
        if side == 0 or side * side != count:
            raise ValueError(f"{count} 16-bit words make no square")
        words = np.fromfile(path, dtype=">u2", count=count)
    grey = (words.reshape(side, side) >> (JSRT_BITS - 8)).clip(0, 255).astype(np.uint8)
    return Radiograph(grey, (JSRT_SIDE_MM / side, JSRT_SIDE_MM / side))
