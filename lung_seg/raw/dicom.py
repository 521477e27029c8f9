"""DICOM radiographs: detection, pixels as they are meant to be displayed, and pixel spacing; pydicom is optional."""

import logging
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.raw.image_file import (
    DAMAGED,
    IMAGE_SIGNATURES,
    SIGNATURE_BYTES,
    Grey,
    Spacing,
    UnusableFileError,
    check_pixel_count,
    content_kind,
    pillow_pixel_limit,
)
from lung_seg.raw.stretch import histogram, robust_limits, shares_to_grey, stretch_to_8_bits, to_grey_levels

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
# DR and SC are not in the standard, but occur in files. Converters of films and screenshots write OT, and many public
# sets have lost their modality: only the user can tell what these show.
RADIOGRAPHY = frozenset({"CR", "DX", "RG", "DR", "OT", "SC", ""})
LATERAL_VIEW = re.compile(r"^(LL|RL|[LR]?LAT(ERAL)?|(LEFT|RIGHT|LT|RT|L|R)[ _-]+LAT(ERAL)?|LAT(ERAL)?[ _-].*)$")
# Lateral, left lateral, right lateral and lateral-medial, in SNOMED CT and its older codes (PS3.16 CID 4010).
LATERAL_CODES = frozenset(
    {"399067008", "399173006", "399198007", "399352003", "R-102CD", "R-10236", "R-10232", "R-10228"}
)
DIRECTIONS = re.compile("[LRAPHF]{1,3}")
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
# The field is filled in by hand, in any language ("TORAX", "PORT CHEST"), so the other parts are listed, not the chest.
OTHER_BODY_PARTS = (
    "ABDOMEN ANKLE ARM BREAST CALCANEUS CLAVICLE COCCYX CSPINE ELBOW EXTREMITY FEMUR FINGER FOOT FOREARM HAND HEAD "
    "HEEL HIP HUMERUS JAW KNEE LEG LSPINE MANDIBLE MAXILLA NECK NOSE ORBIT PATELLA PELVIS SACRUM SCAPULA SHOULDER "
    "SINUS SKULL SPINE SSPINE THIGH TOE TSPINE WRIST ZYGOMA"
)
REQUIRED_ELEMENTS = ("PixelData", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
# By transfer syntax; the others have only one decoder. pydicom would prefer GDCM, which crashes the process on many
# broken files of these syntaxes, and whose JPEG 2000 decoder does not check sizes.
DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pillow",  # JPEG extended
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pillow",  # JPEG 2000
}
RLE, JPEG_EXTENDED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.51"
# The first element of a file without preamble: group 0002, or 0008 up to SOPInstanceUID.
FIRST_ELEMENTS = frozenset(
    bytes(tag) for tag in ([2, 0, 0, 0], *([8, 0, low, 0] for low in (0, 1, 5, 8, 0x12, 0x16, 0x18)))
)
COLOUR_TOLERANCE = 8  # of 255: how far the channels of a grey film may differ after lossy compression
MAX_COLOURED_SHARE = 0.01  # a coloured marker
MAX_PADDING_SHARE = 0.95
MAX_LOST_SHARE = 0.5  # of the film, in what is black or white of more than so many grey levels:
MAX_LEVELS_BEYOND = 32
MIN_LEVELS = 32
SAME_SPACING = 0.005  # relative: the two are often rounded differently
SAME_MAGNIFICATION = 0.05
MAX_MAGNIFICATION = 2.0  # of distances that are believed
MAX_REASON_CHARS = 200  # in a broken file a string may extend to the end of the file

_warning_filters_lock = threading.Lock()


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content, or by its suffix where the content is of no image format."""
    try:
        with path.open("rb") as file:
            content = file.read(SIGNATURE_BYTES)
    except OSError:
        return path.suffix.lower() in DICOM_SUFFIXES  # reading it reports what is wrong
    if content[128:132] == b"DICM" or _has_no_preamble(content):
        return True
    return path.suffix.lower() in DICOM_SUFFIXES and not content.startswith(IMAGE_SIGNATURES)


def read_dicom(
    path: Path, max_megapixels: int = MAX_MEGAPIXELS, window: str = "auto"
) -> tuple[Grey, Spacing | None, bool, tuple[str, ...]]:
    """Read a frontal chest radiograph, air dark and bone bright, with its first VOI LUT or window applied.

    A file with neither, or of which they show next to nothing, is stretched as other deep files are, and so are all
    files with ``window="none"``. Pixels stay where they are stored.

    Returns:
        The pixels, their spacing, whether the patient's right side is on the image's right side, and remarks.
    """
    with quiet_pydicom(), reading_dicom(path), pillow_pixel_limit(max_megapixels):
        dataset = open_dicom(path)
        _check_header(dataset, max_megapixels)
        mirrored = _is_mirrored(dataset)
        grey, remarks = _read_grey(dataset, window)
        spacing_mm, spacing_remarks = _spacing_mm(dataset)
        return grey, spacing_mm, mirrored, (*remarks, *spacing_remarks)


def read_patient_id(path: Path) -> str:
    """PatientID of a DICOM header, empty where it is missing; the pixels are not read."""
    from pydicom import dcmread

    with quiet_pydicom(), reading_dicom(path):
        return str(dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"]).get("PatientID") or "").strip()


def open_dicom(path: Path) -> "Dataset":
    """Header and encoded pixels of a DICOM file; to be called within ``reading_dicom``.

    Files without preamble, as older machines export them, are read; encoding and transfer syntax are then derived.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    with path.open("rb") as file:
        content = file.read(SIGNATURE_BYTES)
    force = _has_no_preamble(content)
    if force:
        deflated = DeflatedExplicitVRLittleEndian.encode() in content
    elif content[128:132] == b"DICM":
        deflated = read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    else:
        kind = content_kind(content)
        raise UnusableFileError(f"it is {kind}, not a DICOM file" if kind else "it is not a DICOM file")
    if deflated:
        raise UnusableFileError("it is deflated and could exhaust the memory; inflate it with dcmconv +te")
    dataset = dcmread(path, force=force)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence warnings and logs of pydicom and highdicom: broken files raise an error, sound ones often break a rule.

    One thread at a time, since Python's warning filters are global.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    with _warning_filters_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom|highdicom")
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def reading_dicom(path: Path) -> Iterator[None]:
    """Raise every error of a DICOM reader as a UserError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except ModuleNotFoundError as error:
        remedy = 'Install it: pip install "lung_seg[dicom]"'
        raise UserError(f"{path} is DICOM, which needs {error.name}, which is not installed.\n{remedy}") from error
    except UnusableFileError as error:
        reason = "".join(filter(str.isprintable, str(error)))[:MAX_REASON_CHARS].rstrip(".: ")
        raise UserError(f"{path} cannot be used as a chest radiograph: {reason}.") from error
    except Exception as error:  # broken files make pydicom and its decoders raise errors of any type
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else DAMAGED
        raise UserError(f"{path} cannot be used as a chest radiograph: {reason}.") from error


def _has_no_preamble(content: bytes) -> bool:
    """Whether a file begins with a DICOM element of group 0002 or 0008, little-endian, as very old ones do."""
    if content[:4] not in FIRST_ELEMENTS or content[128:132] == b"DICM":
        return False
    explicit = content[4:6].isalpha() and content[4:6].isupper()
    return explicit or content[6:8] == b"\0\0"  # implicit: a length of less than 65536


def _check_header(dataset: "Dataset", max_megapixels: int) -> None:
    """Refuse what is no single grey frontal chest radiograph, and repair what has only one meaning."""
    modality, view, part = (_text(dataset, key) for key in ("Modality", "ViewPosition", "BodyPartExamined"))
    if modality not in RADIOGRAPHY:
        raise UnusableFileError(f"its Modality is {modality}, not CR, DX or RG")
    if LATERAL_VIEW.search(view):
        raise UnusableFileError(
            f"it is a lateral view (ViewPosition {view}), but the network is trained on frontal ones"
        )
    codes = {_text(code, "CodeValue") for code in _items(dataset, "ViewCodeSequence")}
    if codes & LATERAL_CODES:
        code = ", ".join(sorted(codes & LATERAL_CODES))
        raise UnusableFileError(f"it is a lateral view (View Code {code}), but the network is trained on frontal ones")
    if part in OTHER_BODY_PARTS.split():
        raise UnusableFileError(f"it shows another part of the body (BodyPartExamined {part})")
    missing = [keyword for keyword in REQUIRED_ELEMENTS if dataset.get(keyword) is None]
    if missing:
        raise UnusableFileError(f"it holds no {missing[0]}")
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"):
        if not isinstance(dataset[keyword].value, int) or dataset[keyword].value < 1:
            raise UnusableFileError(f"its {keyword} is {dataset[keyword].value}, not a number above 0")
    check_pixel_count(dataset.Rows * dataset.Columns, max_megapixels)
    frames = _numbers(dataset, "NumberOfFrames")
    if frames and frames[0] > 1:
        raise UnusableFileError(f"it holds {frames[0]:.0f} frames, not one")
    if dataset.BitsAllocated not in (8, 16):  # GDCM crashes the process on more
        raise UnusableFileError(f"it has {dataset.BitsAllocated} bits per pixel, not 8 or 16")
    interpretation = _text(dataset, "PhotometricInterpretation").replace(" ", "")
    interpretation = {"PALETTECOLOR": "PALETTE COLOR"}.get(interpretation, interpretation)
    if interpretation not in MONOCHROME and not interpretation.startswith(("RGB", "YBR", "PALETTE")):
        raise UnusableFileError(f"its PhotometricInterpretation is {interpretation}, neither grey nor a known colour")
    dataset.PhotometricInterpretation = interpretation
    dataset.NumberOfFrames = 1
    bits = dataset.BitsAllocated
    stored, high_bit = dataset.get("BitsStored"), dataset.get("HighBit")
    if not isinstance(stored, int) or not 1 <= stored <= bits:
        dataset.BitsStored = stored = bits
    if not isinstance(high_bit, int) or not stored <= high_bit + 1 <= bits:
        dataset.HighBit = stored - 1
    if dataset.get("PixelRepresentation") not in (0, 1):
        dataset.PixelRepresentation = 0


def _is_mirrored(dataset: "Dataset") -> bool:
    """Whether the patient's right side is on the image's right side; turned and lateral films are refused.

    PatientOrientation says where rows and columns run to in the patient, by the letters of left, right, head, foot,
    anterior and posterior, the main direction first (PS3.3 C.7.6.1.1.1). It is the patient's side, whichever way the
    rays went, and it is of the image as stored: what FieldOfViewHorizontalFlip tells has already happened.
    """
    found = dataset.get("PatientOrientation")
    words = [str(word).strip().upper() for word in ([found] if isinstance(found, str) else found or [])]
    if not words or any(word and not DIRECTIONS.fullmatch(word) for word in words):
        return False
    rows, columns = (*(word[:1] for word in words), "", "")[:2]
    stated = "\\".join(words)
    if "A" in rows + columns or "P" in rows + columns:
        raise UnusableFileError(
            f"it is no frontal view (PatientOrientation {stated}), but the network is trained on frontal ones"
        )
    turned = (rows in ("H", "F") and columns in ("L", "R", "")) or (columns == "H" and rows in ("L", "R", ""))
    if turned:
        raise UnusableFileError(
            f"it is stored turned (PatientOrientation {stated}, upright is L\\F); turn it upright and correct that"
        )
    return rows == "R" and columns in ("F", "")


def _read_grey(dataset: "Dataset", window: str) -> tuple[Grey, tuple[str, ...]]:
    """Grey as it is meant to be shown, (H, W), and remarks."""
    decoded = _decode(dataset)
    if decoded.ndim == 3:
        grey = _grey_of_equal_channels(decoded, dataset)
        return (grey if grey.dtype == np.uint8 else stretch_to_8_bits(grey)), ()
    words = decoded.view(f"u{decoded.dtype.itemsize}")
    counts = histogram(words)
    occurring = np.flatnonzero(counts)
    stored = _stored_values(occurring, dataset)
    padding, remarks = _find_padding(occurring, stored, counts[occurring], dataset)
    shown = occurring[~padding]
    grey, voi_remarks = _apply_voi(_modality_values(stored[~padding], dataset), counts[shown], dataset, window)
    # By the standard both elements agree, some files have only one.
    if dataset.PhotometricInterpretation == "MONOCHROME1" or _text(dataset, "PresentationLUTShape") == "INVERSE":
        grey = np.uint8(255) - grey
    table = np.zeros(counts.size, np.uint8)  # padding is black
    table[shown] = grey
    return table[words], (*remarks, *voi_remarks)


def _decode(dataset: "Dataset") -> NDArray[Any]:
    """Decoded pixels, (H, W) or in colour (H, W, 3), in the byte order of this machine."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID

    def decode() -> NDArray[Any]:
        # index=0: a file may hold more frames than its header states. Unused bits: see _stored_values.
        decoded = pixel_array(dataset, index=0, decoding_plugin=DECODERS.get(syntax, ""), correct_unused_bits=False)
        return decoded.astype(decoded.dtype.newbyteorder("="), copy=False)

    if dataset.SamplesPerPixel > 1 and dataset.get("PlanarConfiguration") not in (0, 1):
        dataset.PlanarConfiguration = 0
    try:
        try:
            decoded = decode()
        except ValueError:
            if dataset.SamplesPerPixel > 1 or syntax not in DECODERS:
                raise
            # JPEG of three components whose header says one
            dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
            dataset.PhotometricInterpretation = "YBR_FULL_422" if DECODERS[syntax] == "pillow" else "RGB"
            decoded = decode()
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            decoded = apply_color_lut(decoded, dataset)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise UnusableFileError(_undecodable(dataset)) from error
    return decoded


def _undecodable(dataset: "Dataset") -> str:
    """Why pixel data cannot be decoded, in words for the user."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if dataset.PhotometricInterpretation not in MONOCHROME:
        return f"it is in colour ({dataset.PhotometricInterpretation}), and its pixels or palette do not fit its header"
    if not syntax.is_compressed:
        return f"{DAMAGED}: its pixels do not fit what its header says"
    if syntax == JPEG_EXTENDED and dataset.BitsStored > 8:
        return "its pixels are lossy JPEG of 12 bits, which no decoder here reads; decompress it with dcmdjpeg"
    return f"its pixel data ({syntax.name}) cannot be decoded; if it is not damaged, decompress it with gdcmconv --raw"


def _grey_of_equal_channels(channels: NDArray[Any], dataset: "Dataset") -> NDArray[Any]:
    """One channel (H, W) of a film stored in colour; raises UnusableFileError if it is in colour.

    Lossy compression makes channels differ a little, and a marker may be coloured.
    """
    difference = channels.max(axis=2).astype(np.int32) - channels.min(axis=2)
    allowed = COLOUR_TOLERANCE * (np.iinfo(channels.dtype).max / 255)
    if np.mean(difference > allowed) > MAX_COLOURED_SHARE:
        raise UnusableFileError(f"it is in colour ({dataset.PhotometricInterpretation})")
    return np.ascontiguousarray(channels[..., 1])


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
    bounds = [_numbers(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if not bounds[0]:
        return padding, ()
    signed, bits = dataset.PixelRepresentation == 1, dataset.BitsAllocated
    limits = [_as_16_bits(found[0], signed) for found in bounds if found]
    whole = np.where(words >= 2 ** (bits - 1), words - 2**bits, words) if signed else words
    for values in (stored, whole):
        padding |= (values >= min(limits)) & (values <= max(limits))
    if counts[padding].sum() > MAX_PADDING_SHARE * counts.sum():
        stated = " to ".join(map(str, limits))
        return np.zeros(words.size, bool), (f"PixelPaddingValue {stated} would leave nothing of it and is not used",)
    return padding, ()


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
    slope, intercept = _numbers(dataset, "RescaleSlope"), _numbers(dataset, "RescaleIntercept")
    return (slope[0] if slope and slope[0] else 1.0), (intercept[0] if intercept else 0.0)


def _apply_voi(
    values: NDArray[np.float64], counts: NDArray[np.float64], dataset: "Dataset", window: str
) -> tuple[Grey, tuple[str, ...]]:
    """Grey of values that occur so often: by the first VOI LUT or window that shows the film, else stretched."""
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
    function = _text(dataset, "VOILUTFunction")
    # The width of LINEAR, the default, counts grey values, first and last included (PS3.3 C.11.2.1.2.1).
    excess = 0 if function in ("LINEAR_EXACT", "SIGMOID") else 1
    for center, width in zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False):
        if width <= excess:
            continue
        distances = (values - (center - excess / 2)) / (width - excess)
        # PS3.3 C.11.2.1.3.1, as tanh without overflow
        shares = (1 + np.tanh(2 * distances)) / 2 if function == "SIGMOID" else distances + 0.5
        yield f"its window (center {center:g}, width {width:g})", shares


def _loss(stretched: Grey, shares: NDArray[np.float64], counts: NDArray[np.float64]) -> str:
    """What a window loses of a film, in words; empty if it shows the film.

    Most of a film may lie beyond a window without a loss, if it is air or a border, which are of few grey levels.
    """
    grey = shares_to_grey(shares)
    everything = _level_count(stretched, counts)
    lost = 0.0
    for beyond in (grey == 0, grey == 255):
        if _level_count(stretched[beyond], counts[beyond]) > MAX_LEVELS_BEYOND:
            lost += counts[beyond].sum() / counts.sum()
    if lost > MAX_LOST_SHARE:
        return f"leaves {100 * lost:.0f} % of the film black or white"
    left = _level_count(grey, counts)
    if left < MIN_LEVELS and everything > 2 * left:
        return f"shows the film in {left} of 256 grey levels"
    return ""


def _level_count(grey: Grey, counts: NDArray[np.float64]) -> int:
    """How many grey levels nine of ten pixels have, at least."""
    pixels = np.sort(np.bincount(grey, weights=counts, minlength=256))[::-1].cumsum()
    return int(np.searchsorted(pixels, 0.9 * pixels[-1])) + 1 if pixels[-1] else 0


def _first_lut(dataset: "Dataset", keyword: str) -> "Dataset | None":
    """The first item of a sequence that is a table of several entries; some writers add empty items."""
    for item in _items(dataset, keyword):
        if len(_numbers(item, "LUTDescriptor")) == 3 and _lut_table(item, dataset).size > 1:
            return item
    return None


def _lut_table(lut: "Dataset", dataset: "Dataset") -> NDArray[np.float64]:
    """Entries of a lookup table, of 8 or 16 bits."""
    entries = int(_numbers(lut, "LUTDescriptor")[0]) % 2**16 or 2**16  # 65536 does not fit and is stored as 0
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
    return max(int(_numbers(lut, "LUTDescriptor")[2]), needed, 1)


def _apply_lut(values: NDArray[np.float64], lut: "Dataset", dataset: "Dataset", signed: bool) -> NDArray[np.float64]:
    """Values through a lookup table; values beyond its ends get its first or last entry.

    ``signed``: whether the first value that the table maps may be negative (PS3.3 C.11.1.1, C.11.2.1.1), which its
    value representation often does not say.
    """
    table = _lut_table(lut, dataset)
    first = _as_16_bits(_numbers(lut, "LUTDescriptor")[1], signed)
    return table[np.clip(values - first, 0, table.size - 1).astype(np.int64)]


def _may_be_negative(dataset: "Dataset") -> bool:
    """Whether the values that a VOI LUT maps may be negative, by the header."""
    if _first_lut(dataset, "ModalityLUTSequence") is not None:
        return False
    slope, intercept = _rescaling(dataset)
    half = 2 ** (dataset.BitsStored - 1)
    lowest, highest = (-half, half - 1) if dataset.PixelRepresentation == 1 else (0, 2 * half - 1)
    return bool(min(lowest * slope, highest * slope) + intercept < 0)


def _spacing_mm(dataset: "Dataset") -> tuple[Spacing | None, tuple[str, ...]]:
    """Spacing in the plane of the patient, and remarks (PS3.3 10.7.1).

    PixelSpacing is calibrated where it differs from the spacing at the detector or on the film, or where
    PixelSpacingCalibrationType says so. Otherwise the detector's is divided by the magnification.
    """
    spacing, *at_detector = (
        _positive_pair(dataset, keyword)
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    )
    detector = at_detector[0] or at_detector[1]
    if spacing and not (detector and np.allclose(spacing, detector, rtol=SAME_SPACING, atol=0)):
        return spacing, ()
    if spacing and _text(dataset, "PixelSpacingCalibrationType"):
        return spacing, ()
    if not detector:
        return None, ()
    magnification, remarks = _magnification(dataset)
    return (detector[0] / magnification, detector[1] / magnification), remarks


def _magnification(dataset: "Dataset") -> tuple[float, tuple[str, ...]]:
    """How much larger the patient is on the detector, by the stated factor, else by the distances of the tube."""
    stated, to_detector, to_patient = (
        numbers[0] if numbers and numbers[0] > 0 else None
        for numbers in (
            _numbers(dataset, keyword)
            for keyword in (
                "EstimatedRadiographicMagnificationFactor",
                "DistanceSourceToDetector",
                "DistanceSourceToPatient",
            )
        )
    )
    by_distance = to_detector / to_patient if to_detector and to_patient else None
    if stated is None:
        return (by_distance if by_distance and 1 <= by_distance <= MAX_MAGNIFICATION else 1.0), ()
    if by_distance and abs(by_distance / stated - 1) > SAME_MAGNIFICATION:
        return stated, (
            f"the magnification factor {stated:g} and the distances {to_detector:g} and {to_patient:g} mm, which give "
            f"{by_distance:.2f}, disagree; areas and lengths follow the factor",
        )
    return stated, ()


def _positive_pair(dataset: "Dataset", keyword: str) -> Spacing | None:
    numbers = _numbers(dataset, keyword)
    return (numbers[0], numbers[1]) if len(numbers) == 2 and min(numbers) > 0 else None


def _numbers(dataset: "Dataset", keyword: str) -> list[float]:
    """The numbers of an element; empty if it is missing or one of them is not a finite number."""
    try:
        numbers = np.ravel(np.asarray(dataset.get(keyword), float)).tolist()
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _items(dataset: "Dataset", keyword: str) -> list["Dataset"]:
    """The items of a sequence, none if it is missing or no sequence."""
    items = dataset.get(keyword)
    return [] if items is None or isinstance(items, str | bytes) else list(items)


def _text(dataset: "Dataset", keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()
