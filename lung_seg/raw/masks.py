"""Masks of any encoding, their union and their resizing."""

from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.raw.image_file import FORMATS, open_pages, translate_image_errors
from lung_seg.raw.resize import to_network_input
from lung_seg.raw.tiff import ORIENTATION

Mask = NDArray[np.bool_]
Values = NDArray[Any]

LOSSY_FORMATS = ("JPEG", "WEBP", "MPO")
FAINTEST_LUNG = 32  # of 255: compression noise on an empty mask stays below
MAX_LABELS = 4  # without any uniform region, a lossless file of at most so many values holds labels, else a ramp
MAX_LEVELS = 64  # a lossless file of more values is a ramp
BACKGROUND = (0,)  # as lung_labels: the lungs are black
GREY_MODES = ("1", "L", "I", "F", "LA", "La")

ANALYSED_PX = 512  # a larger mask is looked at in steps to tell labels from a ramp
SAME_LEVEL = 0.06  # of the highest value: noise of compression, tails of a ramp
SMALLEST_REGION = 0.02  # of the largest one; a clavicle has a twentieth of both lungs' area
WINDOW = 8  # of 255: half the width of a peak in the histogram of a smoothed or lossy mask
SMALLEST_PEAK = 0.04  # of the uniform pixels that are not background
# Two labels are the lungs where their centres are this part of their common width apart; real lungs have 0.45 to 0.6.
# Heart or mediastinum and lungs have less than 0.2.
SIDE_BY_SIDE = 0.3
SMALLER_LUNG = 0.1  # of the other one's area, at least
BETWEEN = 0.15  # of the highest value: what lies above is not background, and below 1 - BETWEEN not lung
RADIOGRAPH_LIKE = 0.3  # share of pixels in between


def read_mask(path: Path, max_megapixels: int = MAX_MEGAPIXELS, lung_labels: Sequence[int] = ()) -> Mask:
    """Read a mask of any encoding, (H, W) bool; the union of its pages if there are several.

    Without ``lung_labels`` all but the background is lung: one value (0/1, 0/255, a colour, 16 bits), or two that are
    two lungs side by side (left 1 and right 2, 127 and 255). A ramp, as JPEG and smoothed resizing leave it, is cut
    half-way between the background and the lower of the lungs. Of colours the brightest channel counts; an image of a
    single colour has its mask in the alpha channel.

    Args:
        path: PNG, GIF, BMP, TIFF, JPEG or WebP.
        max_megapixels: a file whose header states more is refused before it is decoded.
        lung_labels: values of the lungs in a label map; of palettes the index, of colours 65536 red + 256 green + blue.
            (0,) reads a mask whose lungs are black.

    Raises:
        UserError: the file cannot be read, or which of its values are lung is not known.
    """
    pages = open_pages(path, max_megapixels)
    if not pages:
        raise UserError(f"{path} holds only thumbnails.\nSave the mask as a file of one page.")
    if len({page.size for page in pages}) > 1:
        sizes = " and ".join(f"{page.width}x{page.height}" for page in pages)
        raise UserError(f"{path} holds pages of different sizes, {sizes}.\nSave the mask as a file of one page.")
    return merge_masks([_read_page(path, page, tuple(lung_labels)) for page in pages])


def is_turned(path: Path) -> bool:
    """Whether a mask file has an EXIF or TIFF orientation other than upright; only its header is read."""
    with translate_image_errors(path, MAX_MEGAPIXELS), Image.open(path, formats=FORMATS) as image:
        return int(image.getexif().get(ORIENTATION, 1)) != 1


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


def rim(mask: Mask, width_px: int) -> Mask:
    """Pixels outside a mask (H, W) that lie within a distance of it."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width_px + 1, 2 * width_px + 1))
    around: Mask = (cv2.dilate(mask.astype(np.uint8), disc) > 0) & ~mask
    return around


def size_text(pixels: NDArray[np.generic]) -> str:
    """Width and height as text: "4020x4892"."""
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _read_page(path: Path, page: Image.Image, lung_labels: tuple[int, ...]) -> Mask:
    if lung_labels and lung_labels != BACKGROUND:
        return np.isin(label_values(path, page, "lung_labels"), lung_labels)
    channel = _mask_channel(page)
    values = np.asarray(channel)
    if values.dtype == bool:
        return ~values if lung_labels == BACKGROUND else values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(f"{path} holds values that are no numbers (NaN or infinite).\nSave the mask as PNG.")
    if values.dtype.kind in "if" and values.min() < 0:
        raise UserError(f"{path} holds values below 0, down to {values.min():g}.\nSave the mask as PNG: 0 and 255.")
    lossy = page.format in LOSSY_FORMATS
    _refuse_unknown_colours(path, page)
    mask: Mask = values >= _threshold(path, values, channel, lossy)
    return ~mask if lung_labels == BACKGROUND else mask


def _threshold(path: Path, values: Values, channel: Image.Image, lossy: bool) -> float:
    """The lowest value that is lung, half-way to the lower of the lungs' values."""
    top = float(values.max())
    faintest = float(FAINTEST_LUNG if lossy else np.nextafter(0, 1))
    levels = None if lossy else channel.getcolors(MAX_LEVELS)  # None if there are more
    nonzero = sorted(float(level) for _, level in levels or () if isinstance(level, int | float) and level)
    if len(nonzero) == 1:
        return nonzero[0]
    if top <= faintest:  # empty
        return max(faintest, float(np.nextafter(top, np.inf)))
    sample = _sample(values)
    regions = _uniform_regions(sample, nonzero) if levels else _histogram_peaks(sample, top)
    _refuse_radiograph(path, sample / top, [value / top for value in regions])
    if regions:
        _refuse_unknown_labels(path, nonzero or list(regions), list(regions.values()))
    elif levels and len(levels) <= MAX_LABELS:
        return nonzero[0]
    # Values next to the highest one are the same lung, which is cut at half of the highest.
    lower = [value for value in regions if value < (1 - 2 * SAME_LEVEL) * top]
    return max(min(lower, default=top) / 2, faintest)


def _refuse_radiograph(path: Path, shares: Values, regions: Sequence[float]) -> None:
    """Raise a UserError if too many pixels, as shares of the highest value, are neither background nor lung."""
    between = (shares > BETWEEN) & (shares < 1 - BETWEEN)
    for value in regions:
        between &= abs(shares - value) > SAME_LEVEL
    if between.mean() > RADIOGRAPH_LIKE:
        raise UserError(
            f"{path} is no mask: its values are spread as those of a radiograph are.\n"
            "Check whether data.folder.image_dir and mask_dir are exchanged."
        )


def _sample(values: Values) -> Values:
    """Every nth pixel of the values, so that both sides have about ANALYSED_PX at most."""
    step = max(1, max(values.shape) // ANALYSED_PX)
    return values[::step, ::step].astype(np.float32)


def _uniform_regions(sample: Values, levels: Iterable[float], same_level: float = SAME_LEVEL) -> dict[float, Mask]:
    """The values that fill regions of their own, with their pixels; a ramp's other values only line the contours."""
    flat = _flat(sample, 0)
    found = {level: flat & (sample == level) for level in (0, *levels)}
    top, largest = max(found), max((np.count_nonzero(found[level]) for level in found if level), default=0)
    regions: dict[float, Mask] = {}
    for level in sorted(found, key=lambda level: -np.count_nonzero(found[level])):
        near = level and any(abs(level - other) <= same_level * top for other in (0, *regions))
        if level and not near and np.count_nonzero(found[level]) > SMALLEST_REGION * largest:
            regions[level] = found[level]
    return dict(sorted(regions.items()))


def _histogram_peaks(sample: Values, top: float) -> dict[float, Mask]:
    """As _uniform_regions, of smoothed and lossy masks: peaks of the histogram, apart from the background's."""
    scaled = np.rint(sample * (255 / top)).astype(np.float32)
    flat = _flat(scaled, WINDOW)
    histogram = np.bincount(scaled[flat].astype(np.int64), minlength=256).astype(float)
    mass = np.convolve(histogram, np.ones(2 * WINDOW + 1), "same")  # pixels within the window around each value
    smallest = SMALLEST_PEAK * histogram[FAINTEST_LUNG:].sum()
    peaks = [0]
    for value in sorted(range(FAINTEST_LUNG, 256), key=lambda value: -mass[value]):
        valleys = [mass[min(value, peak) : max(value, peak) + 1].min() for peak in peaks]
        apart = all(abs(value - peak) > 2 * WINDOW for peak in peaks)
        if mass[value] > max(smallest, 3 * max(valleys)) and apart:
            peaks.append(value)
    found = {peak: flat & (abs(scaled - peak) <= WINDOW) for peak in sorted(peaks[1:])}
    return {round(peak * top / 255, 3): pixels for peak, pixels in found.items()}


def _flat(sample: Values, tolerance: float) -> Mask:
    """Pixels whose eight neighbours differ by no more than ``tolerance`` from each other."""
    kernel = np.ones((3, 3), np.uint8)
    flat: Mask = cv2.dilate(sample, kernel) - cv2.erode(sample, kernel) <= tolerance
    return flat


def _refuse_unknown_labels(path: Path, labels: Sequence[float], regions: list[Mask], colours: bool = False) -> None:
    """Raise a UserError unless the regions are one, or two lungs side by side."""
    if len(regions) == 1 or (len(regions) == 2 and _are_lungs(*regions)):
        return
    names = [f"{label:.8g}" + (f" (#{int(label):06x})" if colours else "") for label in labels]
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    raise UserError(
        f"{path} holds the values {shown}; which of them are lung is not known.\n"
        "Name the lungs' values, for example data.folder.lung_labels=[1,2], or save masks of 0 and 255."
    )


def _are_lungs(first: Mask, second: Mask) -> bool:
    smaller, larger = sorted((np.count_nonzero(first), np.count_nonzero(second)))
    columns = np.flatnonzero((first | second).any(axis=0))
    centres = [np.nonzero(region)[1].mean() for region in (first, second)]
    apart = abs(centres[0] - centres[1]) >= SIDE_BY_SIDE * (columns[-1] - columns[0] + 1)
    return bool(apart and smaller >= SMALLER_LUNG * larger)


def _refuse_unknown_colours(path: Path, page: Image.Image) -> None:
    """Raise a UserError for colours that are not one, or those of two lungs."""
    if page.mode in GREY_MODES or page.mode.startswith("I;16"):
        return
    sample = _packed_colours(page, max(1, max(page.size) // ANALYSED_PX))
    if _is_grey(sample):
        return
    levels = np.unique(sample)
    if len(levels) > MAX_LEVELS:  # smoothed or lossy: which channels are bright
        channels = np.stack([sample >> 16, sample >> 8 & 255, sample & 255])
        sample = np.tensordot([0xFF0000, 0xFF00, 0xFF], channels > channels.max() / 2, 1).astype(np.int32)
        levels = np.unique(sample)
    regions = _uniform_regions(sample.astype(np.float32), levels[levels > 0].tolist(), same_level=0)
    if regions:
        values = [_palette_index(page, int(level)) for level in regions]
        _refuse_unknown_labels(path, values, list(regions.values()), colours=page.mode != "P")


def label_values(path: Path, page: Image.Image, key: str) -> Values:
    """The value of each pixel as data.folder.``key`` names it; a UserError if the format does not keep them."""
    if page.format in LOSSY_FORMATS:
        raise UserError(
            f"{path} is {page.format}, which does not keep the values that data.folder.{key} names.\n"
            "Save the masks as PNG."
        )
    if page.mode in ("LA", "La"):
        return np.asarray(page.getchannel(0)) * (np.asarray(page.getchannel(1)) > 0)
    if page.mode in ("P", *GREY_MODES) or page.mode.startswith("I;16"):
        return np.asarray(page)
    colours = _packed_colours(page)
    return colours & 255 if _is_grey(colours) else colours


def _packed_colours(page: Image.Image, step: int = 1) -> NDArray[np.int32]:
    """65536 red + 256 green + blue of every nth pixel; 0 where it is transparent."""
    pixels = np.asarray(page.convert("RGBA"))[::step, ::step].astype(np.int32)
    packed: NDArray[np.int32] = pixels[..., :3] @ np.array([0x10000, 0x100, 1], np.int32) * (pixels[..., 3] > 0)
    return packed


def _is_grey(colours: NDArray[np.int32]) -> bool:
    return bool((colours == (colours & 255) * 0x010101).all())


def _palette_index(page: Image.Image, colour: int) -> int:
    """The index of a colour in a palette image, the colour itself in others."""
    palette = (page.getpalette("RGB") or []) if page.mode == "P" else []
    entries = list(zip(palette[::3], palette[1::3], palette[2::3], strict=True))
    entry = (colour >> 16, colour >> 8 & 255, colour & 255)
    return entries.index(entry) if entry in entries else colour


def _mask_channel(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "L", "I", "F"):
        return image
    if image.mode.startswith("I;16"):
        return image.convert("I")
    *colours, alpha = image.convert("RGBA").split()
    brightest = reduce(ImageChops.lighter, colours)
    if brightest.getcolors(1) and not alpha.getcolors(1):  # None for more than one level
        return alpha
    return ImageChops.multiply(brightest, alpha)
