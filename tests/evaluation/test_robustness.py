"""evaluate.py robustness=true: each severity of each corruption, by the way that predict.py goes."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lung_seg import Predictor
from lung_seg.evaluation.robustness import CORRUPTIONS, Corruption, corrupt
from lung_seg.prepared.manifest import read_manifest
from tests.conftest import Run
from tests.layouts import draw_chest

SCORE = ("evaluate", "checkpoint=runs/first", "trainer=cpu", "robustness=true")
STEPS = [(corruption.name, severity) for corruption in CORRUPTIONS for severity in corruption.severities]
BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
CASE = "0123456789abcdef"


def chest() -> tuple[np.ndarray, np.ndarray]:
    image, right, left = draw_chest(1, 96, 96)
    return image, right | left


def changed(name: str, severity: float, case: str = CASE) -> tuple[np.ndarray, np.ndarray]:
    return corrupt(*chest(), BY_NAME[name].transforms(severity), case)


def test_every_corruption_that_was_asked_for_is_there() -> None:
    asked = "noise blur contrast gamma tone_curve inversion rotation crop border text opacity JPEG"
    assert [corruption.name.replace(" ", "_") for corruption in CORRUPTIONS] == asked.split()
    assert all(corruption.parameter and corruption.severities for corruption in CORRUPTIONS)


@pytest.mark.parametrize(("name", "severity"), STEPS)
def test_a_corruption_changes_the_image_alike_each_time_and_leaves_the_case_unchanged(
    name: str, severity: float
) -> None:
    image, mask = chest()
    before, mask_before = image.copy(), mask.copy()
    transforms = BY_NAME[name].transforms(severity)
    once, truth = corrupt(image, mask, transforms, CASE)
    again, truth_again = corrupt(image, mask, BY_NAME[name].transforms(severity), CASE)
    assert (image == before).all()
    assert (mask == mask_before).all()
    assert (once == again).all()
    assert (truth == truth_again).all()
    assert once.dtype == np.uint8
    assert truth.dtype == np.uint8
    assert once.shape == truth.shape
    assert once.shape != image.shape or (once != image).any()


def test_severities_are_what_they_say() -> None:
    image, mask = chest()
    flat = np.full((96, 96), 128, np.uint8)
    noise, _ = corrupt(flat, mask, BY_NAME["noise"].transforms(0.1), CASE)
    assert noise.std() == pytest.approx(25.5, rel=0.05)
    step = np.where(np.arange(96) < 48, 0, 200).astype(np.uint8)[None].repeat(96, axis=0)
    blurred, _ = corrupt(step, mask, BY_NAME["blur"].transforms(2), CASE)
    assert blurred[48] == pytest.approx(cv2.GaussianBlur(step, (0, 0), 2)[48], abs=2)
    contrast, _ = corrupt(step, mask, BY_NAME["contrast"].transforms(0.5), CASE)
    assert np.unique(contrast).tolist() == [50, 150]  # 100 ± 50 for 100 ± 100
    gamma, _ = corrupt(flat, mask, BY_NAME["gamma"].transforms(2), CASE)
    assert np.unique(gamma).tolist() == [pytest.approx(255 * (128 / 255) ** 2, abs=1)]
    assert (changed("inversion", 1)[0] == 255 - image).all()
    assert changed("crop", 0.1)[0].shape == (96 - 2 * 9, 96 - 2 * 9)
    bordered, truth = changed("border", 0.125)
    assert bordered.shape == (120, 120)
    assert (bordered[12:-12, 12:-12] == image).all()
    assert (truth[12:-12, 12:-12] == mask).all()
    assert not bordered[:12].any()


def test_a_mask_is_turned_with_its_image_and_stays_where_only_grey_levels_change() -> None:
    _, mask = chest()
    rotation = cv2.getRotationMatrix2D((47.5, 47.5), 30, 1)
    turned = cv2.warpAffine(mask.astype(np.uint8), rotation, (96, 96), flags=cv2.INTER_NEAREST) > 0
    _, either = changed("rotation", 30)
    _, other = changed("rotation", -30)
    assert max((truth == turned).mean() for truth in (either, other)) > 0.99
    for name in ("noise", "blur", "contrast", "gamma", "tone curve", "inversion", "text", "opacity", "JPEG"):
        assert (changed(name, BY_NAME[name].severities[-1])[1] == mask).all()


def test_chance_depends_on_the_case_alone() -> None:
    for name in ("noise", "tone curve", "text", "opacity"):
        severity = BY_NAME[name].severities[-1]
        assert (changed(name, severity)[0] != changed(name, severity, CASE[::-1])[0]).any()


def test_the_table_is_that_of_the_masks_that_predict_writes(
    trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    few: tuple[Corruption, ...] = (BY_NAME["inversion"], BY_NAME["border"]._replace(severities=(0.05,)))
    monkeypatch.setattr("lung_seg.evaluation.robustness.CORRUPTIONS", few)
    outcome = run(*SCORE, "hydra.run.dir=runs/rob")
    assert outcome.code == 0, outcome.err
    with Path("runs/rob/robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["corruption"], row["severity"]) for row in rows] == [
        ("none", "0.0"), ("inversion", "1"), ("border", "0.05"),
    ]  # fmt: skip
    folder = Path("data/segmentation/montgomery-32")
    tested = [row for row in read_manifest(folder / "manifest.csv") if row.split == "test"]
    predictor, dice, warned = Predictor("runs/first", device="cpu"), [], 0
    for row in tested:
        image, truth = (
            np.pad(np.asarray(Image.open(folder / kind / f"{row.case_id}.png")), 1) for kind in ("images", "masks")
        )
        prediction = predictor.predict(image)
        dice.append(2 * (prediction.mask & (truth > 0)).sum() / (prediction.mask.sum() + (truth > 0).sum()))
        warned += bool(prediction.quality_warning)
    unchanged, inverted, bordered = rows
    assert float(bordered["dice_mean"]) == pytest.approx(np.mean(dice))
    assert float(bordered["dice_low"]) <= np.mean(dice) <= float(bordered["dice_high"])
    assert int(bordered["warned"]) == warned
    assert int(bordered["cases"]) == len(tested) == 5
    assert float(inverted["dice_mean"]) < 0.5 < float(bordered["dice_mean"]) < float(unchanged["dice_mean"])

    assert f"{'border':12}{'0.05':>10}" in outcome.out
    assert f"{np.mean(dice):.4f}" in outcome.out
    summary = json.loads(Path("runs/rob/summary.json").read_text())
    assert [row["corruption"] for row in summary["robustness"]] == ["none", "inversion", "border"]
    page = Path("runs/rob/report.html").read_text()
    assert "inversion: 1: bright and dark swapped" in page
    assert page.count("Example of the corruption") == 2
    assert sorted(path.name for path in Path("runs/rob/robustness").iterdir()) == ["border.png", "inversion.png"]


@pytest.mark.parametrize("other", ["augmentation.noise=0.1", "checkpoints=[runs/first,runs/first]"])
def test_what_it_does_not_go_with_is_refused_in_two_lines(trained: Path, run: Run, other: str) -> None:
    arguments = [argument for argument in SCORE if not (other.startswith("checkpoints") and "checkpoint=" in argument)]
    refused = run(*arguments, other)
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "robustness=true does not go with checkpoints= or augmentation=.",
        "It corrupts the cases itself, and scores one checkpoint=.",
    ]


def test_without_it_there_is_no_table(trained: Path) -> None:
    assert json.loads(Path("runs/first/summary.json").read_text())["robustness"] is None
    assert "<h2>Robustness</h2>" not in Path("runs/first/report.html").read_text()
    assert not Path("runs/first/robustness.csv").exists()
