"""DICOM's way from stored pixel values to the grey that is meant to be displayed (PS3.3 C.11, PS3.4 N.2)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lung_seg.errors import UnusableFileError
from lung_seg.raw.dicom_header import items, numbers, text
from lung_seg.raw.image_file import Grey
from lung_seg.raw.stretch import histogram, look_up, robust_limits, shares_to_grey, to_grey_levels

if TYPE_CHECKING:
    from pydicom import Dataset

RLE = "1.2.840.10008.1.2.5"
MAX_PADDING_SHARE = 0.95
MAX_LOST_SHARE = 0.5  # of the radiograph, in what is black or white of more than so many grey levels:
MAX_LEVELS_BEYOND = 16
MIN_LEVELS = 32


def displayed_grey(decoded: NDArray[Any], dataset: "Dataset", window: str) -> tuple[Grey, tuple[str, ...]]:
    """Grey as it is meant to be displayed of decoded words (H, W) of BitsAllocated bits, and remarks.

    All steps are worked out for the few thousand words that occur in an image, not for its millions of pixels.
    """
    words = decoded.view(f"u{decoded.dtype.itemsize}")
    counts = histogram(words)
    occurring = np.flatnonzero(counts)
    stored = _stored_values(occurring, dataset)
    padding, remarks = _find_padding(occurring, stored, counts[occurring], dataset)
    shown = occurring[~padding]
    grey, voi_remarks = _apply_voi(_modality_values(stored[~padding], dataset), counts[shown], dataset, window)
    if _is_inverse(dataset):
        grey = np.uint8(255) - grey
    table = np.zeros(counts.size, np.uint8)  # padding is black
    table[shown] = grey
    return look_up(table, words), (*remarks, *voi_remarks)


def stored_grey(decoded: NDArray[Any], dataset: "Dataset") -> NDArray[np.uint16]:
    """Stored values of decoded words (H, W) from 0 on, air dark; padding is 0. No window is applied."""
    words = decoded.view(f"u{decoded.dtype.itemsize}")
    counts = histogram(words)
    occurring = np.flatnonzero(counts)
    stored = _stored_values(occurring, dataset)
    padding, _ = _find_padding(occurring, stored, counts[occurring], dataset)
    values = stored[~padding]
    descending = _is_inverse(dataset) != (_rescaling(dataset)[0] < 0)
    table = np.zeros(counts.size, np.uint16)
    table[occurring[~padding]] = values.max() - values if descending else values - values.min()
    values16: NDArray[np.uint16] = table[words]
    return values16


def _is_inverse(dataset: "Dataset") -> bool:
    """Whether low values are to be shown bright; by the standard both elements agree, some files have only one."""
    return bool(
        dataset.PhotometricInterpretation == "MONOCHROME1" or text(dataset, "PresentationLUTShape") == "INVERSE"
    )


def _stored_values(words: NDArray[np.int64], dataset: "Dataset") -> NDArray[np.int64]:
    """Pixel values of words of BitsAllocated bits: BitsStored bits up to HighBit, the others may hold anything.

    Compressed syntaxes but RLE have no place for unused bits below the stored ones.
    """
    stored = dataset.BitsStored
    syntax = dataset.file_meta.TransferSyntaxUID
    shift = 0 if syntax.is_compressed and syntax != RLE else dataset.HighBit + 1 - stored
    values: NDArray[np.int64] = (words >> shift) & (2**stored - 1)
    if dataset.PixelRepresentation == 1:
        values -= np.int64(2**stored) * (values >= 2 ** (stored - 1))
    return values


def _find_padding(
    words: NDArray[np.int64], stored: NDArray[np.int64], counts: NDArray[np.float64], dataset: "Dataset"
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which of the occurring values are padding, from PixelPaddingValue to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2).

    Both are stored values, before any rescaling, signed as PixelRepresentation says. Some writers fill all allocated
    bits of a padding pixel.
    """
    padding = np.zeros(words.size, bool)
    bounds = [numbers(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if not bounds[0]:
        return padding, ()
    signed, bits = dataset.PixelRepresentation == 1, dataset.BitsAllocated
    limits = [_as_16_bits(found[0], signed) for found in bounds if found]
    padding |= (stored >= min(limits)) & (stored <= max(limits))
    lowest, highest = _stored_range(dataset)
    if min(limits) < lowest or max(limits) > highest:  # in words whose unused bits are set too
        whole = np.where(words >= 2 ** (bits - 1), words - 2**bits, words) if signed else words
        padding |= (whole >= min(limits)) & (whole <= max(limits))
    if counts[padding].sum() > MAX_PADDING_SHARE * counts.sum():
        stated = " to ".join(map(str, limits))
        return np.zeros(words.size, bool), (f"PixelPaddingValue {stated} would leave nothing of it and is not used",)
    return padding, ()


def _stored_range(dataset: "Dataset") -> tuple[int, int]:
    """Lowest and highest value that BitsStored bits can hold."""
    half = 2 ** (int(dataset.BitsStored) - 1)
    return (-half, half - 1) if dataset.PixelRepresentation == 1 else (0, 2 * half - 1)


def _as_16_bits(number: float, signed: bool) -> int:
    """A number of 16 bits, whichever signedness it was written with."""
    unsigned = int(number) % 2**16
    return unsigned - 2**16 if signed and unsigned >= 2**15 else unsigned


def _modality_values(stored: NDArray[np.int64], dataset: "Dataset") -> NDArray[np.float64]:
    """Stored values after the modality LUT or rescaling."""
    lut = _first_lut(dataset, "ModalityLUTSequence")
    if lut is not None:
        return _apply_lut(stored.astype(np.float64), lut, dataset, signed=dataset.PixelRepresentation == 1)
    slope, intercept = _rescaling(dataset)
    return stored.astype(np.float64) * slope + intercept


def _rescaling(dataset: "Dataset") -> tuple[float, float]:
    slope, intercept = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    return (slope[0] if slope and slope[0] else 1.0), (intercept[0] if intercept else 0.0)


def _apply_voi(
    values: NDArray[np.float64], counts: NDArray[np.float64], dataset: "Dataset", window: str
) -> tuple[Grey, tuple[str, ...]]:
    """Grey of values that occur so often: by the first VOI LUT or window that shows the radiograph, else stretched."""
    stretched = to_grey_levels(values, *robust_limits(values, counts))
    remarks: list[str] = []
    for name, shares in _voi_shares(values, dataset) if window == "auto" else ():
        loss = _loss(stretched, shares, counts)
        if not loss:
            return shares_to_grey(shares), tuple(remarks)
        remarks.append(f"{name} {loss}, so it is not used")
    return stretched, tuple(remarks)


def _voi_shares(values: NDArray[np.float64], dataset: "Dataset") -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and shares of white of the VOI LUT, then of each window, in the order in which they are preferred."""
    lut = _first_lut(dataset, "VOILUTSequence")
    if lut is not None:
        entries = _apply_lut(values, lut, dataset, signed=_may_be_negative(dataset))
        yield "its VOI LUT", entries / (2 ** _lut_bits(lut, dataset) - 1)
    function = text(dataset, "VOILUTFunction")
    # The width of LINEAR, the default, counts grey values, first and last included (PS3.3 C.11.2.1.2.1).
    excess = 0 if function in ("LINEAR_EXACT", "SIGMOID") else 1
    for center, width in zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False):
        if width <= excess:
            continue
        distances = (values - (center - excess / 2)) / (width - excess)
        # PS3.3 C.11.2.1.3.1, as tanh without overflow
        shares = (1 + np.tanh(2 * distances)) / 2 if function == "SIGMOID" else distances + 0.5
        yield f"its window (center {center:g}, width {width:g})", shares


def _loss(stretched: Grey, shares: NDArray[np.float64], counts: NDArray[np.float64]) -> str:
    """What a window loses of a radiograph, in words; empty if it shows the radiograph.

    Most of a radiograph may lie beyond a window without a loss, if it is air or a border, which are of few grey levels.
    """
    grey = shares_to_grey(shares)
    everything = _level_count(stretched, counts)
    lost = 0.0
    for beyond in (grey == 0, grey == 255):
        if _level_count(stretched[beyond], counts[beyond]) > MAX_LEVELS_BEYOND:
            lost += counts[beyond].sum() / counts.sum()
    if lost > MAX_LOST_SHARE:
        return f"leaves {100 * lost:.0f} % of the radiograph black or white"
    left = _level_count(grey, counts)
    if left < MIN_LEVELS and everything > 2 * left:
        return f"shows the radiograph in {left} of 256 grey levels"
    return ""


def _level_count(grey: Grey, counts: NDArray[np.float64]) -> int:
    """How many grey levels nine of ten pixels have, at least."""
    pixels = np.sort(np.bincount(grey, weights=counts, minlength=256))[::-1].cumsum()
    return int(np.searchsorted(pixels, 0.9 * pixels[-1])) + 1 if pixels[-1] else 0


def _first_lut(dataset: "Dataset", keyword: str) -> "Dataset | None":
    """The first item of a sequence that is a table of several entries; some writers add empty items."""
    for item in items(dataset, keyword):
        if len(numbers(item, "LUTDescriptor")) == 3 and _lut_table(item, dataset).size > 1:
            return item
    return None


def _lut_table(lut: "Dataset", dataset: "Dataset") -> NDArray[np.float64]:
    """Entries of a lookup table, of 8 or 16 bits."""
    entries = int(numbers(lut, "LUTDescriptor")[0]) % 2**16 or 2**16  # 65536 does not fit and is stored as 0
    data = lut.get("LUTData")
    if data is None or (isinstance(data, bytes) and len(data) % 2):
        return np.empty(0)
    little = dataset.original_encoding[1] is not False
    table: NDArray[Any] = (
        np.frombuffer(data, "<u2" if little else ">u2") if isinstance(data, bytes) else np.ravel(np.array(data, "<u2"))
    )
    if 0 < table.size < entries <= 2 * table.size:  # two 8-bit entries per word
        table = table.astype("<u2").view(np.uint8)
    if 1 < table.size < entries:
        raise UnusableFileError(f"a lookup table of {entries} entries holds {table.size}")
    return table[:entries].astype(np.float64)


def _lut_bits(lut: "Dataset", dataset: "Dataset") -> int:
    """Bits of the entries; more than stated if an entry needs more."""
    needed = int(_lut_table(lut, dataset).max()).bit_length()
    return max(int(numbers(lut, "LUTDescriptor")[2]), needed, 1)


def _apply_lut(values: NDArray[np.float64], lut: "Dataset", dataset: "Dataset", signed: bool) -> NDArray[np.float64]:
    """Values through a lookup table; values beyond its ends get its first or last entry.

    ``signed``: whether the first value that the table maps may be negative (PS3.3 C.11.1.1, C.11.2.1.1), which its
    value representation often does not say.
    """
    table = _lut_table(lut, dataset)
    first = _as_16_bits(numbers(lut, "LUTDescriptor")[1], signed)
    return table[np.clip(values - first, 0, table.size - 1).astype(np.int64)]


def _may_be_negative(dataset: "Dataset") -> bool:
    """Whether the values that a VOI LUT maps may be negative, by the header."""
    if _first_lut(dataset, "ModalityLUTSequence") is not None:
        return False
    slope, intercept = _rescaling(dataset)
    lowest, highest = _stored_range(dataset)
    return bool(min(lowest * slope, highest * slope) + intercept < 0)
