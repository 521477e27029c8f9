"""Radiographs in their own depth, for viewers with a window, and what a DICOM header says of the patient."""

from pathlib import Path

import numpy as np
import pytest

from lung_seg.raw.dicom import read_patient
from lung_seg.raw.radiograph import FullDepth, open_full_depth, read_radiograph
from tests.layouts import draw_chest, write_deep_png, write_dicom, write_image, write_tiff

CHEST = draw_chest(0, 30, 20)[0].astype(np.uint16) * 16 + 5


def full_depth(path: Path, inverted: bool = False) -> FullDepth:
    return open_full_depth(path, read_radiograph(path), inverted)


def test_deep_grey_images_keep_their_values(tmp_path: Path) -> None:
    write_deep_png(tmp_path / "film.png", CHEST)
    write_tiff(tmp_path / "film.tif", 0xFFFF - CHEST, t262=0, t274=3)  # white is zero; upside down
    np.testing.assert_array_equal(full_depth(tmp_path / "film.png").values, CHEST)
    np.testing.assert_array_equal(full_depth(tmp_path / "film.tif").values, CHEST[::-1, ::-1])
    np.testing.assert_array_equal(full_depth(tmp_path / "film.png", inverted=True).values, CHEST.max() - CHEST)


def test_the_ends_of_the_displayed_grey_are_found(tmp_path: Path) -> None:
    write_deep_png(tmp_path / "film.png", CHEST)
    grey = read_radiograph(tmp_path / "film.png")
    _, low, high = full_depth(tmp_path / "film.png")
    assert (low, high) == (CHEST[grey > 0].min(), CHEST[grey < 255].max())


@pytest.mark.parametrize("values", [draw_chest(0, 30, 20)[0], draw_chest(0, 30, 20)[0].astype("f4") / 7])
def test_other_images_have_no_more_than_eight_bits(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "film.tif"
    write_tiff(path, values)
    np.testing.assert_array_equal(full_depth(path).values, read_radiograph(path))
    assert full_depth(path)[1:] == (0, 255)


def test_a_colour_image_has_no_more_than_eight_bits(tmp_path: Path) -> None:
    write_image(tmp_path / "film.png", np.dstack([draw_chest(0, 30, 20)[0]] * 3))
    assert full_depth(tmp_path / "film.png").values.dtype == np.uint8


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_stored_values_of_dicom_begin_at_0_without_padding(tmp_path: Path, photometric: str) -> None:
    stored = CHEST.copy()
    stored[:3] = 4000  # the padding, above all others
    elements = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 4000, "BitsStored": 12}
    write_dicom(tmp_path / "film.dcm", stored.clip(0, 4000), **elements)
    inner = CHEST[3:].astype(int)
    expected = np.zeros(CHEST.shape, int)
    expected[3:] = inner.max() - inner if photometric == "MONOCHROME1" else inner - inner.min()
    np.testing.assert_array_equal(full_depth(tmp_path / "film.dcm").values, expected)


@pytest.mark.parametrize(("slope", "intercept"), [(-1, 4095), (1, -1024), (-0.5, -10)])
def test_a_rescale_slope_below_0_turns_the_stored_values_of_dicom(tmp_path: Path, slope: float, intercept: int) -> None:
    write_dicom(tmp_path / "film.dcm", CHEST, BitsStored=12, RescaleSlope=slope, RescaleIntercept=intercept)
    stored = CHEST.astype(int)
    darkest = stored.ravel()[(stored * slope + intercept).argmin()]
    np.testing.assert_array_equal(full_depth(tmp_path / "film.dcm").values, np.abs(stored - darkest))


def test_dicom_of_eight_bits_has_no_more(tmp_path: Path) -> None:
    write_dicom(tmp_path / "film.dcm", draw_chest(0, 30, 20)[0])
    assert full_depth(tmp_path / "film.dcm").values.dtype == np.uint8


def test_a_header_tells_of_the_patient(tmp_path: Path) -> None:
    write_dicom(tmp_path / "film.dcm", CHEST, PatientAge="040Y", PatientName="Roe^Jane", InstitutionName="")
    expected = {"PatientName": "Roe^Jane", "PatientID": "P7", "PatientAge": "040Y", "Modality": "DX"}
    assert read_patient(tmp_path / "film.dcm") == expected | {"ViewPosition": "PA"}
