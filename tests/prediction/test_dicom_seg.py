import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, uid

from lung_seg.errors import UserError
from lung_seg.prediction.dicom_seg import write_dicom_seg
from tests.layouts import draw_chest, write_dicom, write_image

GREY, RIGHT, LEFT = draw_chest(0, 40, 30)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return tmp_path / "film.dcm"


def test_lungs_are_written_as_a_segmentation_of_their_radiograph(tmp_path, film):
    write_dicom(film, GREY, PatientName="A^B", StudyDate="20200101")
    path = tmp_path / "out" / "seg.dcm"

    write_dicom_seg(path, film, RIGHT, LEFT)

    radiograph, written = dcmread(film), dcmread(path)
    assert (written.SOPClassUID, written.SegmentationType) == (uid.SegmentationStorage, "BINARY")
    assert np.array_equal(written.pixel_array.astype(bool), [RIGHT, LEFT])
    assert [segment.SegmentLabel for segment in written.SegmentSequence] == ["Right lung", "Left lung"]
    codes = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in written.SegmentSequence]
    assert [(code.CodingSchemeDesignator, code.CodeValue) for code in codes] == [
        ("SCT", "3341006"),
        ("SCT", "44029006"),
    ]
    categories = [segment.SegmentedPropertyCategoryCodeSequence[0] for segment in written.SegmentSequence]
    families = [
        segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0]
        for segment in written.SegmentSequence
    ]
    assert {(code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning) for code in [*categories, *families]} == {
        ("SCT", "91723000", "Anatomical Structure"),
        ("DCM", "123110", "Artificial Intelligence"),
    }
    assert {(s.SegmentAlgorithmType, s.SegmentAlgorithmName) for s in written.SegmentSequence} == {
        ("AUTOMATIC", "lung_seg")
    }
    frames = [frame.SegmentIdentificationSequence[0] for frame in written.PerFrameFunctionalGroupsSequence]
    assert [frame.ReferencedSegmentNumber for frame in frames] == [1, 2]
    (series,) = written.ReferencedSeriesSequence
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == radiograph.SOPInstanceUID
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
        assert written[keyword].value == radiograph[keyword].value
    assert written.SOPInstanceUID != radiograph.SOPInstanceUID
    assert [file.name for file in path.parent.iterdir()] == ["seg.dcm"]


def test_a_lung_that_was_not_found_is_a_segment_without_pixels_and_nothing_is_logged(tmp_path, film, caplog):
    write_dicom(film, GREY)
    caplog.set_level("INFO")

    write_dicom_seg(tmp_path / "seg.dcm", film, np.zeros_like(RIGHT), LEFT)

    assert np.array_equal(dcmread(tmp_path / "seg.dcm").pixel_array.astype(bool), [np.zeros_like(RIGHT), LEFT])
    assert not caplog.records


@pytest.mark.parametrize("elements", [{"PatientID": None}, {"FrameOfReferenceUID": uid.generate_uid()}])
def test_radiographs_stripped_of_the_patient_or_with_a_frame_of_reference_are_referred_to(tmp_path, film, elements):
    write_dicom(film, GREY, **elements)

    write_dicom_seg(tmp_path / "seg.dcm", film, RIGHT, LEFT)

    assert dcmread(tmp_path / "seg.dcm").NumberOfFrames == 2


def test_a_segmentation_needs_a_dicom_radiograph_of_its_size(tmp_path, film):
    write_dicom(film, GREY, SeriesInstanceUID=None)
    write_image(tmp_path / "film.png", GREY)
    write_dicom(tmp_path / "other.dcm", GREY.T.copy())

    with pytest.raises(UserError, match=r"film\.dcm cannot be used .*it has no SeriesInstanceUID"):
        write_dicom_seg(tmp_path / "seg.dcm", film, RIGHT, LEFT)
    with pytest.raises(UserError, match=r"film\.png cannot be used"):
        write_dicom_seg(tmp_path / "seg.dcm", tmp_path / "film.png", RIGHT, LEFT)
    with pytest.raises(UserError, match=r"other\.dcm .*it is 40x30, but its masks are 30x40 and 30x40"):
        write_dicom_seg(tmp_path / "seg.dcm", tmp_path / "other.dcm", RIGHT, LEFT)
    assert not (tmp_path / "seg.dcm").exists()


def test_without_highdicom_the_remedy_is_named(tmp_path, film, monkeypatch):
    write_dicom(film, GREY)
    for name in [name for name in sys.modules if name.startswith("highdicom")] + ["highdicom"]:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(UserError, match=r'needs highdicom.*\n.*pip install "lung_seg\[dicom\]"'):
        write_dicom_seg(tmp_path / "seg.dcm", film, RIGHT, LEFT)
