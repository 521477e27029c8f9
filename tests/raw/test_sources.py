import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lung_seg.config import DataConfig, FolderConfig, PhantomConfig
from lung_seg.errors import UserError
from lung_seg.raw.case import Listing
from lung_seg.raw.radiograph import read_radiograph
from lung_seg.raw.sources import find_cases, nlm, phantom
from lung_seg.raw.sources.patients import find_patients
from lung_seg.raw.sources.phantom import PHANTOMS_PER_PROCESS
from tests import layouts
from tests.conftest import have_cores

REAL = Path(__file__).parents[3] / "shared" / "data" / "raw"


def find(source: str, raw_dir: Path, folder: FolderConfig | None = None) -> Listing:
    return find_cases(DataConfig(name="x", source=source, raw_dir=str(raw_dir), folder=folder or FolderConfig()))


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_montgomery_gives_masks_label_patient_age_and_sex(tmp_path):
    layouts.write_montgomery(tmp_path, cases=3)

    cases = find("montgomery", tmp_path).cases

    assert [case.case_id for case in cases] == ["MCUCXR_0001_0", "MCUCXR_0002_1", "MCUCXR_0003_0"]
    second = cases[1]
    assert (second.tb_label, second.patient_id, second.age_years, second.sex) == (1, "MCUCXR_0002", 22, "F")
    assert [path.parent.name for path in second.mask_paths] == ["rightMask", "leftMask"]
    assert {case.source for case in cases} == {"montgomery"}
    _, right, left = layouts.draw_chest(2, 96, 80)
    assert np.array_equal(pixels(second.mask_paths[0]) > 0, right)
    assert np.array_equal(pixels(second.mask_paths[1]) > 0, left)


def test_montgomery_without_readings_or_with_raw_dir_the_set_itself(tmp_path):
    layouts.write_montgomery(tmp_path, cases=1)
    (tmp_path / "MontgomerySet" / "ClinicalReadings").rename(tmp_path / "elsewhere")

    (case,) = find("montgomery", tmp_path / "MontgomerySet").cases

    assert (case.age_years, case.sex, case.tb_label) == (None, None, 0)


def test_montgomery_with_one_of_two_lung_masks_counts_as_without_mask(tmp_path):
    layouts.write_montgomery(tmp_path, cases=3)
    (tmp_path / "MontgomerySet" / "ManualMask" / "leftMask" / "MCUCXR_0002_1.png").unlink()

    listing = find("montgomery", tmp_path)

    assert names(listing.without_mask) == ["MCUCXR_0002_1.png"]
    assert [case.case_id for case in listing.cases] == ["MCUCXR_0001_0", "MCUCXR_0003_0"]


def test_two_montgomery_radiographs_of_one_patient_share_the_patient(tmp_path):
    for stem in ("MCUCXR_0162_1", "MCUCXR_0166_1"):
        for folder in ("CXR_png", "ManualMask/rightMask", "ManualMask/leftMask"):
            layouts.write_mask(tmp_path / folder / f"{stem}.png", np.ones((4, 4)))

    assert {case.patient_id for case in find("montgomery", tmp_path).cases} == {"MCUCXR_0162"}


@pytest.mark.parametrize("mask_dir", ["mask", "mask/mask"])
def test_shenzhen_reports_radiographs_without_mask(tmp_path, mask_dir):
    layouts.write_shenzhen(tmp_path, cases=5, without_mask=2, mask_dir=mask_dir)

    listing = find("shenzhen", tmp_path)

    assert [case.case_id for case in listing.cases] == ["CHNCXR_0001_0", "CHNCXR_0002_1", "CHNCXR_0003_0"]
    assert names(listing.without_mask) == ["CHNCXR_0004_1.png", "CHNCXR_0005_0.png"]
    assert names(list(listing.cases[1].mask_paths)) == ["CHNCXR_0002_1_mask.png"]
    assert (listing.cases[1].age_years, listing.cases[1].sex) == (22, "F")


@pytest.mark.parametrize(
    ("text", "patient"),
    [
        ("Patient's Sex: F \nPatient's Age: 027Y\nnormal", ("F", 27)),
        ("Patient's Sex: O \nPatient's Age: 005Y\nnormal", (None, 5)),
        ("male 45yrs\nnormal", ("M", 45)),
        ("femal 32yrs\nnormal", ("F", 32)),
        ("female24yrs\nnormal", ("F", 24)),
        ("Female, 28yrs\nSTB", ("F", 28)),
        ("male , 29yrs  \t\nbilateral secondary PTB", ("M", 29)),
        ("male 16month\nnormal", ("M", 1)),
        ("female 64days\nnormal", ("F", 0)),
        ("\ufeffmale 45yrs", ("M", 45)),
        ("male 42\nnormal", ("M", None)),
        ("male\n\n1. PTB 10 years ago", ("M", None)),
        ("", (None, None)),
    ],
)
def test_clinical_readings_in_all_their_forms(tmp_path, text, patient):
    (tmp_path / "reading.txt").write_text(text, encoding="utf-8")

    assert nlm.read_patient(tmp_path / "reading.txt") == patient


def test_both_sets_together(tmp_path):
    layouts.write_montgomery(tmp_path, cases=3)
    layouts.write_shenzhen(tmp_path, cases=3, without_mask=1)

    listing = find("montgomery_shenzhen", tmp_path)

    assert [case.source for case in listing.cases] == ["shenzhen"] * 2 + ["montgomery"] * 3
    assert names(listing.without_mask) == ["CHNCXR_0003_0.png"]


@pytest.mark.parametrize("inside", ["", "Lung Segmentation"])
def test_kaggle_folder_is_read_unchanged(tmp_path, inside):
    layouts.write_kaggle(tmp_path, cases=2, without_mask=1)

    listing = find("montgomery_shenzhen", tmp_path / inside)

    assert [(case.case_id, case.source, case.mask_paths[0].name) for case in listing.cases] == [
        ("CHNCXR_0001_1", "shenzhen", "CHNCXR_0001_1_mask.png"),
        ("CHNCXR_0002_1", "shenzhen", "CHNCXR_0002_1_mask.png"),
        ("MCUCXR_0001_0", "montgomery", "MCUCXR_0001_0.png"),
        ("MCUCXR_0002_0", "montgomery", "MCUCXR_0002_0.png"),
    ]
    assert [str(path.relative_to(tmp_path)) for path in listing.without_mask] == [
        "Lung Segmentation/CXR_png/CHNCXR_0003_1.png"
    ]


def test_jsrt_raw_films_are_read_air_dark_and_twice_their_masks(tmp_path):
    layouts.write_jsrt(tmp_path, cases=2)

    cases = find("jsrt", tmp_path).cases

    assert [case.case_id for case in cases] == ["JPCLN001", "JPCLN002"]
    assert [(case.inverted, case.mask_downscale) for case in cases] == [(False, 2)] * 2
    assert np.abs(read_radiograph(cases[0].image_path).astype(int) - layouts.draw_chest(2001, 128, 128)[0]).max() <= 1
    assert [path.parent.name for path in cases[0].mask_paths] == ["right lung", "left lung"]
    assert "fold1" in cases[0].mask_paths[0].parts
    assert "fold2" in cases[1].mask_paths[0].parts


@pytest.mark.parametrize(("size_px", "mask_downscale"), [(128, 2), (64, 1)])
def test_jsrt_converted_films_show_air_dark_and_may_be_as_large_as_their_masks(tmp_path, size_px, mask_downscale):
    layouts.write_jsrt(tmp_path, cases=1, size_px=128)
    (tmp_path / "All247images" / "JPCLN001.IMG").unlink()
    layouts.write_image(tmp_path / "JPCLN001.png", np.zeros((size_px, size_px), np.uint8))

    (case,) = find("jsrt", tmp_path).cases

    assert (case.inverted, case.mask_downscale) == (False, mask_downscale)


def test_jsrt_takes_the_raw_film_before_its_conversion_and_reports_a_lung_that_is_missing(tmp_path):
    layouts.write_jsrt(tmp_path, cases=2)
    layouts.write_image(tmp_path / "png" / "JPCLN001.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "scratch" / "fold2" / "masks" / "left lung" / "JPCLN002.gif").unlink()

    listing = find("jsrt", tmp_path)

    assert [case.image_path.name for case in listing.cases] == ["JPCLN001.IMG"]
    assert names(listing.without_mask) == ["JPCLN002.IMG"]


def test_folders_are_matched_by_stem_without_suffixes(tmp_path):
    for name in ("a_img.png", "b_img.tif", "c_img.bmp"):
        layouts.write_image(tmp_path / "films" / name, np.zeros((4, 4), np.uint8))
    for name in ("a_mask.png", "b_mask.gif"):
        layouts.write_mask(tmp_path / "lungs" / name, np.ones((4, 4)))
    (tmp_path / "films" / "notes.txt").write_text("")
    folder = FolderConfig(image_dir="films", mask_dir="lungs", image_suffix="_img", mask_suffix="_mask", inverted=True)

    listing = find("folder", tmp_path, folder)

    assert [(case.case_id, case.mask_paths[0].name) for case in listing.cases] == [
        ("a", "a_mask.png"),
        ("b", "b_mask.gif"),
    ]
    assert names(listing.without_mask) == ["c_img.bmp"]
    assert listing.cases[0].inverted
    assert listing.cases[0].tb_label is None


def test_a_folder_may_hold_dicom_files(tmp_path):
    layouts.write_dicom(tmp_path / "images" / "a.dcm", np.zeros((4, 4), np.uint8))
    layouts.write_dicom(tmp_path / "images" / "b.DICOM", np.zeros((4, 4), np.uint8))
    for name in ("a.png", "b.png"):
        layouts.write_mask(tmp_path / "masks" / name, np.ones((4, 4)))

    assert names([case.image_path for case in find("folder", tmp_path).cases]) == ["a.dcm", "b.DICOM"]


def test_patient_pattern_joins_the_radiographs_of_a_patient(tmp_path):
    layouts.write_folder(tmp_path, cases=4)

    cases = find("folder", tmp_path, FolderConfig(patient_pattern=r"^(p\d+)_")).cases

    assert [case.patient_id for case in cases] == ["p01", "p01", "p02", "p02"]
    assert [case.patient_id for case in find("folder", tmp_path).cases] == ["p01_1", "p01_2", "p02_1", "p02_2"]


NAMINGS = {  # three radiographs of each of four patients, as these sets name them, and what names the patient
    "NIH ChestX-ray14": ("{0:08d}_{1:03d}", "{0:08d}"),
    "MIMIC-CXR": ("p1{0}/p1{0:07d}/s5041426{1}/ab{0}{1}", "p1{0:07d}"),
    "MIMIC-CXR, flattened": ("p1{0:07d}_s5041426{1}_ab{0}{1}", "p1{0:07d}"),
    "CheXpert": ("patient{0:05d}/study{1}/view1_frontal", "patient{0:05d}"),
    "CheXpert, flattened": ("train_patient{0:05d}_study{1}_view1_frontal", "patient{0:05d}"),
    "BIDS": ("sub-S{0:02d}/ses-E{1}/mod-rx/sub-S{0:02d}_ses-E{1}_vp-pa_dx", "sub-S{0:02d}"),
    "Open-i": ("CXR{0}_IM-0{0}-{1}001", "{0}"),
    "PadChest": (
        "2168401113669640123393565638620090411{0:04d}_0{1}-079-131",
        "2168401113669640123393565638620090411{0:04d}",
    ),
    "folders": ("{0:04d}/film{1}", "{0:04d}"),
    "numbers": ("pat{0:02d}_{1}", "pat{0:02d}"),
    "names": ("{2}-{1}", "{2}"),
    "dates": ("{0:04d}_2020-01-1{1}", "{0:04d}"),
    "views": ("{0:04d} {3}", "{0:04d}"),
    "copies": ("{0:04d}{4}", "{0:04d}"),
    "exported copies": ("{0:04d}{4}_png.rf.{0}{1}ae", "{0:04d}"),
    "two classes": ("{5}/pat{0:02d}_{1}", "pat{0:02d}"),
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_patients_of_usual_file_names(tmp_path, naming):
    name, patient = NAMINGS[naming]
    truth = {}
    for number in range(1, 6):
        for film in range(3):
            parts = (
                number,
                film,
                ["", "anna", "bob", "carl", "dora", "emil"][number],
                ["PA", "lateral", "L"][film],
                ["", "_flip", " (1)"][film],
                ["normal", "tb", "tb"][film],
            )
            truth[name.format(*parts)] = patient.format(*parts)
            layouts.write_mask(tmp_path / "images" / f"{name.format(*parts)}.png", np.eye(4))
            layouts.write_mask(tmp_path / "masks" / f"{name.format(*parts)}.png", np.eye(4))

    listing = find("folder", tmp_path)

    assert {
        case.image_path.relative_to(tmp_path / "images").with_suffix("").as_posix() for case in listing.cases
    } == set(truth)
    assert all("/" not in case.case_id for case in listing.cases)
    assert len({case.case_id for case in listing.cases}) == len(truth)
    found = {
        case.image_path.relative_to(tmp_path / "images").with_suffix("").as_posix(): case for case in listing.cases
    }
    assert {key: case.patient_id for key, case in found.items()} == truth
    assert [(case.mask_paths[0].parent.name, case.mask_paths[0].name) for case in found.values()] == [
        (case.image_path.parent.name.replace("images", "masks"), case.image_path.name) for case in found.values()
    ]
    (remark,) = listing.remarks
    assert remark.startswith("data.folder.patient_pattern is empty: patients taken from ")
    assert remark.endswith("; 15 radiographs of 5 patients.")


@pytest.mark.parametrize("name", ["film_{0:03d}", "{0:04d}", "{0:x}7f3", "site1_{0:04d}", "normal-{0}", "2020_{0}"])
def test_names_that_only_count_join_nobody_and_it_is_said(tmp_path, name):
    for number in range(24):
        layouts.write_mask(tmp_path / "images" / f"{name.format(number)}.png", np.eye(4))
        layouts.write_mask(tmp_path / "masks" / f"{name.format(number)}.png", np.eye(4))

    listing = find("folder", tmp_path)

    assert len({case.patient_id for case in listing.cases}) == 24
    assert listing.remarks == [
        "data.folder.patient_pattern is empty: each radiograph is taken for a patient of its own; "
        "set data.folder.patient_pattern if not."
    ]


def write_dicom_folder(folder: Path, patients: list[str | None], suffix: str = ".dcm") -> None:
    for number, patient in enumerate(patients):
        values = np.arange(16, dtype=np.uint8).reshape(4, 4)
        layouts.write_dicom(folder / "images" / f"IM{number:04d}{suffix}", values, PatientID=patient)
        layouts.write_mask(folder / "masks" / f"IM{number:04d}.png", np.eye(4))


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_patients_of_dicom_headers(tmp_path, suffix):
    write_dicom_folder(tmp_path, ["Ann", "Bob", "Ann", " Bob ", "Carl", None], suffix)

    listing = find("folder", tmp_path)

    assert [case.patient_id for case in listing.cases] == ["Ann", "Bob", "Ann", "Bob", "Carl", "IM0005"]
    assert listing.remarks == [
        "data.folder.patient_pattern is empty: patients taken from the PatientID of DICOM headers (5), each of 1 "
        "others for a patient of its own; 6 radiographs of 4 patients."
    ]
    by_name = find("folder", tmp_path, FolderConfig(patient_pattern=r"(\d)$"))
    assert [case.patient_id for case in by_name.cases] == list("012345")
    assert by_name.remarks == []


@pytest.mark.parametrize("patient", ["ANON", "Anonymous", "0000", "P7"])
def test_a_patient_id_that_all_files_share_names_nobody(tmp_path, patient):
    write_dicom_folder(tmp_path, [patient] * 4)

    listing = find("folder", tmp_path)

    assert len({case.patient_id for case in listing.cases}) == 4
    assert listing.remarks[0].endswith(f" 4 DICOM headers have the PatientID {patient}, which names no patient.")


def test_files_that_are_left_out_are_counted(tmp_path):
    layouts.write_folder(tmp_path, cases=4)
    layouts.write_mask(tmp_path / "masks" / "stray.png", np.eye(4))
    (tmp_path / "images" / "film.npy").write_bytes(b"")
    (tmp_path / "images" / ".hidden").mkdir()
    (tmp_path / "images" / ".hidden" / "p09_1.png").write_bytes(b"")

    remarks = find("folder", tmp_path, FolderConfig(patient_pattern=r"^(p\d+)_")).remarks

    assert remarks == [
        f"1 files among the radiographs are no images and were left out, first {tmp_path}/images/film.npy.",
        f"1 masks have no radiograph of their name, first {tmp_path}/masks/stray.png.",
    ]


def test_masks_in_the_folder_of_the_radiographs_are_none_and_equal_case_ids_are_refused(tmp_path):
    for name in ("a", "b"):
        layouts.write_mask(tmp_path / f"{name}.png", np.eye(4))
        layouts.write_mask(tmp_path / "masks" / f"{name}.png", np.eye(4))
    folder = FolderConfig(image_dir=".", mask_dir="masks")

    assert [case.case_id for case in find("folder", tmp_path, folder).cases] == ["a", "b"]
    layouts.write_mask(tmp_path / "x_a.png", np.eye(4))
    layouts.write_mask(tmp_path / "x" / "a.png", np.eye(4))
    with pytest.raises(UserError, match=r"x/a\.png and .*x_a\.png would both be the case x_a|x_a\.png and .*x/a\.png"):
        find("folder", tmp_path, folder)


def test_a_kaggle_folder_counts_radiographs_of_neither_set(tmp_path):
    layouts.write_kaggle(tmp_path, cases=2, without_mask=1)
    layouts.write_image(tmp_path / "Lung Segmentation" / "CXR_png" / "other.png", np.zeros((4, 4), np.uint8))

    assert find("montgomery_shenzhen", tmp_path).remarks == [
        "1 radiographs have names of neither set and were left out: other.png …"
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "not a regular expression"), ("p", "not a regular expression with a group"), ("(q)", "p01_1")],
)
def test_patient_pattern_that_does_not_fit_is_refused(tmp_path, pattern, message):
    layouts.write_folder(tmp_path, cases=1)

    with pytest.raises(UserError, match=message):
        find("folder", tmp_path, FolderConfig(patient_pattern=pattern))


def test_two_files_of_one_stem_are_refused(tmp_path):
    layouts.write_folder(tmp_path, cases=1)
    layouts.write_image(tmp_path / "images" / "p01_1.png", np.zeros((4, 4), np.uint8))

    with pytest.raises(UserError, match="same stem p01_1"):
        find("folder", tmp_path)


@pytest.mark.parametrize(
    ("source", "missing", "remedy"),
    [
        ("montgomery", "MontgomerySet/CXR_png", "data.download=true"),
        ("shenzhen", "ChinaSet_AllFiles/CXR_png", "kaggle.com/datasets/yoctoman/shcxr-lung-mask"),
        ("jsrt", "JPC", "db.jsrt.or.jp"),
        ("folder", "images/", "data.folder.image_dir"),
    ],
)
def test_a_folder_that_is_empty_or_not_there_is_refused(tmp_path, source, missing, remedy):
    with pytest.raises(UserError, match=rf"^data.raw_dir={tmp_path} holds no {missing}(.|\n)*{remedy}"):
        find(source, tmp_path)
    with pytest.raises(UserError, match=rf"^data.raw_dir={tmp_path}/nowhere is not a folder(.|\n)*{remedy}"):
        find(source, tmp_path / "nowhere")


def test_radiographs_of_which_none_has_a_mask_are_refused(tmp_path):
    layouts.write_shenzhen(tmp_path, cases=3, without_mask=3)

    with pytest.raises(UserError, match=r"None of the 3 radiographs(.|\n)*kaggle"):
        find("shenzhen", tmp_path)


def find_phantoms(raw_dir: Path, cases: int, seed: int = 0) -> Listing:
    return phantom.find_cases(raw_dir, PhantomConfig(cases=cases, size_px=32, seed=seed))


def test_phantoms_lie_in_the_montgomery_layout(tmp_path):
    listing = find_phantoms(tmp_path, cases=3)

    assert [case.case_id[:11] for case in listing.cases] == ["MCUCXR_0001", "MCUCXR_0002", "MCUCXR_0003"]
    assert {case.source for case in listing.cases} == {"phantom"}
    for case in listing.cases:
        image, right, left = (pixels(path) for path in (case.image_path, *case.mask_paths))
        assert image.shape[0] == 32
        assert image.shape == right.shape == left.shape
        assert set(np.unique(right)) == set(np.unique(left)) == {0, 255}
        assert np.nonzero(right)[1].mean() < np.nonzero(left)[1].mean(), "the right lung lies on the image's left"
    as_montgomery = nlm.find_montgomery(next(tmp_path.glob("phantom-*-32-seed0")))
    assert [case.case_id for case in as_montgomery.cases] == [case.case_id for case in listing.cases]


def test_more_phantoms_keep_the_earlier_ones_and_fewer_give_the_first(tmp_path):
    first = find_phantoms(tmp_path, cases=2).cases
    written = {case.image_path: case.image_path.stat().st_mtime_ns for case in first}

    more = find_phantoms(tmp_path, cases=4).cases

    assert more[:2] == first
    assert {path: path.stat().st_mtime_ns for path in written} == written, "drawn once"
    assert find_phantoms(tmp_path, cases=2).cases == first


def test_a_phantom_depends_on_its_seed_and_number_alone(tmp_path):
    one, again, other = (
        find_phantoms(tmp_path / name, cases=2, seed=seed).cases for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )

    assert [case.image_path.read_bytes() for case in one] == [case.image_path.read_bytes() for case in again]
    assert one[0].image_path.read_bytes() != other[0].image_path.read_bytes()
    assert one[0].image_path.read_bytes() != one[1].image_path.read_bytes()


def test_many_phantoms_are_drawn_by_several_processes(tmp_path, monkeypatch):
    have_cores(monkeypatch, 2)

    cases = find_phantoms(tmp_path / "many", cases=2 * PHANTOMS_PER_PROCESS).cases

    assert len(cases) == 2 * PHANTOMS_PER_PROCESS
    alone = find_phantoms(tmp_path / "one", cases=1).cases[0]
    assert cases[0].image_path.read_bytes() == alone.image_path.read_bytes()
    shapes = {pixels(case.image_path).shape for case in cases}
    assert any(width > height for height, width in shapes)
    assert sum(width < height for height, width in shapes) > 3, "widths vary"


def test_an_interrupted_phantom_is_drawn_again(tmp_path):
    (case,) = find_phantoms(tmp_path, cases=1).cases
    expected = case.image_path.read_bytes()
    case.image_path.unlink()

    assert find_phantoms(tmp_path, cases=1).cases == [case]
    assert case.image_path.read_bytes() == expected


@pytest.mark.skipif(not REAL.is_dir(), reason="real radiographs exist on some machines only")
def test_real_radiographs():
    listing = find("montgomery_shenzhen", REAL)

    assert [sum(case.source == source for case in listing.cases) for source in ("montgomery", "shenzhen")] == [110, 452]
    assert len(listing.without_mask) == 24
    assert all(path.is_file() for case in listing.cases for path in (case.image_path, *case.mask_paths))


def test_a_reading_in_another_encoding_is_read(tmp_path):
    (tmp_path / "reading.txt").write_bytes("male 45yrs\nopacité".encode("latin-1"))
    assert nlm.read_patient(tmp_path / "reading.txt") == ("M", 45)


def test_a_name_without_a_label_of_tuberculosis_leaves_it_unknown(tmp_path):
    layouts.write_montgomery(tmp_path, cases=1)
    for path in tmp_path.rglob("MCUCXR_0001_0.*"):
        path.rename(path.with_name(path.name.replace("1_0.", "1_x.")))
    assert [case.tb_label for case in find("montgomery", tmp_path).cases] == [None]


def test_two_files_that_share_a_patient_are_the_example():
    names = ("12_pa", "13_lat", "13_pa", "14_pa")
    patients, sentence = find_patients({name: Path(f"{name}.png") for name in names})
    assert patients == {name: name[:2] for name in names}
    assert "(13_lat and 13_pa are one)" in sentence


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_radiograph_and_no_mask(tmp_path):
    """Opening one would wait for ever."""
    layouts.write_folder(tmp_path)
    os.mkfifo(tmp_path / "images" / "pipe.png")
    (tmp_path / "masks" / "p01_1.png").unlink()
    os.mkfifo(tmp_path / "masks" / "p01_1.png")
    listing = find_cases(DataConfig(name="x", source="folder", raw_dir=str(tmp_path)))
    assert [case.case_id for case in listing.cases] == ["p01_2", "p02_1", "p02_2", "p03_1", "p03_2"]
