"""Radiographs of any file format as 8-bit grey: the one reader, shared by preparation and prediction."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UnusableFileError, UserError
from lung_seg.raw.dicom import is_dicom, read_dicom, read_dicom_values
from lung_seg.raw.image_file import (
    Grey,
    Spacing,
    check_pixel_count,
    read_deep_grey,
    read_grey,
    translate_image_errors,
)
from lung_seg.raw.signatures import IMAGE_SIGNATURES, SIGNATURE_BYTES

JSRT_BITS = 12  # JSRT's raw files: big-endian words of 12 bits, square, without a header (Shiraishi et al. 2000)
JSRT_SIDE_MM = 2048 * 0.175


class FullDepth(NamedTuple):
    """Grey values of a file's own depth."""

    values: NDArray[Any]  # (H, W) uint8 or uint16, air dark and bone bright
    low: int  # this value and lower ones are black in 8-bit grey
    high: int  # this value and higher ones are white


class Radiograph(NamedTuple):
    """A radiograph in memory."""

    pixels: Grey  # (H, W) as stored, air dark and bone bright
    spacing_mm: Spacing | None = None  # None where the file does not give it
    mirrored: bool = False  # the patient's right side is on the image's right side, as a DICOM header states
    remarks: tuple[str, ...] = ()  # what was assumed or replaced, for the user to check; empty for an ordinary file
    turned: bool = False  # stored turned, and shown upright by its EXIF or TIFF orientation


def read_radiograph(
    path: Path, inverted: bool = False, max_megapixels: int = MAX_MEGAPIXELS, window: str = "auto"
) -> Grey:
    """The pixels that ``open_radiograph`` reads, (H, W), air dark and bone bright."""
    return open_radiograph(path, inverted, max_megapixels, window).pixels


def open_radiograph(
    path: Path, inverted: bool = False, max_megapixels: int = MAX_MEGAPIXELS, window: str = "auto"
) -> Radiograph:
    """Read a radiograph as 8-bit grey, air dark and bone bright.

    Eight-bit files keep their values. Deeper ones are stretched between their own limits without outliers (see
    ``raw.stretch``); DICOM has its own rules. The EXIF or TIFF orientation is applied.

    Args:
        path: PNG, JPEG, TIFF, GIF or BMP, DICOM with any name, or a raw ``.IMG`` file of JSRT.
        inverted: the file shows air bright and bone dark although its format says otherwise.
        max_megapixels: a file whose header states more is refused before it is decoded.
        window: of DICOM, "auto" for its own VOI LUT or window unless that blanks the radiograph, "none" for neither.

    Raises:
        UserError: the file cannot be read, or is DICOM but not a frontal chest radiograph.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading it might not end
        raise UserError(f"{path} is no file but a pipe or a device.")
    if is_dicom(path):
        radiograph = Radiograph(*read_dicom(path, max_megapixels, window))
    elif _is_jsrt_raw(path):
        radiograph = _read_jsrt_raw(path, max_megapixels)
    else:
        pixels, turned, remarks = read_grey(path, max_megapixels)
        radiograph = Radiograph(pixels, remarks=remarks, turned=turned)
    if inverted:
        radiograph = radiograph._replace(pixels=cv2.bitwise_not(radiograph.pixels).astype(np.uint8))
    return radiograph


def refuse_blank(path: Path, image: Grey) -> None:
    """Raise a UserError for an image of one grey level, in which a network would find lungs of an ordinary shape."""
    if image.min() == image.max():
        raise UserError(f"{path} is blank: every pixel has the grey level {image.flat[0]}.")


def open_full_depth(path: Path, grey: Grey, inverted: bool = False, max_megapixels: int = MAX_MEGAPIXELS) -> FullDepth:
    """A radiograph that ``open_radiograph`` reads as ``grey`` in its own depth, for viewers with a window.

    Files of eight bits, in colour or with values that 16 bits do not hold have no more than ``grey``.
    """
    values: NDArray[np.uint16] | None
    if is_dicom(path):
        values = read_dicom_values(path, max_megapixels)
    elif _is_jsrt_raw(path):
        values = np.uint16(2**JSRT_BITS - 1) - _read_jsrt_words(path, max_megapixels)
    else:
        values = read_deep_grey(path, max_megapixels)
    if values is None:
        return FullDepth(grey, 0, 255)
    if inverted:
        values = values.max() - values
    return FullDepth(values, int(values[grey > 0].min(initial=0xFFFF)), int(values[grey < 255].max(initial=0)))


def _is_jsrt_raw(path: Path) -> bool:
    """Whether a file is raw by its suffix, and no image by its content, whose first word has more than 12 bits."""
    if path.suffix.lower() != ".img" or not path.is_file():
        return path.suffix.lower() == ".img"
    with path.open("rb") as file:
        return not file.read(SIGNATURE_BYTES).startswith(IMAGE_SIGNATURES)


def _read_jsrt_raw(path: Path, max_megapixels: int) -> Radiograph:
    words = _read_jsrt_words(path, max_megapixels)
    bright_air = (words >> (JSRT_BITS - 8)).astype(np.uint8)
    return Radiograph(np.uint8(255) - bright_air, (JSRT_SIDE_MM / len(words), JSRT_SIDE_MM / len(words)))


def _read_jsrt_words(path: Path, max_megapixels: int) -> NDArray[np.uint16]:
    """The words of a raw file as a square, air bright."""
    with translate_image_errors(path, max_megapixels):
        count = path.stat().st_size // 2
        side = math.isqrt(count)
        check_pixel_count(count, max_megapixels)
        if side == 0 or side * side != count:
            raise UnusableFileError(f"{count} 16-bit words do not form a square")
        words = np.fromfile(path, dtype=">u2", count=count)
        if words.max() >= 2**JSRT_BITS:
            raise UnusableFileError(f"its words exceed the {JSRT_BITS} bits of a JSRT film")
    return words.reshape(side, side).astype(np.uint16)
