"""Random legal files are read as pydicom's own pixel pipeline and plain numpy show them, or refused with a reason."""

import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing, pixel_array

from lung_seg.errors import UserError
from lung_seg.raw.radiograph import Radiograph, open_radiograph
from tests.layouts import draw_chest, write_deep_png, write_dicom, write_tiff

TIMES = int(os.environ.get("LUNG_SEG_FUZZ", "1"))
Rng = np.random.Generator


class Expected(NamedTuple):
    pixels: np.ndarray  # exact grey from 0 to 255
    spacing_mm: tuple[float, float] | None = None
    mirrored: bool = False
    turned: bool = False
    refused: str = ""  # what the reason says
    without_window: np.ndarray | None = None  # the picture if its window blanks the film


def stretch(values: np.ndarray, shown: np.ndarray | None = None) -> np.ndarray:
    """Grey between the limits of what is no outlier; what is not shown is black."""
    shown = np.ones(values.shape, bool) if shown is None else shown
    film = values[shown].astype(float)
    if not film.size or film.min() == film.max():
        return np.zeros(values.shape)
    low, high = film.min(), film.max()
    inner = film[(film > low) & (film < high)]
    if inner.size >= 0.1 * film.size:
        left, right = np.percentile(inner, [2, 98], method="inverted_cdf")
        if left < right:
            usual = film[(film >= 2 * left - right) & (film <= 2 * right - left)]
            low, high = usual.min(), usual.max()
    grey = np.zeros(values.shape)
    grey[shown] = ((film - low) / (high - low)).clip(0, 1) * 255
    return grey


def film(rng: Rng, bits: int) -> np.ndarray:
    """A film of so many bits as int64, sometimes with hot pixels, a marker or few levels."""
    height, width = rng.integers(20, 50, 2)
    chest = draw_chest(int(rng.integers(1000)), height, width)[0] / 255
    low, high = np.sort(rng.uniform(0, 2**bits - 1, 2)) if rng.random() < 0.5 else (0, 2**bits - 1)
    values = (low + chest * max(high - low, 8)).clip(0, 2**bits - 1).round().astype(np.int64)
    if rng.random() < 0.2:
        values.flat[rng.integers(0, values.size, 3)] = rng.choice([0, 2**bits - 1])
    if rng.random() < 0.2:
        values[: height // 6, : width // 8] = rng.integers(0, 2**bits)
    return values


# DICOM


def lookup_table(rng: Rng, lowest: int, highest: int, depths: list[int]) -> tuple[Dataset, Dataset]:
    """A table that covers some of the values; the same with a first value of the wrong signedness."""
    bits = int(rng.choice(depths))
    span = max(highest - lowest, 2)
    first = (
        int(rng.integers(lowest - span // 8, lowest + span // 8 + 1)) if lowest else int(rng.integers(0, span // 4 + 1))
    )
    first = max(first, 0) if lowest >= 0 else max(first, -32768)
    count = int(min(rng.integers(span // 2 + 2, span + 3), 65536, 256 if bits == 8 else 65536))
    entries = np.sort(rng.integers(0, 2**bits, count)).astype("<u2")
    entries[-1], entries[0] = 2**bits - 1, 0
    items = []
    for stated in (first, first % 2**16):
        item = Dataset()
        item.add_new("LUTDescriptor", "SS" if stated < 0 else "US", [count % 2**16, stated, bits])
        item.add_new("LUTData", "OW", entries.tobytes())
        items.append(item)
    return items[0], items[1]


def random_spacing(rng: Rng) -> tuple[dict[str, Any], tuple[float, float] | None]:
    """Spacing elements and the spacing that PS3.3 10.7.1 gives for them, by hand."""
    a, b = (round(float(value), 4) for value in rng.uniform(0.1, 0.4, 2))
    at_detector = {"ImagerPixelSpacing": [a, b]}
    factor = {"EstimatedRadiographicMagnificationFactor": 1.25}
    distances = {"DistanceSourceToDetector": 1800, "DistanceSourceToPatient": 1440}
    choices = [
        ({}, None),
        ({"PixelSpacing": [a, b]}, (a, b)),
        ({"PixelSpacing": [a, b], **factor}, (a, b)),
        ({**at_detector}, (a, b)),
        ({**at_detector, **factor}, (a / 1.25, b / 1.25)),
        ({**at_detector, **distances}, (a / 1.25, b / 1.25)),
        ({**at_detector, "PixelSpacing": [a, b], **factor}, (a / 1.25, b / 1.25)),
        ({**at_detector, "PixelSpacing": [a / 1.25, b / 1.25], **factor}, (a / 1.25, b / 1.25)),
        (
            {**at_detector, "PixelSpacing": [a, b], "PixelSpacingCalibrationType": "GEOMETRY", **factor},
            (a, b),
        ),
        ({"NominalScannedPixelSpacing": [a, b]}, (a, b)),
        ({"PixelSpacing": [0, 0], "NominalScannedPixelSpacing": [a, b]}, (a, b)),
    ]
    elements, spacing_mm = choices[rng.integers(len(choices))]
    texts = {key: [f"{number:.8f}" for number in value] for key, value in elements.items() if isinstance(value, list)}
    return {**elements, **texts}, spacing_mm


def random_orientation(rng: Rng) -> tuple[list[str] | None, bool, str]:
    """PatientOrientation, whether it is mirrored, and why it is refused."""
    if rng.random() < 0.3:
        return None, False, ""
    if rng.random() < 0.7:
        rows = str(rng.choice(["L", "R", "LF", "RH", "LA"]))
        return [rows, str(rng.choice(["F", "FP", "FL"]))], rows[0] == "R", ""
    axes = rng.permutation([["L", "R"], ["A", "P"], ["H", "F"]])[:2]
    rows, columns = (str(rng.choice(axis)) for axis in axes)
    if columns == "F" and rows in "LR":
        return [rows, columns], rows == "R", ""
    return [rows, columns], False, "view" if {rows, columns} & {"A", "P"} else "turned"


def write_random_dicom(path: Path, rng: Rng) -> Expected:
    allocated = int(rng.choice([8, 16, 16]))
    bits = allocated if rng.random() < 0.4 else int(rng.integers(min(6, allocated), allocated + 1))
    signed = bool(rng.random() < 0.4)
    high_bit = int(rng.integers(bits - 1, allocated))
    stored = film(rng, bits) - (2 ** (bits - 1) if signed else 0)
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)

    elements: dict[str, Any] = {"BitsStored": bits, "PixelRepresentation": int(signed)}
    interpretation = str(rng.choice(["MONOCHROME1", "MONOCHROME2"]))
    elements["PhotometricInterpretation"] = interpretation
    padding = np.zeros(stored.shape, bool)
    if rng.random() < 0.4:
        limit = value = int(rng.choice([lowest, highest, rng.integers(lowest, highest + 1)]))
        if rng.random() < 0.3:
            limit = int(np.clip(value + rng.integers(-20, 21), lowest, highest))
            elements["PixelPaddingRangeLimit"] = limit
        elements["PixelPaddingValue"] = value
        stored[:, : stored.shape[1] // 5] = rng.integers(min(value, limit), max(value, limit) + 1)
        padding = (stored >= min(value, limit)) & (stored <= max(value, limit))
        if padding.mean() > 0.95:
            padding[:] = False

    # As the oracle reads it: no bits but the stored ones. In the file they may begin further up, with others around.
    plain_words = stored.astype(np.int8 if allocated == 8 else np.int16).view(f"u{allocated // 8}")
    shift = high_bit + 1 - bits
    words = (stored % 2**bits) << shift
    noise = rng.integers(0, 2**allocated, stored.shape)
    words = (words | (noise & ~(((1 << bits) - 1) << shift))).astype(plain_words.dtype)

    wrong: dict[str, Any] = {}
    values = (lowest, highest)
    kind = rng.choice(["none", "rescale", "lut"], p=[0.5, 0.35, 0.15])
    if kind == "rescale":
        slope, intercept = float(rng.choice([1, 2, 0.5, -1])), float(rng.integers(-2000, 2000))
        elements |= {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}
        values = tuple(sorted(int(end * slope + intercept) for end in values))
    elif kind == "lut":
        right, other = lookup_table(rng, lowest, highest, [8, 16])  # pydicom knows no others here
        elements["ModalityLUTSequence"], wrong["ModalityLUTSequence"] = [right], [other]
        values = (0, 2 ** right.LUTDescriptor[2] - 1)
    span = values[1] - values[0]
    kind = rng.choice(["none", "window", "lut"], p=[0.4, 0.4, 0.2])
    if kind == "window":
        elements["WindowCenter"] = round(float(rng.uniform(values[0], values[1])), 1)
        elements["WindowWidth"] = round(float(rng.uniform(2, 1.5 * span)), 1)
        elements["VOILUTFunction"] = str(rng.choice(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    elif kind == "lut":
        ends = max(values[0], -32768), min(values[1], 32767 if values[0] < 0 else 65535)
        right, other = lookup_table(rng, *ends, [8, 10, 12, 16])
        elements["VOILUTSequence"], wrong["VOILUTSequence"] = [right], [other]
    spacing_elements, spacing_mm = random_spacing(rng)
    orientation, mirrored, refused = random_orientation(rng)
    elements |= spacing_elements | {"PatientOrientation": orientation}

    write_dicom(path, plain_words, **elements)
    plain = dcmread(path)
    grey, stretched = shown_by_pydicom(plain, padding, kind)
    write_dicom(path, words, **{**elements, **(wrong if rng.random() < 0.5 else {})}, HighBit=high_bit)
    if shift == 0 and rng.random() < 0.2 and (allocated == 8 or bits > 8):  # pydicom spoils fewer bits in words
        write_dicom(path, plain_words, **elements)
        dataset = dcmread(path)
        if signed or rng.random() < 0.5:
            dataset.compress(uid.RLELossless, encoding_plugin="pydicom")  # GDCM's encoder aborts on noise
        else:
            dataset.compress(uid.JPEGLSLossless)
        dataset.save_as(path)
    if interpretation == "MONOCHROME1":
        grey, stretched = (np.where(padding, 0, 255 - picture) for picture in (grey, stretched))
    return Expected(grey, spacing_mm, mirrored, False, refused, stretched)


def shown_by_pydicom(dataset: Dataset, padding: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Grey by pydicom's modality and VOI functions, and stretched without the latter."""
    stored = pixel_array(dataset).astype(np.int64)
    if dataset.get("ModalityLUTSequence"):
        stored = clipped_to_table(stored, dataset.ModalityLUTSequence[0])
    values = apply_modality_lut(stored, dataset)
    stretched = stretch(values, ~padding)
    if kind == "none":
        return stretched, stretched
    if kind == "lut":
        table = dataset.VOILUTSequence[0]
        grey = apply_voi(clipped_to_table(values, table), dataset) / (2 ** table.LUTDescriptor[2] - 1)
    else:
        shown = apply_windowing(values, dataset)
        ends = Dataset()
        ends.update(dataset)
        far = np.array([-1e9, 1e9])
        black, white = apply_windowing(far, ends) if dataset.VOILUTFunction != "SIGMOID" else limits_of(dataset)
        grey = (shown - black) / (white - black)
    return np.where(padding, 0, grey.clip(0, 1) * 255), stretched


def limits_of(dataset: Dataset) -> tuple[float, float]:
    """The output range of pydicom's windowing, by a linear window far from both its ends."""
    other = Dataset()
    other.update(dataset)
    other.VOILUTFunction = "LINEAR"
    black, white = apply_windowing(np.array([-1e9, 1e9]), other)
    return black, white


def clipped_to_table(values: np.ndarray, table: Dataset) -> np.ndarray:
    """Values beyond a table's ends as its ends, since pydicom's indices of 8 bits wrap round."""
    entries, first, _ = table.LUTDescriptor
    return np.clip(values, first, first + (entries or 2**16) - 1)


# Image files


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """What TIFF and EXIF orientation 1 to 8 mean: where row 0 and column 0 of the file are."""
    if orientation >= 5:
        stored = stored.T
    down = {3, 4, 7, 8} if orientation < 5 else {7, 8}
    right = {2, 3} if orientation < 5 else {6, 7}
    return stored[:: -1 if orientation in down else 1, :: -1 if orientation in right else 1]


def write_random_tiff(path: Path, rng: Rng) -> Expected:
    dtype = str(rng.choice(["u1", "u2", "u2", "i2", "u4", "i4", "f4", "f8", "rgb16"]))
    values = film(rng, 8 if dtype == "u1" else int(rng.choice([12, 16])))
    tags = {"t274": int(rng.integers(1, 9))}
    white_is_zero = dtype != "rgb16" and rng.random() < 0.3
    if white_is_zero:
        tags["t262"] = 0
    if dtype[0] == "i":
        values -= 2**15
    stored = values.astype("u2" if dtype == "rgb16" else dtype)
    if dtype[0] == "f" or dtype in ("u4", "i4"):
        stored = (stored * (0.001 if dtype[0] == "f" else 30_000)).astype(dtype)
    shown = np.ones(values.shape, bool)
    if dtype[0] == "f" and rng.random() < 0.3:
        shown.flat[rng.integers(0, values.size, 9)] = False
        stored[~shown] = rng.choice([np.nan, np.inf, -np.inf])
    grey = stored.astype(float) if dtype == "u1" else stretch(np.float32(stored) if dtype[0] == "f" else stored, shown)
    if white_is_zero:
        grey = np.where(shown, 255 - grey, 0)
    pages = [stored[..., None].repeat(3, axis=2) if dtype == "rgb16" else stored]
    refused = ""
    if rng.random() < 0.2:
        pages.insert(int(rng.integers(2)), np.nan_to_num(stored[::3, ::3], posinf=0, neginf=0).astype("i4"))
    elif rng.random() < 0.1:
        pages.append(pages[0])
        refused = "it holds 2 pages"
    write_tiff(path, *pages, order=str(rng.choice(["<", ">"])), **tags)
    return Expected(upright(grey, tags["t274"]), None, False, tags["t274"] > 1, refused)


def write_random_png(path: Path, rng: Rng) -> Expected:
    values = film(rng, int(rng.choice([12, 16]))).astype(np.uint16)
    channels = int(rng.integers(1, 5))
    layers = [values] * (3 if channels > 2 else 1)
    alpha = np.full(values.shape, 65535, np.uint16)
    transparent = b""
    if channels in (2, 4):
        alpha[rng.random(values.shape) < rng.choice([0, 0.3])] = 0
        layers.append(alpha)
    elif rng.random() < 0.3:
        value = int(rng.choice(values.ravel()))
        alpha[values == value] = 0
        transparent = value.to_bytes(2, "big") * channels
    write_deep_png(path, np.dstack(layers) if channels > 1 else values, transparent)
    return Expected(stretch(values, alpha > 0))


WRITERS = {"film.dcm": write_random_dicom, "film.tif": write_random_tiff, "film.png": write_random_png}


def check_window(radiograph: Radiograph, expected: Expected) -> np.ndarray:
    """The expected picture: stretched if its window shows next to nothing and the reader says so."""
    if expected.without_window is None or np.array_equal(expected.pixels, expected.without_window):
        return expected.pixels
    said = any(remark.endswith("so it is not used") for remark in radiograph.remarks)
    grey = expected.pixels.round()
    black_or_white = np.isin(grey, [0, 255]).mean()
    levels, without = (main_levels(picture) for picture in (grey, expected.without_window.round()))
    if said:
        assert black_or_white > 0.4 or (levels < 40 and without > levels)
        return expected.without_window
    assert black_or_white < 0.95 or without < 40
    return expected.pixels


def main_levels(grey: np.ndarray) -> int:
    """How many grey levels hold nine tenths of the pixels."""
    counts = np.sort(np.unique(grey, return_counts=True)[1])[::-1]
    return int((np.cumsum(counts) < 0.9 * grey.size).sum()) + 1


@pytest.mark.filterwarnings("ignore:Applying a VOI LUT on a float input")
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("tenth", range(10))
def test_random_legal_files_are_read_as_other_readers_show_them(tmp_path, name, tenth):
    path = tmp_path / name
    count = {"film.dcm": 14, "film.tif": 4, "film.png": 2}[name] * TIMES
    for seed in range(tenth * count, (tenth + 1) * count):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pydicom")
            expected = WRITERS[name](path, np.random.default_rng(seed))
        try:
            radiograph = open_radiograph(path)
        except UserError as error:
            assert expected.refused, (seed, error)  # noqa: PT017
            assert expected.refused in str(error), seed  # noqa: PT017
            continue
        assert not expected.refused, seed
        pixels = check_window(radiograph, expected)
        assert radiograph.pixels.shape == pixels.shape, seed
        assert np.abs(radiograph.pixels - pixels).max() <= 1, seed
        assert radiograph.spacing_mm == pytest.approx(expected.spacing_mm), seed
        assert (radiograph.mirrored, radiograph.turned) == (expected.mirrored, expected.turned), seed
