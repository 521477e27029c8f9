"""DICOM radiographs: detection, reading and decoding; pydicom is optional."""

import logging
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UnusableFileError, UserError
from lung_seg.raw.dicom_header import MONOCHROME, check_header, is_mirrored, spacing_mm
from lung_seg.raw.displayed_grey import RLE, displayed_grey, stored_grey
from lung_seg.raw.image_file import DAMAGED, IMAGE_SUFFIXES, Grey, Spacing, pillow_pixel_limit
from lung_seg.raw.signatures import IMAGE_SIGNATURES, SIGNATURE_BYTES, content_kind
from lung_seg.raw.stretch import stretch_to_8_bits

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
KNOWN_SUFFIXES = IMAGE_SUFFIXES | DICOM_SUFFIXES
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
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
FIRST_TYPES = frozenset((b"UL", b"CS", b"UI", b"OB", b"DA", b"SH"))  # of the first element of groups 0002 and 0008
COLOUR_TOLERANCE = 8  # of 255: how far the channels of a grey radiograph may differ after lossy compression
MAX_COLOURED_SHARE = 0.01  # a coloured marker
MAX_REASON_CHARS = 200  # in a broken file a string may extend to the end of the file
SHOWN_KEYWORDS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyDate", "InstitutionName", "Modality", "ViewPosition"),
)

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


def is_image_or_dicom(path: Path) -> bool:
    """Whether a file is an image by its suffix, or DICOM by its content: scanners export DICOM without a suffix."""
    return path.suffix.lower() in KNOWN_SUFFIXES or is_dicom(path)


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
        check_header(dataset, max_megapixels)
        mirrored = is_mirrored(dataset)
        decoded = _decode(dataset)
        if decoded.ndim == 3:
            channel = _equal_channel(decoded, dataset)
            grey = channel if channel.dtype == np.uint8 else stretch_to_8_bits(channel)
            remarks: tuple[str, ...] = ()
        else:
            grey, remarks = displayed_grey(decoded, dataset, window)
        spacing, spacing_remarks = spacing_mm(dataset)
        return grey, spacing, mirrored, (*remarks, *spacing_remarks)


def read_dicom_values(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> NDArray[np.uint16] | None:
    """The stored values of a radiograph of more than 8 bits from 0 on, air dark, no window applied; None for others."""
    with quiet_pydicom(), reading_dicom(path), pillow_pixel_limit(max_megapixels):
        dataset = open_dicom(path)
        check_header(dataset, max_megapixels)
        decoded = _decode(dataset)
        return None if decoded.ndim == 3 or dataset.BitsStored <= 8 else stored_grey(decoded, dataset)


def read_patient(path: Path) -> dict[str, str]:
    """What a DICOM header says of the patient and the exposure, by keyword; the pixels are not read."""
    with quiet_pydicom(), reading_dicom(path):
        dataset = open_dicom(path)
        return {keyword: str(dataset[keyword].value) for keyword in SHOWN_KEYWORDS if dataset.get(keyword)}


def read_patient_id(path: Path) -> str:
    """PatientID of a DICOM header, empty where it is missing; the pixels are not read."""
    from pydicom import dcmread

    with quiet_pydicom(), reading_dicom(path):
        with path.open("rb") as file:
            force = _has_no_preamble(file.read(SIGNATURE_BYTES))
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"], force=force)
        return str(dataset.get("PatientID") or "").strip()


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


JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
# Markers SOC and SIZ, then its length, its capabilities and what struct.unpack takes apart (ISO/IEC 15444-1, A.5.1).
JPEG_2000_SIZE = re.compile(rb"\xff\x4f\xff\x51.{4}(.{34})", re.DOTALL)
# Start of a frame in JPEG (ITU-T T.81, B.2.2) and JPEG-LS, its length and precision; then height and width.
JPEG_SIZE = re.compile(rb"\xff[\xc0-\xc3\xf7].{3}(.{4})", re.DOTALL)


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
    """Whether a file begins with a DICOM element of group 0002 or 0008, as very old ones do."""
    if content[128:132] == b"DICM" or len(content) < 132:
        return False
    explicit = content[4:6] in FIRST_TYPES
    if content[:2] in (b"\x02\0", b"\x08\0"):  # little-endian
        return content[3] == 0 and (explicit or content[6:8] == b"\0\0")  # implicit: the length in four bytes
    return content[:3] == b"\0\x08\0" and explicit


def _check_stream_size(dataset: "Dataset") -> None:
    """Refuse a stream larger than its DICOM header says, which is all that has been compared with the limit."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in JPEG_2000:
        stated = (dataset.Columns, dataset.Rows, dataset.SamplesPerPixel)
        for found in JPEG_2000_SIZE.finditer(dataset.PixelData):
            right, bottom, left, top, channels = struct.unpack(">4I16xH", found[1])
            if (right - left, bottom - top, channels) != stated:
                raise UnusableFileError(DAMAGED)
    elif syntax.is_compressed and syntax != RLE:
        sizes = (struct.unpack(">2H", found[1]) for found in JPEG_SIZE.finditer(dataset.PixelData))
        if any(height * width > dataset.Rows * dataset.Columns for height, width in sizes):
            raise UnusableFileError(DAMAGED)


def _decode(dataset: "Dataset") -> NDArray[Any]:
    """Decoded pixels, (H, W) or in colour (H, W, 3), in the byte order of this machine."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    _check_stream_size(dataset)

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


def _equal_channel(channels: NDArray[Any], dataset: "Dataset") -> NDArray[Any]:
    """One channel (H, W) of a radiograph stored in colour; raises UnusableFileError if it is in colour.

    Lossy compression makes channels differ a little, and a marker may be coloured.
    """
    difference = channels.max(axis=2).astype(np.int32) - channels.min(axis=2)
    allowed = COLOUR_TOLERANCE * (np.iinfo(channels.dtype).max / 255)
    if np.mean(difference > allowed) > MAX_COLOURED_SHARE:
        raise UnusableFileError(f"it is in colour ({dataset.PhotometricInterpretation})")
    return np.ascontiguousarray(channels[..., 1])
