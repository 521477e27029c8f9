"""Values of any depth as 8-bit grey, between limits that a few outlying pixels do not move."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
Counts = NDArray[Any]

# Hot pixels, burnt-in markers and borders lie far from the other values: on 586 radiographs of two public sets no value
# lies further out than the distance between the 2nd and the 98th percentile, and none is cut.
TAIL = 0.02
DEEP_TABLES = int(cv2.__version__.partition(".")[0]) >= 5  # its LUT takes 16 bits, in a tenth of NumPy's time
PART_PX = 2**18
MIN_INNER_SHARE = 0.1  # of the pixels must lie between darkest and brightest value, else it is a drawing or a mask


def stretch_to_8_bits(values: Values, ignored: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Darkest value to 0 and brightest to 255, but for outliers; an image of one value becomes black.

    Pixels that are ``ignored``, a mask of the same shape, do not count and become black.
    """
    values = values.astype(values.dtype.newbyteorder("="), copy=False)  # TIFF may be big-endian
    counted = values if ignored is None else values[~ignored]
    if values.dtype == np.uint16:
        counts = histogram(counted)
        levels = np.flatnonzero(counts)
        grey = look_up(to_grey_levels(np.arange(2**16), *robust_limits(levels, counts[levels])), values)
    else:
        ordered = np.sort(counted, axis=None)
        black, white = limits_of_sorted(ordered, range(1, ordered.size + 1))
        del ordered
        values = values if ignored is None else np.where(ignored, black, values)  # what is no number has no grey
        grey = by_parts(lambda part: to_grey_levels(part, black, white), values)
    if ignored is not None:
        grey[ignored] = 0
    return grey


def by_parts(function: Callable[..., NDArray[Any]], *images: NDArray[Any]) -> NDArray[np.uint8]:
    """A function of each pixel of images (H, W), computed part by part: its floats take more memory than the images."""
    flat = [np.ravel(image) for image in images]
    results = np.empty(images[0].size, np.uint8)
    for start in range(0, results.size, PART_PX):
        part = slice(start, start + PART_PX)
        results[part] = function(*(image[part] for image in flat))
    return results.reshape(images[0].shape)


def histogram(values: NDArray[np.uint8 | np.uint16]) -> Counts:
    """How often each value from 0 to the highest of its type occurs."""
    bins = 2 ** (8 * values.dtype.itemsize)
    if not values.size:
        return np.zeros(bins)
    rows = values if values.ndim == 2 else values.reshape(1, -1)
    return cv2.calcHist([rows], [0], None, [bins], [0, bins]).ravel().astype(np.float64)


def look_up(table: NDArray[np.uint8], values: NDArray[Any]) -> NDArray[np.uint8]:
    """``table[values]`` of unsigned values (H, W)."""
    fast = values.dtype == np.uint8 or DEEP_TABLES
    return (cv2.LUT(values, table) if fast else table[values]).astype(np.uint8, copy=False)


def robust_limits(values: Values, counts: Counts) -> tuple[float, float]:
    """Darkest and brightest of values that occur so often, without outliers; (0, 0) for none."""
    order = np.argsort(values)
    return limits_of_sorted(values[order], np.cumsum(counts[order]))


def limits_of_sorted(values: Values, ranks: Sequence[int] | Counts) -> tuple[float, float]:
    """Limits of values in ascending order, of which ``ranks`` says how many pixels have each value or a lower one.

    An outlier lies further beyond the 2nd or 98th percentile than these are apart. The darkest and the brightest value
    do not count for the percentiles, since a border or padding has one value and may be of any size.
    """
    if not len(values):
        return 0.0, 0.0
    darkest, brightest = float(values[0]), float(values[-1])
    start, end = bisect_right(values, darkest, key=float), bisect_left(values, brightest, key=float)
    count = ranks[end - 1] - ranks[start - 1]
    if start >= end or count < MIN_INNER_SHARE * ranks[-1]:
        return darkest, brightest
    low, high = (
        float(values[bisect_left(ranks, share * count, start, end, key=lambda rank: rank - ranks[start - 1])])
        for share in (TAIL, 1 - TAIL)
    )
    if low == high:
        return darkest, brightest
    first = bisect_left(values, low - (high - low), key=float)
    after_last = bisect_right(values, high + (high - low), key=float)
    return float(values[first]), float(values[after_last - 1])


def to_grey_levels(values: Values, black: float, white: float) -> NDArray[np.uint8]:
    """Values as grey from 0 at ``black`` to 255 at ``white``; all 0 where these are equal."""
    if black == white:
        return np.zeros(values.shape, np.uint8)
    return shares_to_grey((values - np.float64(black)) / (white - black))


def shares_to_grey(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Shares of white, of which those beyond 0 and 1 are black and white, as grey from 0 to 255."""
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
