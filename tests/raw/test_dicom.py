import logging
import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_file_meta_info

from lung_seg.errors import UserError
from lung_seg.raw.dicom import is_dicom, read_patient_id
from lung_seg.raw.radiograph import open_radiograph, read_radiograph, refuse_blank
from tests.layouts import broken_copies, draw_chest, write_dicom, write_image

GREY = draw_chest(0, 40, 30)[0]
WHOLE_RANGE = {"WindowCenter": 128, "WindowWidth": 256}  # of 8 bits: shows every value as itself
WINDOW_12 = {"WindowCenter": 2048, "WindowWidth": 4096}
DEEP = GREY.astype(np.uint16) * 16
RAMP = np.array([[0, 1000, 2000, 3000, 4095]], np.uint16)


def shown(path: Path, values: np.ndarray, **elements) -> np.ndarray:
    write_dicom(path, values, **elements)
    return read_radiograph(path)


def stretched(values: np.ndarray) -> np.ndarray:
    share = (values.astype(float) - values.min()) / (float(values.max()) - values.min())
    return np.rint(share * 255).astype(np.uint8)


def lut(entries: np.ndarray, first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [entries.size % 2**16, first, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    return [item]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return tmp_path / "film.dcm"


def test_air_is_dark_whatever_the_photometric_interpretation(film):
    assert np.array_equal(shown(film, GREY, **WHOLE_RANGE), GREY)
    assert np.array_equal(shown(film, 255 - GREY, PhotometricInterpretation="MONOCHROME1", **WHOLE_RANGE), GREY)


@pytest.mark.parametrize(
    ("shape", "interpretation", "inverted"),
    [
        ("IDENTITY", "MONOCHROME2", False),
        ("INVERSE", "MONOCHROME1", True),
        ("INVERSE", "MONOCHROME2", True),
        ("IDENTITY", "MONOCHROME1", True),
    ],
)
def test_presentation_lut_shape_inverts_once(film, shape, interpretation, inverted):
    words = {"PresentationLUTShape": shape, "PhotometricInterpretation": interpretation}

    assert np.array_equal(shown(film, GREY, **words, **WHOLE_RANGE), 255 - GREY if inverted else GREY)


def test_a_user_may_say_that_a_file_is_inverted_after_all(film):
    write_dicom(film, 255 - GREY, **WHOLE_RANGE)

    assert np.array_equal(read_radiograph(film, inverted=True), GREY)


@pytest.mark.parametrize("values", [DEEP, DEEP.astype(np.int16) - 2000, GREY], ids=["unsigned", "signed", "8 bits"])
def test_without_window_the_whole_range_is_shown(film, values):
    assert np.abs(shown(film, values).astype(int) - stretched(values)).max() <= 1


def test_what_lies_in_unused_high_bits_is_not_seen(film):
    assert np.array_equal(shown(film, RAMP + 0xA000, BitsStored=12), shown(film, RAMP))


@pytest.mark.parametrize(
    ("function", "center", "width", "greys"),
    [
        (None, 2048, 4096, [0, 62, 125, 187, 255]),
        ("LINEAR", 2000.5, 2001, [0, 0, 128, 255, 255]),  # from 1000 to 3000
        ("LINEAR_EXACT", 2000, 2000, [0, 0, 128, 255, 255]),
        ("LINEAR_EXACT", 2000, 4000, [0, 64, 128, 191, 255]),
        ("SIGMOID", 2000, 1000, [0, 5, 128, 250, 255]),  # 255 / (1 + e^±4)
        ("SIGMOID", 2000, 0.5, [0, 0, 128, 255, 255]),  # does not overflow
        (None, [2048, 10], [4096, 5], [0, 62, 125, 187, 255]),  # the first of two
    ],
)
def test_windows(film, function, center, width, greys):
    grey = shown(film, RAMP, BitsStored=12, WindowCenter=center, WindowWidth=width, VOILUTFunction=function)

    assert np.abs(grey.astype(int) - greys).max() <= (1 if 128 in greys else 0)


@pytest.mark.parametrize("window", [(2000, 0), (2000, -5), (2000, 1), (None, 900), (2000, None), ("NaN", 900)])
def test_windows_that_show_nothing_are_passed_over(film, window):
    grey = shown(film, RAMP, WindowCenter=window[0], WindowWidth=window[1])

    assert np.array_equal(grey, stretched(RAMP))


def test_rescaling_comes_before_the_window(film):
    values = np.array([[-100, 0, 100]], np.int16)  # -1200, -1000 and -800 after rescaling

    grey = shown(film, values, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-999.5, WindowWidth=401)

    assert grey.tolist() == [[0, 128, 255]]


def test_a_negative_slope_inverts(film):
    assert np.array_equal(shown(film, RAMP, RescaleSlope=-1, RescaleIntercept=4095), 255 - stretched(RAMP))


def test_voi_lut_is_preferred_to_the_window_and_is_constant_beyond_its_ends(film):
    values = np.array([[0, 1000, 1001, 1002, 1003, 4000]], np.uint16)
    entries = np.array([0, 65535, 13107, 26214], "<u2")

    grey = shown(film, values, VOILUTSequence=lut(entries, first=1000, bits=16), WindowCenter=5, WindowWidth=9)

    assert grey.tolist() == [[0, 0, 255, 51, 102, 102]]


@pytest.mark.parametrize("packed", [True, False])
def test_voi_luts_of_8_bits_have_one_or_two_entries_in_a_word(film, packed):
    entries = np.arange(255, -1, -1).astype("u1" if packed else "<u2")

    assert np.array_equal(shown(film, GREY, VOILUTSequence=lut(entries, first=0, bits=8)), 255 - GREY)


def test_a_voi_lut_of_8_bits_may_have_more_than_256_entries(film):
    entries = (np.arange(4096) // 16).astype("<u2")

    assert np.array_equal(shown(film, RAMP, VOILUTSequence=lut(entries, first=0, bits=8)), RAMP // 16)


def test_a_voi_lut_may_have_all_entries_and_begin_below_zero(film):
    values = np.array([[-32768, 0, 32767]], np.int16)
    entries = np.arange(2**16).astype("<u2")

    assert shown(film, values, VOILUTSequence=lut(entries, -32768, 16)).tolist() == [[0, 128, 255]]


def test_modality_lut_comes_first_and_instead_of_rescaling(film):
    values = np.array([[0, 1, 2]], np.uint8)
    table = lut(np.array([300, 200, 100], "<u2"), first=0, bits=16)

    grey = shown(film, values, ModalityLUTSequence=table, WindowCenter=200.5, WindowWidth=201)

    assert grey.tolist() == [[255, 128, 0]]


def test_a_lut_that_is_too_short_is_refused(film):
    table = lut(np.arange(4, dtype="<u2"), first=0, bits=16)
    table[0].LUTDescriptor = [200, 0, 16]

    with pytest.raises(UserError, match=r"film\.dcm cannot be used .*a lookup table of 200 entries holds"):
        shown(film, GREY, VOILUTSequence=table)


def test_of_more_frames_than_a_file_says_the_first_is_read(film):
    assert np.array_equal(shown(film, GREY, PixelData=GREY.tobytes() * 2, **WHOLE_RANGE), GREY)


def compress(path: Path, syntax: str, frame: bytes) -> None:
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)


def encoded(values: np.ndarray, image_format: str, **options) -> bytes:
    file = BytesIO()
    Image.fromarray(values).save(file, image_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("values", [GREY, DEEP], ids=["8 bits", "12 bits"])
def test_compressed_without_loss(film, values, syntax):
    expected = shown(film, values)
    dataset = dcmread(film)
    dataset.compress(syntax)
    dataset.save_as(film)

    assert np.array_equal(read_radiograph(film), expected)


@pytest.mark.parametrize("values", [GREY, DEEP], ids=["8 bits", "12 bits"])
def test_jpeg_2000(film, values):
    expected = shown(film, values)
    compress(film, uid.JPEG2000Lossless, encoded(values, "JPEG2000", no_jp2=True))

    assert np.array_equal(read_radiograph(film), expected)


def test_jpeg_lossless(film):
    import gdcm

    expected = shown(film, DEEP, BitsStored=12)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(film))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(film))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert dcmread(film).file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1

    assert np.array_equal(read_radiograph(film), expected)


def test_jpeg(film):
    smooth = np.asarray(Image.fromarray(GREY).reduce(4).resize((30, 40), Image.Resampling.BILINEAR))
    write_dicom(film, smooth, **WHOLE_RANGE)
    compress(film, uid.JPEGBaseline8Bit, encoded(smooth, "JPEG", quality=95))

    assert np.abs(read_radiograph(film).astype(int) - smooth).max() < 12


@pytest.mark.parametrize(
    ("elements", "spacing_mm"),
    [
        ({}, None),
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.4, 0.3]}, (0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.3, 0.15], "EstimatedRadiographicMagnificationFactor": 1.5}, (0.2, 0.1)),
        ({"PixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 1.5}, (0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 0}, (0.2, 0.1)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"PixelSpacing": [0.2, -0.1]}, None),
        ({"PixelSpacing": ["NaN", "0.1"]}, None),
        ({"PixelSpacing": [0.2]}, None),
        ({"PixelSpacing": None}, None),
    ],
)
def test_spacing_is_of_rows_then_columns(film, elements, spacing_mm):
    write_dicom(film, GREY, **elements)

    assert open_radiograph(film).spacing_mm == pytest.approx(spacing_mm)


@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "OT", "", None, "cr "])
def test_radiographs_of_any_machine_are_read(film, modality):
    assert shown(film, GREY, Modality=modality).shape == (40, 30)


@pytest.mark.parametrize("part", ["TORAX", "PORT CHEST", "", None, "RIBS"])
def test_chests_of_any_language_are_read(film, part):
    assert shown(film, GREY, BodyPartExamined=part).shape == (40, 30)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, "its Modality is CT, not CR, DX or RG"),
        ({"Modality": "MR"}, "its Modality is MR, not"),
        ({"Modality": "US"}, "its Modality is US, not"),
        ({"Modality": "MG"}, "its Modality is MG, not"),
        ({"Modality": "SEG"}, "its Modality is SEG, not"),
        ({"Modality": "PR", "PixelData": None}, "its Modality is PR, not"),
        ({"Modality": "SR", "PixelData": None}, "its Modality is SR, not"),
        ({"Modality": "HMM"}, "its Modality is HMM, not"),
        ({"ViewPosition": "LL"}, r"a lateral view \(ViewPosition LL\)"),
        ({"ViewPosition": "LATERAL"}, "a lateral view"),
        ({"BodyPartExamined": "ABDOMEN"}, r"another part of the body \(BodyPartExamined ABDOMEN\)"),
        ({"NumberOfFrames": 3}, "it holds 3 frames"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, r"it is in colour \(RGB\)"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"it is in colour \(PALETTE COLOR\)"),
        ({"BitsAllocated": 32}, "it has 32 bits per pixel, not 8 or 16"),
        ({"PixelData": None}, "it holds no PixelData"),
        ({"Rows": None}, "it holds no Rows"),
    ],
)
def test_other_images_than_frontal_chest_radiographs_are_refused_with_the_reason(film, elements, reason):
    with pytest.raises(UserError, match=rf"film\.dcm cannot be used as a chest radiograph: .*{reason}"):
        shown(film, GREY, **elements)


def test_an_overlong_string_is_truncated_in_the_message(film):
    with pytest.raises(UserError) as refused:
        shown(film, GREY, Modality="ZZ\x1b[31m\x85" + 3000 * "A")

    assert "Modality is ZZ[31MAA" in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < len(str(film)) + 300


def test_a_small_file_that_claims_to_be_huge_is_refused_before_it_is_decoded(film):
    with pytest.raises(UserError, match="it has 81 megapixels, over max_megapixels=80"):
        shown(film, GREY, Rows=60_000, Columns=80_000_000 // 60_000 + 1)


def test_a_deflated_file_is_refused_before_it_is_inflated(film):
    write_dicom(film, GREY)
    dataset = dcmread(film)
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(film)

    with pytest.raises(UserError, match="it is deflated"):
        read_radiograph(film)


def whole_files(folder: Path) -> list[Path]:
    paths = [folder / f"{name}.dcm" for name in ("raw", "rle", "jls", "j2k", "jpg")]
    for path in paths:
        write_dicom(path, GREY, WindowCenter=100, WindowWidth=200, RescaleSlope=1, RescaleIntercept=0)
    for path, syntax in zip(paths[1:3], (uid.RLELossless, uid.JPEGLSLossless), strict=True):
        dataset = dcmread(path)
        dataset.compress(syntax)
        dataset.save_as(path)
    compress(paths[3], uid.JPEG2000Lossless, encoded(GREY, "JPEG2000", no_jp2=True))
    compress(paths[4], uid.JPEGBaseline8Bit, encoded(GREY, "JPEG"))
    return paths


def test_truncated_and_corrupt_files_are_read_or_named_but_never_crash(tmp_path, caplog):
    rng = np.random.default_rng(0)
    refused = 0
    for whole in whole_files(tmp_path / "whole"):
        path, content = tmp_path / whole.name, whole.read_bytes()
        for broken in broken_copies(content, rng):
            path.write_bytes(broken)
            try:
                read_radiograph(path)
            except UserError as error:
                assert str(path) in str(error)  # noqa: PT017
                assert len(str(error).splitlines()) <= 2  # noqa: PT017
                refused += 1
    assert refused > 200
    assert not caplog.records


def test_gdcm_decodes_only_what_no_other_decoder_can(tmp_path, monkeypatch):
    frames = []
    monkeypatch.setattr("pydicom.pixels.decoders.gdcm.gdcm", SimpleNamespace(Fragment=lambda: frames.append("gdcm")))

    assert all(read_radiograph(path).shape == (40, 30) for path in whole_files(tmp_path))
    assert not frames


@pytest.mark.parametrize("content", [b"", b"a letter, not a film\n" * 9, b"\0" * 128 + b"DICM", b"\0" * 500])
def test_a_file_that_is_no_dicom_is_named(film, content):
    film.write_bytes(content)

    with pytest.raises(UserError, match=r"film\.dcm cannot be used as a chest radiograph: \w"):
        read_radiograph(film)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "folder.dcm").mkdir()
    with pytest.raises(UserError, match=r"film\.dcm does not exist"):
        read_radiograph(tmp_path / "film.dcm")
    with pytest.raises(UserError, match=r"folder\.dcm cannot be used"):
        read_radiograph(tmp_path / "folder.dcm")


@pytest.mark.parametrize("name", ["IM000001", "1.2.840.113.7", "film.png", "film.DICOM"])
def test_dicom_is_known_by_its_content_whatever_its_name(tmp_path, name):
    path = tmp_path / name

    assert np.array_equal(shown(path, GREY, **WHOLE_RANGE), GREY)
    assert is_dicom(path)


def test_other_files_are_no_dicom(tmp_path):
    write_image(tmp_path / "film.png", GREY)
    (tmp_path / "empty").touch()

    assert not any(is_dicom(tmp_path / name) for name in ("film.png", "empty", "gone", "."))
    assert open_radiograph(tmp_path / "film.png").spacing_mm is None


def test_without_pydicom_images_are_read_and_dicom_names_the_remedy(tmp_path, film, monkeypatch):
    write_dicom(film, GREY)
    write_image(tmp_path / "film.png", GREY)
    monkeypatch.setitem(sys.modules, "pydicom", None)

    assert np.array_equal(read_radiograph(tmp_path / "film.png"), GREY)
    with pytest.raises(
        UserError, match=r'film\.dcm is DICOM, which needs pydicom.*\n.*pip install "lung_seg\[dicom\]"'
    ):
        read_radiograph(film)


def test_only_pydicoms_own_warnings_are_silenced(tmp_path):
    paths = [tmp_path / f"{number}.dcm" for number in range(8)]
    for path in paths:
        write_dicom(path, GREY, PixelData=GREY.tobytes() + bytes(40))
    before = list(warnings.filters)
    with pytest.warns(UserWarning, match="pixel data"):
        assert dcmread(paths[0]).pixel_array.shape == (40, 30)

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(read_radiograph, paths))) == 8
    assert list(warnings.filters) == before
    assert logging.getLogger("pydicom").isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(
    ("orientation", "mirrored"),
    [
        (["L", "F"], False),
        (["LF", "FR"], False),  # turned a little: the main direction comes first
        (["R", "F"], True),
        (["RF", "FL"], True),
        (["r", "f"], True),
        (["R"], True),
        (["R", ""], True),
        (["", "F"], False),
        (None, False),
        ("", False),
        (["X", "Y"], False),
        (["L", "R"], False),  # contradict themselves
        (["AP"], False),
        (["PA"], False),
    ],
)
@pytest.mark.parametrize("view", ["PA", "AP", None])
def test_rows_that_run_to_the_patients_right_are_mirrored_whichever_way_the_rays_went(
    film, orientation, mirrored, view
):
    write_dicom(film, GREY, PatientOrientation=orientation, ViewPosition=view, FieldOfViewHorizontalFlip="YES")

    radiograph = open_radiograph(film)

    assert radiograph.mirrored is mirrored
    assert np.array_equal(radiograph.pixels, stretched(GREY))  # where they are stored
    assert radiograph.remarks == ()


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PatientOrientation": ["A", "F"]}, r"it is a lateral view (PatientOrientation A\F)"),
        ({"PatientOrientation": ["P", "F"]}, r"it is a lateral view (PatientOrientation P\F)"),
        ({"PatientOrientation": ["AL", "F"], "ViewPosition": "PA"}, r"it is a lateral view (PatientOrientation AL\F)"),
        ({"PatientOrientation": ["L", "P"]}, r"it is no frontal view (PatientOrientation L\P)"),
        ({"PatientOrientation": ["L", "H"]}, r"it is stored turned (PatientOrientation L\H, upright is L\F); turn it"),
        ({"PatientOrientation": ["R", "H"]}, r"it is stored turned (PatientOrientation R\H, "),
        ({"PatientOrientation": ["F", "R"]}, r"it is stored turned (PatientOrientation F\R, "),
        ({"PatientOrientation": ["H", "L"]}, r"it is stored turned (PatientOrientation H\L, "),
        ({"PatientOrientation": ["FL", "RF"]}, r"it is stored turned (PatientOrientation FL\RF, "),
        ({"ViewPosition": "LLAT"}, "it is a lateral view (ViewPosition LLAT)"),
        ({"ViewPosition": "Left Lateral"}, "it is a lateral view (ViewPosition LEFT LATERAL)"),
        ({"ViewCodeSequence": "399173006"}, "it is a lateral view (View Code 399173006)"),
        ({"ViewCodeSequence": "R-10232"}, "it is a lateral view (View Code R-10232)"),
    ],
)
def test_lateral_and_turned_films_are_refused_with_what_says_so(film, elements, reason):
    if "ViewCodeSequence" in elements:
        code = Dataset()
        code.CodeValue = elements["ViewCodeSequence"]
        elements = {"ViewCodeSequence": [code], "ViewPosition": None}
    with pytest.raises(UserError, match=rf"film\.dcm cannot be used as a chest radiograph: {re.escape(reason)}"):
        shown(film, GREY, **elements)


@pytest.mark.parametrize("view", ["LLD", "RLD", "AP LATERAL DECUBITUS"])
def test_a_film_of_a_patient_lying_on_one_side_is_frontal(film, view):
    assert shown(film, GREY, ViewPosition=view).shape == (40, 30)


def padded(values: np.ndarray, padding: int) -> np.ndarray:
    return np.pad(values, 7, constant_values=padding)


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        (padded(DEEP, 65535), {"PixelPaddingValue": 65535}),
        (padded(DEEP, 0), {"PixelPaddingValue": 0, "WindowCenter": 2048, "WindowWidth": 4096, "BitsStored": 12}),
        (padded(DEEP.astype(np.int16), -32768), {"PixelPaddingValue": -32768}),
        (padded(DEEP, 65535), {"PixelPaddingValue": 65535, "BitsStored": 12}),  # in all allocated bits
        (padded(DEEP, 5000), {"PixelPaddingValue": 4900, "PixelPaddingRangeLimit": 5000}),
        (padded(DEEP, 4950), {"PixelPaddingValue": 5000, "PixelPaddingRangeLimit": 4900}),
        (padded(DEEP, 9000), {"PixelPaddingValue": 9000, "RescaleSlope": 2, "RescaleIntercept": -50}),
    ],
)
@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_change_the_film(film, values, elements, interpretation):
    padding = values == values[0, 0]
    usual = shown(film, DEEP, PhotometricInterpretation=interpretation, **{**elements, "PixelPaddingValue": None})

    grey = shown(film, values, PhotometricInterpretation=interpretation, **elements)

    assert not grey[padding].any()
    assert np.array_equal(grey[7:-7, 7:-7][~padding[7:-7, 7:-7]], usual[~padding[7:-7, 7:-7]])


@pytest.mark.parametrize(
    ("values", "written"),
    [(padded(DEEP.astype(np.int16), -2000), ("US", 63536)), (padded(DEEP, 65535), ("SS", -1))],
)
def test_padding_is_of_the_pixels_signedness_however_it_is_written(film, values, written):
    write_dicom(film, values)
    dataset = dcmread(film)
    dataset.add_new("PixelPaddingValue", *written)
    dataset.save_as(film)

    grey = read_radiograph(film)

    assert not grey[values == values[0, 0]].any()
    assert np.array_equal(grey[7:-7, 7:-7], stretched(DEEP))


def test_padding_that_would_leave_nothing_is_not_used_and_reported(film):
    write_dicom(film, DEEP, PixelPaddingValue=0, PixelPaddingRangeLimit=65535)

    radiograph = open_radiograph(film)

    assert np.array_equal(radiograph.pixels, stretched(DEEP))
    assert radiograph.remarks == ("PixelPaddingValue 0 to 65535 would leave nothing of it and is not used",)


@pytest.mark.parametrize(
    ("elements", "remark"),
    [
        (
            {"WindowCenter": 127, "WindowWidth": 255},
            "its window (center 127, width 255) leaves 100 % of the radiograph",
        ),
        (
            {"WindowCenter": 9000, "WindowWidth": 400},
            "its window (center 9000, width 400) leaves 100 % of the radiograph",
        ),
        ({"WindowCenter": 2900, "WindowWidth": 10, "VOILUTFunction": "SIGMOID"}, "of the radiograph black or white"),
        ({"WindowCenter": 32768, "WindowWidth": 65536}, "shows the radiograph in 5 of 256 grey levels"),
        (
            {"VOILUTSequence": lut(np.arange(256, dtype="<u2"), first=0, bits=8)},
            "its VOI LUT leaves 100 % of the radiograph",
        ),
    ],
)
def test_a_window_that_blanks_the_film_is_not_used_and_reported(film, elements, remark):
    write_dicom(film, DEEP, **elements)

    radiograph = open_radiograph(film)

    assert np.array_equal(radiograph.pixels, stretched(DEEP))
    assert len(radiograph.remarks) == 1
    assert remark in radiograph.remarks[0]
    assert radiograph.remarks[0].endswith(", so it is not used")


def test_after_a_window_that_blanks_the_film_the_next_one_is_tried(film):
    write_dicom(film, DEEP, BitsStored=12, WindowCenter=[127, 2048], WindowWidth=[255, 4096])

    assert np.array_equal(read_radiograph(film), shown(film, DEEP, BitsStored=12, WindowCenter=2048, WindowWidth=4096))


@pytest.mark.parametrize("surroundings", [60_000, 0])
def test_a_window_may_leave_large_surroundings_black_or_white(film, surroundings):
    noise = np.random.default_rng(0).normal(surroundings, 40, (120, 100)).clip(0, 65535).astype(np.uint16)
    noise[40:80, 30:70] = np.kron(DEEP, np.ones((1, 2), np.uint16))[:, :40] + 2000

    write_dicom(film, noise, WindowCenter=4050, WindowWidth=4100)  # 87 % lie beyond it

    radiograph = open_radiograph(film)
    assert radiograph.remarks == ()
    assert np.unique(radiograph.pixels[40:80, 30:70]).size > 100


def test_the_headers_window_can_be_left_out(film):
    write_dicom(film, DEEP, BitsStored=12, WindowCenter=2048, WindowWidth=4096)

    assert np.array_equal(read_radiograph(film, window="none"), stretched(DEEP))
    assert not np.array_equal(read_radiograph(film), stretched(DEEP))


@pytest.mark.parametrize("value", [65535, 0])
def test_a_hot_or_dead_pixel_leaves_the_film_its_grey_levels(film, value):
    values = DEEP + np.uint16(20_000)
    expected = stretched(values)
    values[3, 3] = value
    grey = shown(film, values)
    expected[3, 3] = 255 if value else 0

    assert np.abs(grey.astype(int) - expected).max() <= 1


def test_bits_below_and_above_the_stored_ones_are_not_seen(film):
    overlay = np.uint16(0x8000) * (np.arange(30, dtype=np.uint16) % 2)

    grey = shown(film, DEEP * 4 + overlay + 3, BitsStored=12, HighBit=13, **WINDOW_12)

    assert np.array_equal(grey, shown(film, DEEP, BitsStored=12, **WINDOW_12))


def test_signed_values_of_fewer_bits_than_allocated(film):
    values = DEEP.astype(np.int16) - 2048

    grey = shown(film, values.view(np.uint16) & np.uint16(0xFFF), BitsStored=12, PixelRepresentation=1)

    assert np.array_equal(grey, stretched(values))


@pytest.mark.parametrize("first", [-1000, 64536])
def test_the_first_value_of_a_voi_lut_may_be_negative_after_rescaling(film, first):
    entries = (np.arange(2000) * 32).astype("<u2")
    item = lut(entries, first, 16)
    grey = shown(film, np.array([[0, 24, 1024, 2023]], np.uint16), RescaleIntercept=-1024, VOILUTSequence=item)

    assert grey.tolist() == [[0, 0, round(1000 * 32 / 257), round(1999 * 32 / 257)]]


def test_the_first_value_of_a_modality_lut_is_signed_as_the_pixels_are(film):
    item = lut(np.arange(200, dtype="<u2"), 0, 16)
    item[0].LUTDescriptor = [200, 2**16 - 100, 16]

    grey = shown(film, np.arange(-100, 100, dtype=np.int16)[None], ModalityLUTSequence=item)

    assert np.array_equal(grey, stretched(np.arange(200)[None]))


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("flaw", ["empty", "no data", "no descriptor", "one entry"])
def test_lookup_tables_without_content_count_as_none(film, sequence, flaw):
    item = lut(np.arange(8, dtype="<u2"), 0, 16)[0]
    if flaw in ("empty", "no data"):
        del item.LUTData
    if flaw in ("empty", "no descriptor"):
        del item.LUTDescriptor
    if flaw == "one entry":
        item.LUTDescriptor, item.LUTData = [1, 0, 16], b"\1\0"

    grey = shown(film, DEEP, BitsStored=12, **WINDOW_12, **{sequence: [item]})

    assert np.array_equal(grey, shown(film, DEEP, BitsStored=12, **WINDOW_12))


def without_preamble(path: Path, start: int) -> None:
    path.write_bytes(path.read_bytes()[start:])


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("with_meta", [True, False])
@pytest.mark.parametrize("name", ["film.dcm", "IM0001"])
def test_files_without_preamble_are_read(tmp_path, syntax, with_meta, name):
    path = tmp_path / name
    expected = shown(path, DEEP)
    dataset = Dataset()
    dataset.update(dcmread(path))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = DEEP.byteswap().tobytes()
    dataset.save_as(path, enforce_file_format=True)
    meta_length = 12 + read_file_meta_info(path).FileMetaInformationGroupLength
    without_preamble(path, 132 if with_meta else 132 + meta_length)

    assert is_dicom(path)
    assert np.array_equal(read_radiograph(path), expected)
    assert read_patient_id(path) == "P7"


def test_a_deflated_file_without_preamble_is_refused_before_it_is_inflated(film):
    write_dicom(film, GREY)
    dataset = dcmread(film)
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(film)
    without_preamble(film, 132)

    with pytest.raises(UserError, match="it is deflated"):
        read_radiograph(film)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "BMP"])
def test_an_image_called_dcm_is_read_as_the_image_it_is(film, image_format):
    Image.fromarray(GREY).save(film, image_format)

    assert np.abs(read_radiograph(film).astype(int) - GREY).max() <= (0 if image_format != "JPEG" else 40)


def test_another_format_called_dcm_is_named(film):
    film.write_bytes(b"%PDF-1.7\n" * 40)

    with pytest.raises(UserError, match=r"film\.dcm cannot be used .*: it is a PDF document, not a DICOM file"):
        read_radiograph(film)


def test_grey_stored_as_colour_is_read(film):
    rgb = GREY[..., None].repeat(3, axis=2)
    elements = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}

    assert np.array_equal(shown(film, rgb, PhotometricInterpretation="RGB", **elements), GREY)
    planes = {"SamplesPerPixel": 3, "PlanarConfiguration": 1, "PixelData": GREY.tobytes() * 3}
    assert np.array_equal(shown(film, rgb, PhotometricInterpretation="rgb", **planes), GREY)
    ybr = np.dstack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)])
    assert np.array_equal(shown(film, ybr, PhotometricInterpretation="YBR_FULL", **elements), GREY)
    palette = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in {"Descriptor": [256, 0, 8], "Data": np.arange(255, -1, -1, np.uint8).tobytes()}.items()
    }
    assert np.array_equal(shown(film, 255 - GREY, PhotometricInterpretation="PALETTE COLOR", **palette), GREY)
    deep = DEEP[..., None].repeat(3, axis=2)
    assert np.array_equal(shown(film, deep, PhotometricInterpretation="RGB", **elements), stretched(DEEP))


def test_a_film_in_colour_is_refused(film):
    rgb = np.dstack([GREY, GREY // 2, GREY])

    with pytest.raises(UserError, match=r"film\.dcm cannot be used .*: it is in colour \(RGB\)\.$"):
        shown(film, rgb, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0)


@pytest.mark.parametrize("interpretation", ["monochrome2", "MONOCHROME2 ", " Monochrome 2"])
def test_the_photometric_interpretation_may_be_written_in_any_way(film, interpretation):
    assert np.array_equal(shown(film, GREY, PhotometricInterpretation=interpretation, **WHOLE_RANGE), GREY)


def test_a_jpeg_of_three_components_whose_header_says_one_is_read(film):
    smooth = np.asarray(Image.fromarray(GREY).reduce(4).resize((30, 40), Image.Resampling.BILINEAR))
    write_dicom(film, smooth)
    compress(film, uid.JPEGBaseline8Bit, encoded(smooth[..., None].repeat(3, axis=2), "JPEG", quality=95))

    assert np.abs(read_radiograph(film).astype(int) - smooth).max() < 12


def test_numbers_that_are_none_are_passed_over(film):
    keywords = ("NumberOfFrames", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "PixelSpacing")
    write_dicom(film, DEEP, BitsStored=12, **dict.fromkeys(keywords, 77))
    film.write_bytes(film.read_bytes().replace(b"S\x02\x0077", b"S\x02\x001A"))

    radiograph = open_radiograph(film)

    assert np.array_equal(radiograph.pixels, stretched(DEEP))
    assert radiograph.spacing_mm is None


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelData": GREY.tobytes()[:-50]}, "damaged or incomplete: its pixels do not fit what its header says"),
        ({"PixelRepresentation": None, "HighBit": None}, ""),
        ({"BitsStored": 99, "PixelRepresentation": 7}, ""),
        ({"Rows": 0}, "its Rows is 0, not a number above 0"),
        ({"PhotometricInterpretation": "HSV"}, "its PhotometricInterpretation is HSV, neither grey nor"),
    ],
)
def test_flaws_of_a_header_are_repaired_or_named_in_plain_words(film, elements, reason):
    if not reason:
        assert np.array_equal(shown(film, GREY, **elements), stretched(GREY))
        return
    with pytest.raises(UserError, match=rf"film\.dcm cannot be used as a chest radiograph: .*{reason}"):
        shown(film, GREY, **elements)


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        (uid.JPEGExtended12Bit, "its pixels are lossy JPEG of 12 bits, which no decoder here reads; decompress it"),
        (
            uid.JPEG2000,
            r"its pixel data \(JPEG 2000 Image Compression\) cannot be decoded; if it is not damaged, decom",
        ),
    ],
)
def test_compressed_pixels_that_no_decoder_reads_are_named_with_the_way_out(film, syntax, reason):
    write_dicom(film, DEEP, BitsStored=12)
    compress(film, syntax, b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x28\0\x1e\x01\x01\x11\0\xff\xd9")

    with pytest.raises(UserError, match=reason):
        read_radiograph(film)


AT_DETECTOR = {"ImagerPixelSpacing": [0.3, 0.15]}
FACTOR = {"EstimatedRadiographicMagnificationFactor": 1.5}
DISTANCES = {"DistanceSourceToDetector": 1800, "DistanceSourceToPatient": 1500}


@pytest.mark.parametrize(
    ("elements", "spacing_mm"),
    [
        ({"PixelSpacing": [0.3, 0.15], **AT_DETECTOR, **FACTOR}, (0.2, 0.1)),  # equal: not calibrated
        ({"PixelSpacing": [0.3001, 0.15], **AT_DETECTOR, **FACTOR}, (0.2, 0.1)),
        (
            {"PixelSpacing": [0.3, 0.15], "PixelSpacingCalibrationType": "FIDUCIAL", **AT_DETECTOR, **FACTOR},
            (0.3, 0.15),
        ),
        ({"PixelSpacing": [0.28, 0.14], **AT_DETECTOR, **FACTOR}, (0.28, 0.14)),
        ({**AT_DETECTOR, **DISTANCES}, (0.25, 0.125)),
        ({**AT_DETECTOR, "DistanceSourceToDetector": 1800, "DistanceSourceToPatient": 1900}, (0.3, 0.15)),
        ({**AT_DETECTOR, "DistanceSourceToDetector": 1800, "DistanceSourceToPatient": 0}, (0.3, 0.15)),
        ({"NominalScannedPixelSpacing": [0.3, 0.15]}, (0.3, 0.15)),
        ({"NominalScannedPixelSpacing": [0.3, 0.15], **FACTOR}, (0.2, 0.1)),
        ({"PixelSpacing": [0.28, 0.14], "NominalScannedPixelSpacing": [0.3, 0.15]}, (0.28, 0.14)),
    ],
)
def test_spacing_is_that_in_the_patients_plane(film, elements, spacing_mm):
    write_dicom(film, GREY, **elements)

    radiograph = open_radiograph(film)

    assert radiograph.spacing_mm == pytest.approx(spacing_mm)
    assert radiograph.remarks == ()


def test_a_magnification_that_the_distances_contradict_is_reported(film):
    write_dicom(film, GREY, **AT_DETECTOR, **FACTOR, **DISTANCES)

    radiograph = open_radiograph(film)

    assert radiograph.spacing_mm == pytest.approx((0.2, 0.1))
    assert radiograph.remarks == (
        "the magnification factor 1.5 and the distances 1800 and 1500 mm, which give 1.20, disagree; areas and lengths "
        "follow the factor",
    )


def test_a_blank_film_is_refused(film):
    write_dicom(film, np.full((8, 8), 900, np.uint16))

    with pytest.raises(UserError, match="is blank: every pixel has the grey level 0"):
        refuse_blank(film, read_radiograph(film))
