"""What a DICOM header says of a radiograph: whether it is a frontal chest radiograph, its sides and its spacing."""

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from lung_seg.errors import UnusableFileError
from lung_seg.raw.image_file import Spacing, check_pixel_count

if TYPE_CHECKING:
    from pydicom import Dataset

# DR and SC are not in the standard, but occur in files. Converters of films and screenshots write OT, and many public
# sets have lost their modality: only the user can tell what these show.
RADIOGRAPHY = frozenset({"CR", "DX", "RG", "DR", "OT", "SC", ""})
LATERAL_VIEW = re.compile(r"^(LL|RL|[LR]?LAT(ERAL)?|(LEFT|RIGHT|LT|RT|L|R)[ _-]+LAT(ERAL)?|LAT(ERAL)?[ _-].*)$")
# Lateral, left lateral, right lateral and lateral-medial, in SNOMED CT and its older codes (PS3.16 CID 4010).
LATERAL_CODES = frozenset(
    {"399067008", "399173006", "399198007", "399352003", "R-102CD", "R-10236", "R-10232", "R-10228"}
)
AXES = ("LR", "AP", "HF")  # left and right, anterior and posterior, head and foot
DIRECTION = re.compile("[LRAPHF]{0,3}")
FRONTAL_ONLY = "but the network is trained on frontal ones"
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
# The field is filled in by hand, in any language ("TORAX", "PORT CHEST"), so the other parts are listed, not the chest.
OTHER_BODY_PARTS = (
    "ABDOMEN ANKLE ARM BREAST CALCANEUS CLAVICLE COCCYX CSPINE ELBOW EXTREMITY FEMUR FINGER FOOT FOREARM HAND HEAD "
    "HEEL HIP HUMERUS JAW KNEE LEG LSPINE MANDIBLE MAXILLA NECK NOSE ORBIT PATELLA PELVIS SACRUM SCAPULA SHOULDER "
    "SINUS SKULL SPINE SSPINE THIGH TOE TSPINE WRIST ZYGOMA"
)
REQUIRED_ELEMENTS = ("PixelData", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
SAME_SPACING = 0.005  # relative: the two are often rounded differently
SAME_MAGNIFICATION = 0.05
MAX_MAGNIFICATION = 2.0  # of distances that are believed


def check_header(dataset: "Dataset", max_megapixels: int) -> None:
    """Refuse what is no single grey frontal chest radiograph, and repair what has only one meaning."""
    modality, view, part = (text(dataset, key) for key in ("Modality", "ViewPosition", "BodyPartExamined"))
    if modality not in RADIOGRAPHY:
        raise UnusableFileError(f"its Modality is {modality}, not CR, DX or RG")
    if LATERAL_VIEW.search(view):
        raise UnusableFileError(f"it is a lateral view (ViewPosition {view}), {FRONTAL_ONLY}")
    codes = {text(code, "CodeValue") for code in items(dataset, "ViewCodeSequence")}
    if codes & LATERAL_CODES:
        code = ", ".join(sorted(codes & LATERAL_CODES))
        raise UnusableFileError(f"it is a lateral view (View Code {code}), {FRONTAL_ONLY}")
    if part in OTHER_BODY_PARTS.split():
        raise UnusableFileError(f"it shows another part of the body (BodyPartExamined {part})")
    missing = [keyword for keyword in REQUIRED_ELEMENTS if dataset.get(keyword) is None]
    if missing:
        raise UnusableFileError(f"it holds no {missing[0]}")
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"):
        if not isinstance(dataset[keyword].value, int) or dataset[keyword].value < 1:
            raise UnusableFileError(f"its {keyword} is {dataset[keyword].value}, not a number above 0")
    check_pixel_count(dataset.Rows * dataset.Columns, max_megapixels)
    frames = numbers(dataset, "NumberOfFrames")
    if frames and frames[0] > 1:
        raise UnusableFileError(f"it holds {frames[0]:.0f} frames, not one")
    if dataset.BitsAllocated not in (8, 16):  # GDCM crashes the process on more
        raise UnusableFileError(f"it has {dataset.BitsAllocated} bits per pixel, not 8 or 16")
    interpretation = text(dataset, "PhotometricInterpretation").replace(" ", "")
    interpretation = {"PALETTECOLOR": "PALETTE COLOR"}.get(interpretation, interpretation)
    if interpretation not in MONOCHROME and not interpretation.startswith(("RGB", "YBR", "PALETTE")):
        raise UnusableFileError(f"its PhotometricInterpretation is {interpretation}, neither grey nor a known colour")
    if dataset.SamplesPerPixel == 3 and interpretation in MONOCHROME:
        interpretation = "RGB"
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


def is_mirrored(dataset: "Dataset") -> bool:
    """Whether the patient's right side is on the image's right side; turned and lateral radiographs are refused.

    PatientOrientation says where rows and columns run to in the patient, by the letters of left, right, head, foot,
    anterior and posterior, the main direction first (PS3.3 C.7.6.1.1.1). It is the patient's side, whichever way the
    rays went, and it is of the image as stored: what FieldOfViewHorizontalFlip tells has already happened.
    """
    found = dataset.get("PatientOrientation")
    words = [str(word).strip().upper() for word in ([found] if isinstance(found, str) else found or [])]
    axes = [next((axis for axis in AXES if word[:1] in axis), "") for word in words if word]
    if any(len(set(word) & set(axis)) > 1 for word in words for axis in AXES) or len(set(axes)) < len(axes):
        return False  # contradicts itself, as does "PA", which is a view
    if any(not DIRECTION.fullmatch(word) for word in words):
        return False
    rows, columns = (*(word[:1] for word in words), "", "")[:2]
    stated = "\\".join(words)
    if "A" in rows + columns or "P" in rows + columns:
        view = "it is a lateral view" if rows in ("A", "P") else "it is no frontal view"
        raise UnusableFileError(f"{view} (PatientOrientation {stated}), {FRONTAL_ONLY}")
    if rows in ("H", "F") or columns in ("L", "R", "H"):
        raise UnusableFileError(
            f"it is stored turned (PatientOrientation {stated}, upright is L\\F); turn it upright or correct its header"
        )
    return rows == "R"


def spacing_mm(dataset: "Dataset") -> tuple[Spacing | None, tuple[str, ...]]:
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
    if spacing and text(dataset, "PixelSpacingCalibrationType"):
        return spacing, ()
    if not detector:
        return None, ()
    magnification, remarks = _magnification(dataset)
    return (detector[0] / magnification, detector[1] / magnification), remarks


def _magnification(dataset: "Dataset") -> tuple[float, tuple[str, ...]]:
    """How much larger the patient is on the detector, by the stated factor, else by the distances of the tube."""
    stated, to_detector, to_patient = (
        next((number for number in numbers(dataset, keyword) if number > 0), None)
        for keyword in (
            "EstimatedRadiographicMagnificationFactor",
            "DistanceSourceToDetector",
            "DistanceSourceToPatient",
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
    found = numbers(dataset, keyword)
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None


def numbers(dataset: "Dataset", keyword: str) -> list[float]:
    """The numbers of an element; empty if it is missing or one of them is not a finite number."""
    try:
        numbers = np.ravel(np.asarray(dataset.get(keyword), float)).tolist()
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def items(dataset: "Dataset", keyword: str) -> list["Dataset"]:
    """The items of a sequence, none if it is missing or no sequence."""
    items = dataset.get(keyword)
    return [] if items is None or isinstance(items, str | bytes) else list(items)


def text(dataset: "Dataset", keyword: str) -> str:
    """An element as upper-case text without blanks around it; empty if it is missing."""
    return str(dataset.get(keyword) or "").strip().upper()
