"""The lungs of a DICOM radiograph as a DICOM Segmentation, which archives and viewers show on top of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lung_seg import __version__
from lung_seg.files import atomic_path
from lung_seg.raw.dicom import open_dicom, quiet_pydicom, reading_dicom
from lung_seg.raw.masks import Mask, size_text

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom import Dataset

LUNGS = (("Right lung", "3341006"), ("Left lung", "44029006"))  # codes of SNOMED CT
REFERRED_TO = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# A radiograph must have these, be they empty; published sets were often stripped of them.
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


def write_dicom_seg(path: Path, radiograph_path: Path, right: Mask, left: Mask) -> None:
    """Write the lungs of a DICOM radiograph as the two binary segments of a Segmentation that refers to it.

    Args:
        path: the file to write.
        radiograph_path: the radiograph they were found in; patient and study are taken from it.
        right: the patient's right lung, (H, W) of the radiograph's own size.
        left: the patient's left lung, the same.

    Raises:
        UserError: the radiograph is no DICOM file that can be referred to or has another size, or highdicom is missing.
    """
    with quiet_pydicom():
        with reading_dicom(radiograph_path):
            segmentation = _segmentation(_source(radiograph_path, right, left), right, left)
        with atomic_path(path) as temporary:
            segmentation.save_as(temporary)


def _source(path: Path, right: Mask, left: Mask) -> "Dataset":
    """Header of the radiograph, complete enough to be referred to."""
    radiograph = open_dicom(path)
    missing = [keyword for keyword in REFERRED_TO if not radiograph.get(keyword)]
    if missing:
        raise ValueError(f"it has no {missing[0]}, which a segmentation must refer to")
    if not right.shape == left.shape == (radiograph.Rows, radiograph.Columns):
        sizes = f"{size_text(right)} and {size_text(left)}"
        raise ValueError(f"it is {radiograph.Columns}x{radiograph.Rows}, but its masks are {sizes}")
    for keyword in MAY_BE_EMPTY:
        if keyword not in radiograph:
            setattr(radiograph, keyword, "")
    return radiograph


def _segmentation(radiograph: "Dataset", right: Mask, left: Mask) -> "Segmentation":
    from highdicom.seg import Segmentation
    from pydicom.uid import generate_uid

    return Segmentation(
        source_images=[radiograph],
        pixel_array=np.stack([right, left], axis=-1)[np.newaxis].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[_description(number, *lung) for number, lung in enumerate(LUNGS, start=1)],
        series_instance_uid=generate_uid(),
        series_number=1,
        series_description="Lungs",
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="lung_seg",
        manufacturer_model_name="lung_seg",
        software_versions=__version__,
        device_serial_number="0",  # must not be empty
        content_label="LUNGS",
        omit_empty_frames=False,  # a lung that was not found is a segment without pixels, not a missing one
    )


def _description(number: int, label: str, code: str) -> "SegmentDescription":
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=Code(code, "SCT", label),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name="lung_seg", version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
