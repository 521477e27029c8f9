"""TIFF files that Pillow alone reads wrongly or not at all: encodings, pages."""

import math
from typing import Any

from PIL import Image, TiffImagePlugin

from lung_seg.errors import UnusableFileError

# Tags of TIFF, the first one of EXIF too.
ORIENTATION, PHOTOMETRIC, BITS_PER_SAMPLE, SAMPLE_FORMAT, NEW_SUBFILE_TYPE, SUBFILE_TYPE = 274, 262, 258, 339, 254, 255
MAX_PAGES = 100

# TIFF encodings that Pillow unpacks but does not list: byte order, photometric interpretation, sample format, bits.
for _key, _modes in {
    (b"MM", 0, 1, 16): ("I;16B", "I;16B"),
    (b"II", 0, 2, 16): ("I", "I;16S"),
    (b"MM", 0, 2, 16): ("I", "I;16BS"),
    (b"II", 0, 1, 32): ("I", "I;32N"),
    (b"MM", 0, 1, 32): ("I", "I;32B"),
    (b"MM", 1, 1, 32): ("I", "I;32B"),
    (b"II", 0, 2, 32): ("I", "I;32S"),
    (b"MM", 0, 2, 32): ("I", "I;32BS"),
    (b"II", 0, 3, 64): ("F", "F;64F"),
    (b"MM", 0, 3, 64): ("F", "F;64BF"),
    (b"II", 1, 3, 64): ("F", "F;64F"),
    (b"MM", 1, 3, 64): ("F", "F;64BF"),
}.items():
    _order, _photometric, _sample_format, _bits = _key
    TiffImagePlugin.OPEN_INFO.setdefault((_order, _photometric, (_sample_format,), 1, (_bits,), ()), _modes)
# libtiff returns samples in the byte order of this machine, which Pillow knows of some encodings only.
NATIVE_RAW_MODES = {
    "I;16BS": "I;16NS",
    "I;32B": "I;32N",
    "I;32BS": "I;32NS",
    "F;32BF": "F;32NF",
    "F;64BF": "F;64NF",
}


def seek_page(image: Image.Image) -> None:
    """Go to the only page of full size; raises UnusableFileError if there are several.

    Pages of reduced resolution and transparency masks do not count, nor do pages of at most half the height and width
    of the largest, since many writers leave thumbnails unmarked.
    """
    count = getattr(image, "n_frames", 1)
    if count == 1 or image.format == "MPO":  # the first picture of an MPO is the photograph, others are its previews
        return
    several = UnusableFileError(f"it holds {count} pages or frames, not one; save the radiograph as a file of its own")
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or count > MAX_PAGES:
        raise several
    sizes = {}
    for page in range(count):
        image.seek(page)
        if not is_reduced(image):
            sizes[page] = image.size
    if not sizes:
        raise several
    largest = max(sizes, key=lambda page: math.prod(sizes[page]))
    width, height = sizes.pop(largest)
    if any(2 * size[0] > width or 2 * size[1] > height for size in sizes.values()):
        raise several
    image.seek(largest)


def is_reduced(image: Image.Image) -> bool:
    """Whether a TIFF marks its present page as of reduced resolution, or as a transparency mask."""
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(NEW_SUBFILE_TYPE, 0) & 5 or tags.get(SUBFILE_TYPE) == 2)


def in_native_order(tile: Any) -> Any:
    """A TIFF's tile with the name of the encoding that libtiff returns."""
    if tile.codec_name != "libtiff":
        return tile
    raw_mode, *others = tile.args
    return tile._replace(args=(NATIVE_RAW_MODES.get(raw_mode, raw_mode), *others))
