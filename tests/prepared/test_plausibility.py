"""What preparing says of a set that is wrong as a whole, what check=true and a training repeat, and stale decisions."""

import csv
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lung_seg.config import AugmentationConfig, DataConfig
from lung_seg.errors import UserError
from lung_seg.prepared.manifest import read_manifest, write_manifest
from lung_seg.prepared.plausibility import Appearance, set_warnings
from lung_seg.raw.phantom.draw_phantom import draw_phantom
from lung_seg.raw.radiograph import Radiograph, open_radiograph
from lung_seg.training.datamodule import LungDataModule
from tests import layouts
from tests.conftest import Outcome, Run, read_here

DATA = ("data=folder", "data.name=own", "data.raw_dir=raw", "data.image_size_px=32", "data.test_cases=3")
SET = Path("data/segmentation/own-32")
CASES = 14
EXIF_ORIENTATION, UPSIDE_DOWN = 0x0112, 3

phantom = cache(draw_phantom)  # the same fourteen in each test


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def write_set(change: Change = lambda image, mask: (image, mask), cases: int = CASES) -> None:
    for number in range(cases):
        drawn = phantom(number, 96, 88)
        image, mask = change(drawn.image, np.where(drawn.right_mask | drawn.left_mask, 255, 0).astype(np.uint8))
        for folder, pixels in (("images", image), ("masks", mask)):
            layouts.write_image(Path(f"raw/{folder}/film{number:02d}.png"), np.ascontiguousarray(pixels))


def prepare(run: Run, *arguments: str) -> Outcome:
    return run("prepare_data", *DATA, *arguments)


INVERTED = "cases the mask covers the radiograph's borders: the lungs seem to be black on white"
NEGATIVE = "cases the lungs are brighter than what surrounds them: the radiographs seem to be negatives"
MISPLACED = "do not lie on dark lungs"
NOT_LUNGS = "the mask is not of two separate lungs"
WRONG_SETS: dict[str, tuple[Change, str, str]] = {
    "black lungs": (lambda image, mask: (image, 255 - mask), INVERTED, "set data.folder.lung_labels=[0]"),
    "negatives": (lambda image, mask: (255 - image, mask), NEGATIVE, "set data.folder.inverted=true"),
    "masks turned": (lambda image, mask: (image, mask[::-1, ::-1]), MISPLACED, "preview.png"),
    "masks mirrored": (lambda image, mask: (image, mask[:, ::-1]), MISPLACED, "preview.png"),
    "masks of the bodies": (lambda image, mask: (image, np.pad(mask[9:-9, 9:-9] | 255, 9)), NOT_LUNGS, "preview.png"),
}


@pytest.mark.parametrize("kind", WRONG_SETS)
def test_a_set_that_is_wrong_as_a_whole_is_said_and_fails_the_check(workplace: Path, run: Run, kind: str):
    change, message, remedy = WRONG_SETS[kind]
    write_set(change)

    outcome = prepare(run)
    assert outcome.code == 0
    (line,) = [line for line in (outcome.out + outcome.err).splitlines() if message in line]
    assert str(CASES) in line
    assert remedy in line

    checked = prepare(run, "check=true")
    assert checked.code == 1
    assert message in checked.out
    assert remedy in checked.out


def test_every_training_repeats_what_preparing_said(workplace: Path, caplog: pytest.LogCaptureFixture):
    write_set(lambda image, mask: (255 - image, mask))
    data = DataConfig(name="own", source="folder", raw_dir="raw", image_size_px=32, test_cases=3)

    for _ in range(2):
        caplog.clear()
        LungDataModule(data, AugmentationConfig(), seed=0).prepare_data()  # as Lightning calls it first

        assert NEGATIVE in caplog.text


def test_a_sound_set_is_not_suspected(workplace: Path, run: Run):
    write_set()

    outcome = prepare(run)

    assert not any(text in outcome.out + outcome.err for text in (INVERTED, NEGATIVE, MISPLACED, NOT_LUNGS))
    assert json.loads((SET / "dataset.json").read_text())["warnings"] == []
    assert prepare(run, "check=true").code == 0


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda image, mask: (image, 255 - mask), "data.folder.lung_labels=[0]"),
        (lambda image, mask: (255 - image, mask), "data.folder.inverted=true"),
    ],
)
def test_the_remedy_mends_the_set_and_keeps_its_split(workplace: Path, run: Run, change: Change, remedy: str):
    write_set()
    prepare(run, "data.prepared_dir=right")
    write_set(change)
    prepare(run)
    splits = [row.split for row in read_manifest(SET / "manifest.csv")]

    outcome = prepare(run, remedy)

    assert outcome.code == 0, outcome.err
    assert json.loads((SET / "dataset.json").read_text())["warnings"] == []
    rows, right = read_manifest(SET / "manifest.csv"), read_manifest(Path("right/own-32/manifest.csv"))
    assert [row.split for row in rows] == splits
    assert [(row.image_sha256, row.mask_sha256) for row in rows] == [
        (row.image_sha256, row.mask_sha256) for row in right
    ]


@pytest.mark.parametrize("setting", ["data.folder.inverted=true", "data.folder.lung_labels=[1]", "data.window=none"])
def test_a_set_that_was_read_in_another_way_is_not_used(workplace: Path, run: Run, setting: str):
    write_set()
    prepare(run)
    Path("raw").rename("gone")

    outcome = prepare(run, setting)

    assert outcome.code == 2
    assert f"{setting}, but {SET} was prepared with" in outcome.err
    assert "Prepare it again, with the same split" in outcome.err
    assert prepare(run).code == 0


def test_a_set_of_label_maps_says_which_key_names_the_lungs(workplace: Path, run: Run):
    write_set()
    for number in range(CASES):
        drawn = phantom(number, 96, 88)
        labels = drawn.right_mask * 1 + drawn.left_mask * 2
        labels[40:60, 38:50] = 3
        layouts.write_image(Path(f"raw/masks/film{number:02d}.png"), labels.astype(np.uint8))

    refused = prepare(run)
    assert refused.code == 2
    assert len(refused.err.strip().splitlines()) == 2
    assert "None of the 14 cases of raw can be used." in refused.err
    assert "holds the values 1, 2, 3; which of them are lung is not known" in refused.err
    assert "data.folder.lung_labels=[1,2]" in refused.err

    assert prepare(run, "data.folder.lung_labels=[1,2]").code == 0
    drawn = phantom(0, 96, 88)
    lungs = drawn.right_mask | drawn.left_mask
    lungs[40:60, 38:50] = False
    assert np.array_equal(np.asarray(Image.open(SET / "original_masks/film00.png")), lungs)


def test_exchanged_folders_are_refused(workplace: Path, run: Run):
    write_set()

    outcome = prepare(run, "data.folder.image_dir=masks", "data.folder.mask_dir=images")

    assert outcome.code == 2
    assert "film00.png has only two grey levels, as a mask has" in outcome.err
    assert "data.folder.image_dir and mask_dir" in outcome.err


@pytest.mark.parametrize(
    ("folder", "value", "message"),
    [
        ("images", 0, "is blank: every pixel has the grey level 0"),
        ("images", 77, "is blank: every pixel has the grey level 77"),
        ("masks", 255, "is full: every pixel is lung"),
    ],
)
def test_a_blank_radiograph_and_a_full_mask_are_refused_by_name(
    workplace: Path, run: Run, folder: str, value: int, message: str
):
    write_set(cases=7)
    layouts.write_image(Path(f"raw/{folder}/film03.png"), np.full((96, 88), value, np.uint8))

    outcome = prepare(run)

    assert outcome.code == 0
    skipped = json.loads((SET / "dataset.json").read_text())["skipped"]
    assert list(skipped) == ["film03"]
    assert message in skipped["film03"]
    assert f"raw/{folder}/film03.png" in outcome.out + outcome.err


def test_on_error_stop_stops_at_a_case_that_was_skipped_before(workplace: Path, run: Run):
    write_set(cases=6)
    Path("raw/images/film04.png").write_bytes(b"broken")
    assert prepare(run).code == 0
    again = prepare(run)
    assert "is up to date: 5 cases, 1 skipped" in again.out

    stopped = prepare(run, "data.on_error=stop")

    assert stopped.code == 2
    assert "film04.png cannot be read" in stopped.err
    assert "data.on_error=skip" in stopped.err
    Path("raw/images").rename("elsewhere")
    assert prepare(run).code == 0, "a set without its raw files is used"
    gone = prepare(run, "data.on_error=stop")
    assert gone.code == 2
    assert "film04.png cannot be read" in gone.err


def test_a_case_that_was_skipped_joins_once_it_can_be_read(workplace: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    """As after the installation of a package that reads it."""
    write_set(cases=6)
    with monkeypatch.context() as patch:

        def without_package(path: Path, *arguments: object) -> Radiograph:
            if path.name == "film02.png":
                raise UserError(f"{path} needs pydicom, which is not installed.")
            return open_radiograph(path, *arguments)

        read_here(patch, without_package)
        prepare(run)
    assert len(read_manifest(SET / "manifest.csv")) == 5

    assert "Prepared 6 cases" in prepare(run).out
    assert json.loads((SET / "dataset.json").read_text())["skipped"] == {}


def test_remarks_on_radiographs_are_counted_and_kept(workplace: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    write_set(cases=6)

    def with_remark(path: Path, *arguments: object) -> Radiograph:
        number = int(path.stem[-1])
        remarks = (f"its window {number} to 9 was replaced",) * (number > 2)
        return open_radiograph(path, *arguments)._replace(remarks=remarks)

    read_here(monkeypatch, with_remark)
    outcome = prepare(run)

    assert "3 of 6 radiographs, first film03: its window 3 to 9 was replaced." in outcome.out
    assert json.loads((SET / "dataset.json").read_text())["remarks"]["film05"] == ["its window 5 to 9 was replaced"]
    assert prepare(run, "check=true").code == 0
    with (SET / "check.csv").open(newline="") as file:
        assert [row["case_id"] for row in csv.DictReader(file) if row["kind"] == "remark"] == [
            "film03",
            "film04",
            "film05",
        ]


def test_an_empty_mask_of_one_lung_is_said(workplace: Path, run: Run):
    layouts.write_montgomery(workplace / "raw", cases=6)
    mask = workplace / "raw/MontgomerySet/ManualMask/leftMask/MCUCXR_0002_1.png"
    layouts.write_mask(mask, np.zeros((96, 80)))

    outcome = run("prepare_data", "data=montgomery", "data.raw_dir=raw", "data.image_size_px=32", "data.test_cases=1")

    assert (
        "1 of 6 radiographs, first MCUCXR_0002_1: the mask in leftMask is empty, only the other lung counts."
        in outcome.out
    )


def test_masks_drawn_on_the_stored_pixels_of_turned_radiographs_are_said(workplace: Path, run: Run):
    write_set()
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = UPSIDE_DOWN
    for number in range(CASES):
        path = Path(f"raw/images/film{number:02d}.png")
        Image.open(path).rotate(180).save(path.with_suffix(".jpg"), exif=exif, quality=95)
        path.unlink()
    drawn_upright = prepare(run, "data.name=upright")
    assert f"{CASES} of {CASES} radiographs, first film00: turned upright by its EXIF" in drawn_upright.out
    assert MISPLACED not in drawn_upright.out + drawn_upright.err
    for path in Path("raw/masks").iterdir():
        Image.open(path).rotate(180).save(path)

    outcome = prepare(run)

    assert f"{CASES} of {CASES} radiographs are turned upright by their EXIF orientation" in outcome.out + outcome.err
    assert "turn these masks, too" in outcome.out + outcome.err


def test_films_of_one_dicom_patient_are_in_one_split(workplace: Path, run: Run):
    for number in range(18):
        drawn = phantom(number, 96, 88)
        layouts.write_dicom(Path(f"raw/images/IM{number:04d}.dcm"), drawn.image, PatientID=f"P{number % 6}")
        layouts.write_mask(Path(f"raw/masks/IM{number:04d}.png"), drawn.right_mask | drawn.left_mask)

    outcome = prepare(run)

    assert "the PatientID of DICOM headers; 18 radiographs of 6 patients." in outcome.out
    rows = read_manifest(SET / "manifest.csv")
    assert {row.patient_id for row in rows} == {f"P{number}" for number in range(6)}
    assert len({(row.patient_id, row.split) for row in rows}) == 6


def test_a_set_split_by_file_is_split_by_patient_when_patients_become_known(workplace: Path, run: Run):
    """As an update of the package does, which reads more from names and headers."""
    write_set()
    prepare(run)
    rows = read_manifest(SET / "manifest.csv")
    for number in range(CASES):
        for folder in ("images", "masks"):
            path = Path(f"raw/{folder}/film{number:02d}.png")
            path.rename(path.with_name(f"pat{number % 7}_{number}.png"))
    renamed = {f"film{number:02d}": f"pat{number % 7}_{number}" for number in range(CASES)}
    old = json.loads((SET / "dataset.json").read_text())
    (SET / "dataset.json").write_text(json.dumps(old | {"version": 1, "raw": {}, "skipped": {}}))
    write_manifest(SET / "manifest.csv", [type(row)(**(vars(row) | {"case_id": renamed[row.case_id]})) for row in rows])

    outcome = prepare(run)

    assert "cases moved to the split of their patient, first pat" in outcome.out + outcome.err
    rows = read_manifest(SET / "manifest.csv")
    assert len({(row.patient_id, row.split) for row in rows}) == 7


def test_a_key_that_a_set_does_not_know_has_its_default(workplace: Path, run: Run):
    write_set(cases=5)
    prepare(run)
    record = json.loads((SET / "dataset.json").read_text())
    del record["folder"]["lung_labels"], record["folder"]["image_suffix"]
    (SET / "dataset.json").write_text(json.dumps(record))

    assert "is up to date" in prepare(run).out
    refused = prepare(run, "data.folder.patient_pattern=(film.)")
    assert refused.code == 2
    assert "data.folder.patient_pattern=(film.), but data/segmentation/own-32 was prepared with '' and" in refused.err


@pytest.mark.parametrize(("one_region", "said"), [(5, False), (6, False), (7, True)])
def test_masks_of_one_region_in_most_cases_are_said(one_region: int, said: bool) -> None:
    cases = {str(number): Appearance(0.9, 0.0, number >= one_region) for number in range(12)}
    sentence = f"In {one_region} of 12 cases the mask is not of two separate lungs"
    assert [text.startswith(sentence) for text in set_warnings(cases, {})] == [True] * said
