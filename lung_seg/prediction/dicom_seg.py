"""The lungs of a DICOM radiograph as a DICOM Segmentation, which archives and viewers show on top of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lung_seg import __version__
from lung_seg.errors import UnusableFileError
from lung_seg.files import atomic_path
from lung_seg.raw.dicom import open_dicom, quiet_pydicom, reading_dicom
from lung_seg.raw.masks import Mask, size_text

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from pydicom import Dataset

LUNGS = (("Right lung", "3341006"), ("Left lung", "44029006"))  # SNOMED CT codes
ANATOMICAL_STRUCTURE = ("91723000", "SCT", "Anatomical Structure")
ARTIFICIAL_INTELLIGENCE = ("123110", "DCM", "Artificial Intelligence")
REFERENCED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# Attributes that a radiograph must have but may leave empty; published sets were often stripped of them.
MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)


def write_dicom_seg(path: Path, radiograph_path: Path, right: Mask, left: Mask, corrected: bool = False) -> None:
    """Write the lungs (H, W) of a DICOM radiograph as two binary segments of a Segmentation that references it.

    The segments say whether a person ``corrected`` them.

    Raises:
        UserError: the radiograph is not DICOM, cannot be referenced or has another size, or highdicom is missing.
    """
    with quiet_pydicom():
        with reading_dicom(radiograph_path):
            radiograph = open_dicom(radiograph_path)
            missing = [keyword for keyword in REFERENCED if not radiograph.get(keyword)]
            if missing:
                raise UnusableFileError(f"it has no {missing[0]}, which a segmentation must refer to")
            if not right.shape == left.shape == (radiograph.Rows, radiograph.Columns):
                sizes = f"{size_text(right)} and {size_text(left)}"
                raise UnusableFileError(f"it is {radiograph.Columns}x{radiograph.Rows}, but its masks are {sizes}")
            segmentation = _segmentation(radiograph, right, left, corrected)
        with atomic_path(path) as temporary:
            segmentation.save_as(temporary)


def _segmentation(radiograph: "Dataset", right: Mask, left: Mask, corrected: bool) -> "Segmentation":
    from highdicom import UID, AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.sr import CodedConcept

    for keyword in MAY_BE_EMPTY:
        if keyword not in radiograph:
            setattr(radiograph, keyword, "")
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=CodedConcept(*ANATOMICAL_STRUCTURE),
            segmented_property_type=CodedConcept(code, "SCT", label),
            algorithm_type="SEMIAUTOMATIC" if corrected else "AUTOMATIC",
            algorithm_identification=AlgorithmIdentificationSequence(
                name="lung_seg", version=__version__, family=CodedConcept(*ARTIFICIAL_INTELLIGENCE)
            ),
        )
        for number, (label, code) in enumerate(LUNGS, start=1)
    ]
    return Segmentation(
        source_images=[radiograph],
        pixel_array=np.stack([right, left], axis=-1)[np.newaxis].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=UID(),
        series_number=1,
        series_description="Lungs",
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="lung_seg",
        manufacturer_model_name="lung_seg",
        software_versions=__version__,
        device_serial_number="0",  # must not be empty
        content_label="LUNGS",
        omit_empty_frames=False,  # a lung that was not found is an empty segment, not a missing one
    )
