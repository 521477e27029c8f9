"""DICOM radiographs: detection, pixels as they are meant to be displayed, and pixel spacing; pydicom is optional."""

import logging
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.raw.image_file import Grey, Spacing, check_pixel_count, pillow_pixel_limit, stretch_to_8_bits

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
# DR and SC are not in the standard, but occur in files. Converters of films and screenshots write OT, and many public
# sets have lost their modality: only the user can tell what these show.
RADIOGRAPHY = frozenset({"CR", "DX", "RG", "DR", "OT", "SC", ""})
LATERAL_VIEWS = frozenset({"LL", "RL", "LATERAL", "LAT"})
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
MAX_REASON_CHARS = 200  # in a broken file a string may extend to the end of the file

_warning_filters_lock = threading.Lock()


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix or by "DICM" after the first 128 bytes, since many have no suffix."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False  # reading it as an image reports what is wrong


def read_dicom(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> tuple[Grey, Spacing | None]:
    """Read a frontal chest radiograph, air dark and bone bright, with its first VOI LUT or window applied.

    A file with neither is stretched from its own darkest to its own brightest value, as other deep files are.
    """
    with quiet_pydicom(), reading_dicom(path), pillow_pixel_limit(max_megapixels):
        dataset = open_dicom(path)
        _check_header(dataset, max_megapixels)
        grey = _apply_voi(_modality_values(dataset), dataset)
        # By the standard both elements agree, some files have only one.
        if dataset.PhotometricInterpretation == "MONOCHROME1" or _text(dataset, "PresentationLUTShape") == "INVERSE":
            grey = cv2.bitwise_not(grey).astype(np.uint8)
        return grey, _spacing_mm(dataset)


def read_patient_id(path: Path) -> str:
    """PatientID of a DICOM header, empty where it is missing; the pixels are not read."""
    from pydicom import dcmread

    with quiet_pydicom(), reading_dicom(path):
        return str(dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"]).get("PatientID") or "").strip()


def open_dicom(path: Path) -> "Dataset":
    """Header and encoded pixels of a DICOM file; to be called within ``reading_dicom``."""
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise ValueError("it is deflated and could exhaust the memory; inflate it with dcmconv +te")
    return dcmread(path)


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
    except Exception as error:  # broken files make pydicom and its decoders raise errors of any type
        first_line = str(error).partition("\n")[0]
        reason = "".join(filter(str.isprintable, first_line))[:MAX_REASON_CHARS].rstrip(".: ")
        raise UserError(f"{path} cannot be used as a chest radiograph: {reason or type(error).__name__}.") from error


def _check_header(dataset: "Dataset", max_megapixels: int) -> None:
    """Refuse what is no single grey frontal chest radiograph, before anything is decoded."""
    modality, view, part = (_text(dataset, key) for key in ("Modality", "ViewPosition", "BodyPartExamined"))
    if modality not in RADIOGRAPHY:
        raise ValueError(f"its Modality is {modality}, not CR, DX or RG")
    if view in LATERAL_VIEWS:
        raise ValueError(f"it is a lateral view (ViewPosition {view}), but the network is trained on frontal ones")
    if part in OTHER_BODY_PARTS.split():
        raise ValueError(f"it shows another part of the body (BodyPartExamined {part})")
    missing = [keyword for keyword in REQUIRED_ELEMENTS if keyword not in dataset]
    if missing:
        raise ValueError(f"it holds no {missing[0]}")
    check_pixel_count(dataset.Rows * dataset.Columns, max_megapixels)
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ValueError(f"it holds {dataset.NumberOfFrames} frames, not one")
    if dataset.SamplesPerPixel != 1 or dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"it is in colour ({dataset.PhotometricInterpretation})")
    if dataset.BitsAllocated not in (8, 16):  # GDCM crashes the process on more
        raise ValueError(f"it has {dataset.BitsAllocated} bits per pixel, not 8 or 16")


def _modality_values(dataset: "Dataset") -> NDArray[np.float32]:
    """Decoded pixels after the modality LUT or rescaling, (H, W)."""
    from pydicom.pixels.utils import pixel_array

    decoder = DECODERS.get(dataset.file_meta.TransferSyntaxUID, "")
    # index=0: a file may hold more frames than its header states.
    values = pixel_array(dataset, index=0, decoding_plugin=decoder).astype(np.float32)
    if dataset.get("ModalityLUTSequence"):
        return _apply_lut(values, dataset.ModalityLUTSequence[0])
    slope, intercept = _numbers(dataset, "RescaleSlope"), _numbers(dataset, "RescaleIntercept")
    if slope:
        values *= slope[0]
    if intercept:
        values += intercept[0]
    return values


def _apply_voi(values: NDArray[np.float32], dataset: "Dataset") -> Grey:
    """Grey through the first VOI LUT, else the first window, else the whole range of values."""
    function = _text(dataset, "VOILUTFunction")
    centers, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    # The width of LINEAR, the default, counts grey values, first and last included (PS3.3 C.11.2.1.2.1).
    excess = 0 if function in ("LINEAR_EXACT", "SIGMOID") else 1
    if dataset.get("VOILUTSequence"):
        lut = dataset.VOILUTSequence[0]
        shares = _apply_lut(values, lut) / (2 ** lut.LUTDescriptor[2] - 1)
    elif centers and widths and widths[0] > excess:
        distances = (values - (centers[0] - excess / 2)) / (widths[0] - excess)
        # PS3.3 C.11.2.1.3.1, as tanh without overflow
        shares = (1 + np.tanh(2 * distances)) / 2 if function == "SIGMOID" else distances + 0.5
    else:
        return stretch_to_8_bits(values)
    grey: Grey = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return grey


def _apply_lut(values: NDArray[np.float32], lut: "Dataset") -> NDArray[np.float32]:
    """Values through a lookup table; values beyond its ends get its first or last entry."""
    entries, first, _ = lut.LUTDescriptor
    entries = entries or 2**16  # 65536 does not fit into the 16 bits of the field and is stored as 0
    table: NDArray[Any] = np.frombuffer(lut.LUTData, "<u2") if isinstance(lut.LUTData, bytes) else np.array(lut.LUTData)
    if len(table) < entries:  # two 8-bit entries per word
        table = table.astype("<u2").view(np.uint8)
    if len(table) < entries:
        raise ValueError(f"a lookup table of {entries} entries holds {len(table)}")
    found: NDArray[np.float32] = table.astype(np.float32)[np.clip(values - first, 0, entries - 1).astype(np.int32)]
    return found


def _spacing_mm(dataset: "Dataset") -> Spacing | None:
    """PixelSpacing where given, else the detector's divided by the magnification where given."""
    magnifications = _numbers(dataset, "EstimatedRadiographicMagnificationFactor")
    magnification = magnifications[0] if magnifications and magnifications[0] > 0 else 1.0
    for keyword, divisor in (("PixelSpacing", 1.0), ("ImagerPixelSpacing", magnification)):
        spacing = _numbers(dataset, keyword)
        if len(spacing) == 2 and min(spacing) > 0:
            return spacing[0] / divisor, spacing[1] / divisor
    return None


def _numbers(dataset: "Dataset", keyword: str) -> list[float]:
    """The numbers of an element; empty if it is missing or one of them is not finite."""
    try:
        numbers = np.ravel(np.asarray(dataset.get(keyword), float)).tolist()
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _text(dataset: "Dataset", keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()
