"""prepare_data.py check=true, and what a training makes of a set that changed."""

import csv
import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lung_seg.files import sha256
from lung_seg.prepared.manifest import read_manifest, write_manifest
from tests import layouts
from tests.conftest import SMALL, Outcome, Run

SET = tuple(argument for argument in SMALL if argument.startswith("data"))
FOLDER = Path("data/segmentation/montgomery-32")


@pytest.fixture
def prepared(workplace: Path, run: Run) -> Path:
    """A prepared set of 20 cases, 32 px, 5 of them to test."""
    data = [argument for argument in SET if "batch_size" not in argument]
    assert run("prepare_data", *data).code == 0
    return workplace / FOLDER


def check(run: Run) -> Outcome:
    return run("prepare_data", *SET, "check=true")


def findings() -> list[tuple[str, str, str]]:
    with (FOLDER / "check.csv").open(newline="", encoding="utf-8") as file:
        return [(row["kind"], row["case_id"], row["wrong"]) for row in csv.DictReader(file)]


def write_png(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def cases(split: str) -> list[str]:
    return [row.case_id for row in read_manifest(FOLDER / "manifest.csv") if row.split == split]


def test_the_picture_of_many_outliers_has_the_first_and_thin_contours(workplace, run):
    for number, path in enumerate(sorted((workplace / "raw/MontgomerySet/ManualMask/leftMask").glob("*.png"))):
        if number < 8:
            layouts.write_mask(path, np.zeros_like(np.asarray(Image.open(path)), bool))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lung_seg.evaluation.dataset_check.SHEET_CASES", 6)
        run("prepare_data", *SET)
        outcome = check(run)
    assert f"Outliers, the first 6 of 8: {FOLDER / 'check.png'}" in outcome.out
    sheet = np.asarray(Image.open(FOLDER / "check.png")).astype(int)
    contour = sheet[..., 1] - sheet[..., 0] > 40  # blue-green on grey
    widths = [len(list(group)) for row in contour for is_line, group in itertools.groupby(row) if is_line]
    assert contour.sum() > 500
    assert np.median(widths) <= 4, "drawn on the enlarged picture: a pixel of 32 is 7 wide"


@pytest.mark.usefixtures("prepared")
def test_an_intact_set_has_no_findings(run):
    outcome = check(run)

    assert (outcome.code, findings()) == (0, [])
    assert "nothing wrong, nothing odd" in outcome.out


def test_missing_changed_and_extra_files_are_named(prepared, run):
    gone, other, blank = cases("train")[:3]
    (prepared / "images" / f"{gone}.png").unlink()
    shutil.copy(prepared / "images" / f"{blank}.png", prepared / "images" / f"{other}.png")
    (prepared / "masks" / f"{blank}.png").write_bytes(b"no image")
    write_png(prepared / "images" / "stranger.png", np.zeros((32, 32), np.uint8))

    outcome = check(run)

    assert outcome.code == 1
    assert sorted(findings()) == sorted(
        [
            ("missing", gone, "True"),
            ("changed", other, "True"),
            ("changed", blank, "True"),
            ("extra", "stranger", "True"),
        ]
    )
    assert f"images/{gone}.png is missing" in outcome.out
    assert "cannot be trusted: 4 of 4 findings are errors" in outcome.err


def test_a_mask_of_grey_levels_is_wrong_even_if_the_manifest_knows_it(prepared, run):
    case_id = cases("train")[0]
    path = prepared / "masks" / f"{case_id}.png"
    write_png(path, np.asarray(Image.open(path)) // 2)
    rows = read_manifest(prepared / "manifest.csv")
    digest = sha256(path)
    write_manifest(
        prepared / "manifest.csv",
        [row if row.case_id != case_id else replace(row, mask_sha256=digest) for row in rows],
    )

    outcome = check(run)

    assert findings() == [("mask values", case_id, "True")]
    assert "[  0 127]" in outcome.out


@pytest.mark.parametrize(("shape", "form"), [((32, 32, 3), "32x32 in colours"), ((16, 32), "32x16")])
def test_an_image_of_another_shape_is_wrong_and_the_others_are_looked_at(prepared, run, shape, form):
    case_id = cases("train")[0]
    write_png(prepared / "images" / f"{case_id}.png", np.zeros(shape, np.uint8))

    outcome = check(run)

    assert outcome.code == 1
    assert findings() == [("changed", case_id, "True"), ("shape", case_id, "True")]
    assert f"the image is {form} and the mask 32x32" in outcome.out


@pytest.mark.parametrize("change", ["a pixel", "brighter", "jpeg"])
def test_one_radiograph_in_two_splits_is_found_by_its_pixels(workplace, run, change):
    """As another file of another patient: neither names nor hashes tell."""
    first = sorted((workplace / "raw/MontgomerySet/CXR_png").glob("*.png"))[0]
    image = np.asarray(Image.open(first).convert("L"))
    if change == "brighter":
        image = (image * 0.8 + 30).astype(np.uint8)
    if change == "jpeg":
        image = cv2.imdecode(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 60))[1], cv2.IMREAD_GRAYSCALE)
    for number in range(21, 29):  # enough copies that some are in another split
        for folder in ("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"):
            source = workplace / "raw/MontgomerySet" / folder / first.name
            shutil.copy(source, source.with_name(f"MCUCXR_{number:04d}_0.png"))
        copy = image.copy()
        copy[:4, :4] = 8 * number  # equal pixels would count as one patient and stay in one split
        write_png(first.with_name(f"MCUCXR_{number:04d}_0.png"), copy)
    run("prepare_data", *SET)

    outcome = check(run)

    assert outcome.code == 1
    assert {kind for kind, _, _ in findings()} == {"leak"}
    copies = {first.stem, *(f"MCUCXR_{number:04d}_0" for number in range(21, 29))}
    assert {case_id for _, case_id, _ in findings()} <= copies
    assert "the same radiograph as" in outcome.out


def test_a_patient_in_two_splits_is_found(prepared, run):
    rows = read_manifest(prepared / "manifest.csv")
    write_manifest(prepared / "manifest.csv", [replace(row, patient_id="Ann") for row in rows])

    outcome = check(run)

    assert outcome.code == 1
    assert "patient Ann is in test and train and validation" in outcome.out


def test_one_patient_id_in_two_sources_is_of_two_people_as_in_the_split(prepared, run):
    rows = read_manifest(prepared / "manifest.csv")
    sources = {"train": "montgomery", "validation": "shenzhen", "test": "jsrt"}
    renamed = [replace(row, patient_id="7", source=sources[row.split]) for row in rows]
    write_manifest(prepared / "manifest.csv", renamed)

    assert check(run).code == 0


def test_an_original_mask_of_another_size_missing_or_extra_is_wrong(prepared, run):
    small, gone = cases("train")[:2]
    folder = prepared / "original_masks"
    write_png(folder / f"{small}.png", np.asarray(Image.open(folder / f"{small}.png"))[::2, ::2])
    (folder / f"{gone}.png").unlink()
    write_png(folder / "stranger.png", np.zeros((32, 32), np.uint8))

    outcome = check(run)

    assert sorted(findings()) == sorted(
        [
            ("changed", small, "True"),
            ("shape", small, "True"),
            ("missing", gone, "True"),
            ("extra", "stranger", "True"),
        ]
    )
    assert "the original mask is " in outcome.out


def test_a_set_of_another_version_is_not_checked(prepared, run):
    record = (prepared / "dataset.json").read_text()
    (prepared / "dataset.json").write_text(record.replace('"version": 2', '"version": 1'))

    outcome = check(run)

    assert outcome.code == 2
    assert "was prepared by another version of lung_seg (format 1, not 2)" in outcome.err


def test_odd_cases_are_shown_and_are_no_errors(workplace, run):
    mask = next((workplace / "raw/MontgomerySet/ManualMask/leftMask").glob("*0005*"))
    left = np.asarray(Image.open(mask)) > 0
    layouts.write_mask(mask, left & (np.arange(left.shape[0])[:, None] < np.flatnonzero(left.any(axis=1))[0] + 6))
    run("prepare_data", *SET)

    outcome = check(run)

    assert outcome.code == 0
    assert ("outlier", mask.stem, "False") in findings()
    assert f"Outliers, all 1: {FOLDER / 'check.png'}" in outcome.out
    assert np.asarray(Image.open(FOLDER / "check.png")).std() > 10
    layouts.write_montgomery(workplace / "raw", cases=20)
    run("prepare_data", *SET)
    check(run)
    assert not (FOLDER / "check.png").exists(), "no picture of an older check stays"


def test_a_split_without_a_label_is_odd(prepared, run):
    rows = read_manifest(prepared / "manifest.csv")
    kept = [row for row in rows if row.split != "test" or row.tb_label == 0]
    write_manifest(prepared / "manifest.csv", kept)
    for row in set(rows) - set(kept):
        for kind in ("images", "masks"):
            (prepared / kind / f"{row.case_id}.png").unlink()

    outcome = check(run)
    assert "test has no case with tb_label=1" in outcome.out
    assert "check.png" not in outcome.out, "there is no outlier, and no picture"


def test_a_training_refuses_a_set_that_changed_and_names_the_files(prepared, run):
    changed, gone = cases("train")[:2]
    path = prepared / "masks" / f"{changed}.png"
    write_png(path, 255 - np.asarray(Image.open(path)))
    (prepared / "images" / f"{gone}.png").unlink()

    outcome = run("train", *SMALL)

    assert outcome.code == 2
    assert "2 files of" in outcome.err
    assert f"masks/{changed}.png" in outcome.err
    assert f"images/{gone}.png" in outcome.err
    assert "check=true" in outcome.err
    assert not list(Path("runs").rglob("*.ckpt"))


def test_files_that_are_only_newer_have_not_changed(prepared, run):
    for path in prepared.glob("*/*.png"):
        os.utime(path)

    assert run("train", *SMALL, "trainer.max_epochs=1").code == 0


def test_checking_what_was_never_prepared(workplace, run):
    outcome = check(run)

    assert outcome.code == 2
    assert "manifest.csv is not there" in outcome.err
    assert not (workplace / "data").exists()
