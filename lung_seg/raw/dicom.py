"""DICOM radiographs: which files they are, their pixels as a reader is meant to see them, and their spacing.

pydicom is an extra, and imported with the first DICOM file only.
"""

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
from lung_seg.raw.image_file import Grey, Spacing, check_pixels, pillow_allowing, stretch_to_8_bits

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
# DR and SC are not in the standard, but in files. OT is what converters of films and screenshots write, and many
# published sets have lost their modality: of these the user knows what they are.
RADIOGRAPHY = frozenset({"CR", "DX", "RG", "DR", "OT", "SC", ""})
MODALITIES = {
    "CT": "a CT image",
    "MR": "an MR image",
    "US": "an ultrasound image",
    "MG": "a mammogram",
    "PT": "a PET image",
    "NM": "a scintigram",
    "RF": "a fluoroscopy",
    "XA": "an angiogram",
    "PX": "a panoramic dental image",
    "IO": "a dental image",
    "SEG": "a segmentation",
    "PR": "a presentation state",
    "SR": "a structured report",
    "KO": "a list of key images",
    "DOC": "a document",
}
LATERAL_VIEWS = frozenset({"LL", "RL", "LATERAL", "LAT"})
# The field is filled by hand, in any language ("TORAX", "PORT CHEST"), so the other parts are named, not the chest.
OTHER_BODY_PARTS = (
    "ABDOMEN ANKLE ARM BREAST CALCANEUS CLAVICLE COCCYX CSPINE ELBOW EXTREMITY FEMUR FINGER FOOT FOREARM HAND HEAD "
    "HEEL HIP HUMERUS JAW KNEE LEG LSPINE MANDIBLE MAXILLA NECK NOSE ORBIT PATELLA PELVIS SACRUM SCAPULA SHOULDER "
    "SINUS SKULL SPINE SSPINE THIGH TOE TSPINE WRIST ZYGOMA"
)
IMAGE = ("PixelData", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
# By transfer syntax; the others have one decoder. pydicom would take GDCM first, whose C++ ends the whole process over
# many a broken file of these, and its JPEG 2000 trusts any size.
DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pillow",  # JPEG extended
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS without loss
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS nearly without
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000 without loss
    "1.2.840.10008.1.2.4.91": "pillow",  # JPEG 2000
}
LONGEST_REASON = 200  # in a broken file a word may go on to the file's end, and hold what a terminal obeys

_one_at_a_time = threading.Lock()


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix or by the "DICM" after its first 128 bytes: many have no suffix."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False  # whoever reads it as an image will say what is wrong


def read_dicom(path: Path, max_megapixels: int = MAX_MEGAPIXELS) -> tuple[Grey, Spacing | None]:
    """Read a frontal chest radiograph: rescaled, through its first VOI LUT or window, air dark and bone bright.

    A file with neither is stretched from its own darkest to its own brightest value, as other deep files are.

    Raises:
        UserError: pydicom is missing, the file is broken, or it says that it is no frontal chest radiograph.
    """
    with quiet_pydicom(), reading_dicom(path), pillow_allowing(max_megapixels):
        dataset = open_dicom(path)
        _check_is_chest_radiograph(dataset)
        _check_is_one_grey_image(dataset, max_megapixels)
        grey = _as_seen(_real_values(dataset), dataset)
        return cv2.bitwise_not(grey).astype(np.uint8) if _is_inverted(dataset) else grey, _spacing(dataset)


def open_dicom(path: Path) -> "Dataset":
    """Header and encoded pixels of a DICOM file, to be called within ``reading_dicom``."""
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise ValueError("it is deflated, and might fill the memory; inflate it with dcmconv +te")
    return dcmread(path)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Neither warnings nor logs of pydicom and highdicom.

    Our own error tells of a broken file, and sound ones break a rule often.

    One thread at a time, since Python's warning filters are those of the whole process.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    with _one_at_a_time, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom|highdicom")
        levels = [logger.level for logger in loggers]  # another thread may have had them changed until now
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def reading_dicom(path: Path) -> Iterator[None]:
    """Every error of a reader of DICOM becomes the user's, with the file's name."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there.") from error
    except ModuleNotFoundError as error:
        raise UserError(
            f'{path} is DICOM, which needs {error.name}, and that is not installed.\nRun: pip install -e ".[dicom]"'
        ) from error
    except Exception as error:  # pydicom and its decoders raise whatever a broken file leads them to
        first_line = str(error).partition("\n")[0]
        reason = "".join(filter(str.isprintable, first_line))[:LONGEST_REASON].rstrip(".: ")
        raise UserError(f"{path} cannot be used as a chest radiograph: {reason or type(error).__name__}.") from error


def _check_is_chest_radiograph(dataset: "Dataset") -> None:
    modality, view, part = (_word(dataset, key) for key in ("Modality", "ViewPosition", "BodyPartExamined"))
    if modality not in RADIOGRAPHY:
        raise ValueError(f"it is {MODALITIES.get(modality, 'an object')} (modality {modality}), not CR, DX or RG")
    if view in LATERAL_VIEWS:
        raise ValueError(f"it is a lateral view (ViewPosition {view}), and the network knows frontal ones")
    if part in OTHER_BODY_PARTS.split():
        raise ValueError(f"it shows another part of the body (BodyPartExamined {part})")


def _check_is_one_grey_image(dataset: "Dataset", max_megapixels: int) -> None:
    """Refuse before anything is decoded what would decode to colours, a film or more pixels than are allowed."""
    missing = [keyword for keyword in IMAGE if keyword not in dataset]
    if missing:
        raise ValueError(f"it holds no {missing[0]}")
    check_pixels(dataset.Rows * dataset.Columns, max_megapixels)
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ValueError(f"it holds {dataset.NumberOfFrames} frames, not one")
    if dataset.SamplesPerPixel != 1 or dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"it is in colour ({dataset.PhotometricInterpretation})")
    if dataset.BitsAllocated not in (8, 16):  # over more GDCM ends the whole process
        raise ValueError(f"it has {dataset.BitsAllocated} bits per pixel, not 8 or 16")


def _real_values(dataset: "Dataset") -> NDArray[np.float32]:
    """Decoded pixels after the modality LUT or rescaling, (H, W)."""
    from pydicom.pixels.utils import pixel_array

    decoder = DECODERS.get(dataset.file_meta.TransferSyntaxUID, "")
    # A file may hold more frames than it says.
    values = pixel_array(dataset, index=0, decoding_plugin=decoder).astype(np.float32)
    if dataset.get("ModalityLUTSequence"):
        return _look_up(values, dataset.ModalityLUTSequence[0])
    slope, intercept = (_numbers(dataset, f"Rescale{key}") for key in ("Slope", "Intercept"))
    if slope:
        values *= slope[0]
    if intercept:
        values += intercept[0]
    return values


def _as_seen(values: NDArray[np.float32], dataset: "Dataset") -> Grey:
    """Grey of the first VOI LUT, else of the first window, else of the whole range."""
    window = _window(dataset)
    if dataset.get("VOILUTSequence"):
        lut = dataset.VOILUTSequence[0]
        shares = _look_up(values, lut) / (2 ** lut.LUTDescriptor[2] - 1)
    elif window and _word(dataset, "VOILUTFunction") == "SIGMOID":
        center, width = window
        shares = (1 + np.tanh(2 * (values - center) / width)) / 2  # PS3.3 C.11.2.1.3.1, without overflow
    elif window:
        center, width = window
        shares = (values - center) / width + 0.5
    else:
        return stretch_to_8_bits(values)
    grey: Grey = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return grey


def _window(dataset: "Dataset") -> tuple[float, float] | None:
    """Center and width of the first window; None without one that has a width."""
    centers, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    if not centers or not widths:
        return None
    # LINEAR, the default, counts whole grey values from first to last (PS3.3 C.11.2.1.2.1).
    excess = 0 if _word(dataset, "VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID") else 1
    center, width = centers[0] - excess / 2, widths[0] - excess
    return (center, width) if width > 0 else None


def _look_up(values: NDArray[np.float32], lut: "Dataset") -> NDArray[np.float32]:
    """Values through a lookup table; those beyond its ends take its first or last entry."""
    entries, first, _ = lut.LUTDescriptor
    entries = entries or 2**16  # the field has 16 bits
    table: NDArray[Any] = np.frombuffer(lut.LUTData, "<u2") if isinstance(lut.LUTData, bytes) else np.array(lut.LUTData)
    if len(table) < entries:  # two entries of 8 bits in a word
        table = table.astype("<u2").view(np.uint8)
    if len(table) < entries:
        raise ValueError(f"a lookup table of {entries} entries holds {len(table)}")
    found: NDArray[np.float32] = table.astype(np.float32)[np.clip(values - first, 0, entries - 1).astype(np.int32)]
    return found


def _is_inverted(dataset: "Dataset") -> bool:
    """Whether low values are to be shown bright; the standard has both words agree, files sometimes have one."""
    shape = _word(dataset, "PresentationLUTShape")
    return dataset.PhotometricInterpretation == "MONOCHROME1" or shape == "INVERSE"


def _spacing(dataset: "Dataset") -> Spacing | None:
    """Millimetres from row to row and column to column, in the patient where the file tells, else at the detector."""
    in_patient, at_detector = (_lengths(dataset, key) for key in ("PixelSpacing", "ImagerPixelSpacing"))
    if in_patient or not at_detector:
        return in_patient
    magnifications = _numbers(dataset, "EstimatedRadiographicMagnificationFactor")
    magnification = magnifications[0] if magnifications and magnifications[0] > 0 else 1.0
    return at_detector[0] / magnification, at_detector[1] / magnification


def _lengths(dataset: "Dataset", keyword: str) -> Spacing | None:
    lengths = _numbers(dataset, keyword)
    return (lengths[0], lengths[1]) if len(lengths) == 2 and min(lengths) > 0 else None


def _numbers(dataset: "Dataset", keyword: str) -> list[float]:
    """The numbers of an element; none if it is missing or one of them is no finite number."""
    try:
        numbers = np.ravel(np.asarray(dataset.get(keyword), float)).tolist()
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _word(dataset: "Dataset", keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()
