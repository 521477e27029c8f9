"""Image files of any common encoding, decoded with a size limit: PNG, JPEG, TIFF and others that Pillow reads."""

import itertools
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UnusableFileError, UserError
from lung_seg.files import atomic_path
from lung_seg.raw.signatures import IMAGE_SIGNATURES, SIGNATURE_BYTES, content_kind
from lung_seg.raw.stretch import by_parts, stretch_to_8_bits
from lung_seg.raw.tiff import (
    BITS_PER_SAMPLE,
    ORIENTATION,
    PHOTOMETRIC,
    SAMPLE_FORMAT,
    in_native_order,
    is_reduced,
    seek_page,
)

Grey = NDArray[np.uint8]
Spacing = tuple[float, float]  # millimetres from row to row and from column to column

# Without DICOM.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")  # Pillow's readers of other formats are less well tested
MAX_PNG_SIDE_PX = 1_000_000  # of libpng
PILLOW_MAX_PIXELS = Image.MAX_IMAGE_PIXELS or math.inf  # Pillow warns above it and refuses twice as many
TOO_LARGE = "it has {} megapixels, over max_megapixels={}; raise that if you trust the file"
DAMAGED = "it is damaged or incomplete"
READABLE = "PNG, JPEG, TIFF, BMP, GIF or WebP"

TILE_PX = 256  # images with transparency are converted tile by tile: all at once takes eleven bytes a pixel

TURNED = range(2, 9)  # orientations other than upright
_pillow_limit_lock = threading.Lock()


def open_image(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> Image.Image:
    """Decode an image file of any mode, upright; of CIELAB the lightness is returned.

    ``info["turned"]`` says whether its EXIF or TIFF orientation was another than upright.
    """
    with _opened(path, max_megapixels) as image:
        _prepare_page(image, max_megapixels)
        return _load_upright(image)


def open_pages(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> list[Image.Image]:
    """Decode all pages of an image file, upright, without those that TIFF marks as reduced.

    Of CIELAB the lightness is returned. All pages together may have ``max_megapixels``.
    """
    pages: list[Image.Image] = []
    with _opened(path, max_megapixels) as image:
        count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # of an MPO the others are previews
        for number in range(count):
            image.seek(number)
            if not is_reduced(image):
                check_pixel_count(image.width * image.height * (len(pages) + 1), max_megapixels)
                _in_native_order(image)
                pages.append(_load_upright(image).copy())
                pages[-1].format = image.format
    return pages


def read_grey(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> tuple[Grey, bool, tuple[str, ...]]:
    """Decode an image file as one 8-bit channel (H, W), upright; transparent pixels are black.

    Eight-bit files keep their values. Deeper ones are stretched, since 16-bit files seldom use all 16 bits.

    Returns:
        The pixels, whether the file is stored turned, and remarks.
    """
    with _opened(path, max_megapixels) as image:
        _prepare_page(image, max_megapixels)
        if _has_deep_colours(image):
            return *_read_deep_colour(path, image), ()
        tags = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        upright = _load_upright(image)
        turned = upright.info["turned"]
        if not upright.mode.startswith(("I", "F")):
            return _to_grey(upright), turned, ()
        values = np.asarray(upright)
        if tags.get(BITS_PER_SAMPLE) == (32,) and tags.get(SAMPLE_FORMAT, (1,)) == (1,):
            values = values.view(np.uint32)  # Pillow has no unsigned type of 32 bits
        grey, remarks = _deep_to_grey(values, upright.info.get("transparency"), tags.get(PHOTOMETRIC) == 0)
        return grey, turned, remarks


def read_deep_grey(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> NDArray[np.uint16] | None:
    """The values of a grey image of 9 to 16 bits, (H, W), upright; None for any other."""
    with _opened(path, max_megapixels) as image:
        _prepare_page(image, max_megapixels)
        tags = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        if not image.mode.startswith("I"):
            return None
        values = np.asarray(_load_upright(image))
    if values.dtype != np.uint16 and (values.min() < 0 or values.max() > 0xFFFF):
        return None
    values = values.astype(np.uint16)
    return np.uint16(0xFFFF) - values if tags.get(PHOTOMETRIC) == 0 else values


def check_pixel_count(count: int, max_megapixels: int) -> None:
    """Raise UnusableFileError for more pixels than allowed; to be called before they are decoded."""
    if count > max_megapixels * 1_000_000:
        raise UnusableFileError(TOO_LARGE.format(math.ceil(count / 1e6), max_megapixels))


@contextmanager
def _opened(path: Path, max_megapixels: int) -> Iterator[Image.Image]:
    """An image file, of which only the header is read."""
    # Pillow maps a raw TIFF that it opens by name into memory, with height and width swapped for orientations 5 to 8.
    with (
        translate_image_errors(path, max_megapixels),
        pillow_pixel_limit(max_megapixels),
        path.open("rb") as file,
        Image.open(file, formats=FORMATS) as image,
    ):
        yield image


def _prepare_page(image: Image.Image, max_megapixels: int) -> None:
    """Go to the page that shows the radiograph, check its size and prepare its decoding."""
    seek_page(image)
    check_pixel_count(image.width * image.height, max_megapixels)
    _in_native_order(image)


def _in_native_order(image: Image.Image) -> None:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.tile = [in_native_order(tile) for tile in image.tile]


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether a file that is not yet decoded has several channels of more than 8 bits."""
    if image.mode.startswith(("I", "F")):
        return False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) > 8)
    return isinstance(image, PngImagePlugin.PngImageFile) and any(";16" in str(tile.args) for tile in image.tile)


def _load_upright(image: Image.Image) -> Image.Image:
    # Pillow turns a TIFF while it decodes it, and then no longer states its orientation.
    stored = image.tag_v2.get(ORIENTATION) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    image.load()
    turned = (stored or image.getexif().get(ORIENTATION)) in TURNED
    ImageOps.exif_transpose(image, in_place=True)
    upright = image.getchannel("L") if image.mode == "LAB" else image  # Pillow converts LAB to no other mode
    upright.info["turned"] = turned
    return upright


def _to_grey(image: Image.Image) -> Grey:
    """One 8-bit channel (H, W) of an image of 8 bits per channel and any mode; transparent pixels are black."""
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))
    grey = Image.new("L", image.size)
    for left, top in itertools.product(range(0, image.width, TILE_PX), range(0, image.height, TILE_PX)):
        tile = image.crop((left, top, min(left + TILE_PX, image.width), min(top + TILE_PX, image.height)))
        black = Image.new("RGBA", tile.size, (0, 0, 0, 255))
        grey.paste(Image.alpha_composite(black, tile.convert("RGBA")).convert("L"), (left, top))
    return np.asarray(grey)


def _deep_to_grey(values: NDArray[Any], transparent: object, white_is_zero: bool) -> tuple[Grey, tuple[str, ...]]:
    """Grey of one deep channel, without the value that is transparent and without what is no number."""
    ignored = values == transparent if isinstance(transparent, int) else None
    remarks: tuple[str, ...] = ()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        ignored = ~np.isfinite(values)
        remarks = (f"{ignored.sum()} pixels are not a number or infinite and are shown black",)
    grey = stretch_to_8_bits(values, ignored)
    if white_is_zero:
        grey = np.uint8(255) - grey
        if ignored is not None:
            grey[ignored] = 0
    return grey, remarks


def _read_deep_colour(path: Path, image: Image.Image) -> tuple[Grey, bool]:
    """Grey of a file with 16 bits per colour, of which Pillow keeps eight, and whether it is stored turned."""
    orientation = image.getexif().get(ORIENTATION)
    level = cv2.utils.logging.setLogLevel(0)  # OpenCV writes to the terminal what is reported anyway
    try:
        content, page = np.fromfile(path, np.uint8), image.tell()
        _, pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not pages or pages[0].ndim != 3 or pages[0].dtype != np.uint16:
        raise UnusableFileError(DAMAGED)
    channels = pages[0].shape[2]
    deep = cv2.cvtColor(pages[0], cv2.COLOR_BGRA2GRAY if channels == 4 else cv2.COLOR_BGR2GRAY)
    alpha = cv2.extractChannel(pages[0], 3) if channels == 4 else None
    del pages
    grey = stretch_to_8_bits(deep, None if alpha is None else alpha == 0)
    if alpha is not None:
        grey = by_parts(lambda grey, alpha: np.rint(grey * (alpha / 65535)), grey, alpha)
    if image.format == "TIFF":  # OpenCV turned it
        return grey, orientation in TURNED
    upright = Image.fromarray(grey)
    upright.getexif()[ORIENTATION] = orientation or 1
    return np.asarray(ImageOps.exif_transpose(upright)), orientation in TURNED


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
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except Exception as error:  # broken files make readers raise errors of any type
        raise UserError(f"{path} cannot be read as an image: {_reason(error, path, max_megapixels)}.") from error


def _reason(error: Exception, path: Path, max_megapixels: int) -> str:
    """Why a file is not read, in words for the user."""
    if isinstance(error, UnusableFileError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):  # where warnings are errors
        pixels = re.search(r"\d+(?= pixels)", str(error))  # as Pillow counted them
        return TOO_LARGE.format(math.ceil(int(pixels[0]) / 1e6) if pixels else "too many", max_megapixels)
    if isinstance(error, UnidentifiedImageError):
        with path.open("rb") as file:
            content = file.read(SIGNATURE_BYTES)
        if not content:
            return "the file is empty"
        if content.startswith(IMAGE_SIGNATURES):
            return f"{DAMAGED}, or of a rare encoding; save it anew as PNG of 8 or 16 bits"
        kind = content_kind(content)
        return f"it is {kind}, not {READABLE}" if kind else f"its content is not {READABLE}"
    if isinstance(error, OSError) and error.strerror:  # of the operating system
        return error.strerror.lower()
    return DAMAGED


def png_bytes(picture: Grey) -> bytes:
    """Encode a picture, (H, W) or (H, W, 3) RGB, as PNG; a UserError if a side is too long for one."""
    height_px, width_px = picture.shape[:2]
    if max(height_px, width_px) > MAX_PNG_SIDE_PX:
        raise UserError(f"A picture of {width_px} x {height_px} px has a side too long to be written as PNG.")
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
