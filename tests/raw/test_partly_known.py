"""Masks of which some pixels are not known: prepared, trained with, and scored on what is known."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lung_seg.model.losses import SegmentationLoss, soft_dice_loss
from lung_seg.model.metrics import overlap_counts
from tests import layouts
from tests.conftest import Run

SIZE_PX = 64
FOLDER = ("data=folder", "data.raw_dir=raw", f"data.image_size_px={SIZE_PX}", "data.prepared_dir=sets", "data.name=own")
TRAINING = ("model.base_channels=4", "model.depth=2", "trainer=cpu", "trainer.max_epochs=2", "data.batch_size=4")
QUIET = ("trainer.enable_progress_bar=false", "optimizer.lr=1e-2")


@pytest.fixture
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve radiographs, their masks, and bounds that hold the lungs and what lies between them."""
    monkeypatch.chdir(tmp_path)
    layouts.write_folder(tmp_path / "raw", cases=12, height_px=SIZE_PX, width_px=SIZE_PX)
    for path in (tmp_path / "raw" / "masks").iterdir():
        layouts.write_mask(tmp_path / "raw" / "bounds" / path.name, hull(np.asarray(Image.open(path)) > 0))
    return tmp_path


def hull(mask: np.ndarray) -> np.ndarray:
    points = cv2.findNonZero(mask.astype(np.uint8))
    return cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), cv2.convexHull(points), 1) > 0


def prepared_masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.asarray(Image.open(path)) for path in sorted((folder / "masks").iterdir())}


def test_inside_bounds_is_lung_or_not_known_and_outside_background(bounded: Path, run: Run) -> None:
    assert run("prepare_data", *FOLDER, "data.folder.bounds_dir=bounds").code == 0

    masks = prepared_masks(bounded / "sets" / f"own-{SIZE_PX}")
    assert len(masks) == 12
    for stem, prepared in masks.items():
        lung, bounds = (
            np.asarray(Image.open(bounded / "raw" / kind / f"{stem}.png")) > 0 for kind in ("masks", "bounds")
        )
        assert np.array_equal(prepared == 255, lung)
        assert (prepared[bounds & ~lung] == 128).all()
        beyond = cv2.dilate(bounds.astype(np.uint8), np.ones((5, 5))) == 0  # the outline itself is not exact
        assert (prepared[beyond] == 0).all()


def test_bounds_alone_are_enough(bounded: Path, run: Run) -> None:
    outcome = run("prepare_data", *FOLDER, "data.folder.mask_dir=none", "data.folder.bounds_dir=bounds")

    assert outcome.code == 0
    assert all(
        set(np.unique(mask)) == {0, 128} for mask in prepared_masks(bounded / "sets" / f"own-{SIZE_PX}").values()
    )


def test_a_value_says_what_is_not_known(bounded: Path, run: Run) -> None:
    for path in (bounded / "raw" / "masks").iterdir():
        mask = np.asarray(Image.open(path)).copy()
        mask[:20] = 7
        Image.fromarray(mask).save(path)

    assert run("prepare_data", *FOLDER, "data.folder.ignore_value=7").code == 0

    for stem, prepared in prepared_masks(bounded / "sets" / f"own-{SIZE_PX}").items():
        raw = np.asarray(Image.open(bounded / "raw" / "masks" / f"{stem}.png"))
        assert np.array_equal(prepared, np.select([raw == 7, raw > 0], [128, 255]))


def test_an_unfinished_set_keeps_no_mask_that_another_value_made(bounded: Path, run: Run) -> None:
    for path in (bounded / "raw" / "masks").iterdir():
        mask = np.asarray(Image.open(path)).copy()
        mask[:20] = 7
        Image.fromarray(mask).save(path)
    assert run("prepare_data", *FOLDER, "data.folder.ignore_value=7", "shard=1/2").code == 0

    assert run("prepare_data", *FOLDER, "data.folder.ignore_value=9").code == 0

    assert all(128 not in mask for mask in prepared_masks(bounded / "sets" / f"own-{SIZE_PX}").values())


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ("no bounds", ["data.folder.bounds_dir=bounds"], "holds no masks.\nIt is relative to data.raw_dir."),
        ("other size", ["data.folder.bounds_dir=bounds"], "p01_1.png is 32x32, but"),
        ("jpeg", ["data.folder.ignore_value=7"], "does not keep the values that data.folder.ignore_value names"),
        ("", ["data.folder.ignore_value=1", "data.folder.lung_labels=[1,2]"], "is one of data.folder.lung_labels"),
    ],
)
def test_what_cannot_be_read_so_is_refused(
    bounded: Path, run: Run, change: str, settings: list[str], message: str
) -> None:
    for path in sorted((bounded / "raw" / "bounds").iterdir()):
        if change == "no bounds":
            path.unlink()
        elif change == "other size":
            Image.open(path).resize((32, 32)).save(path)
    for path in sorted((bounded / "raw" / "masks").iterdir()) if change == "jpeg" else ():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()

    outcome = run("prepare_data", *FOLDER, *settings)

    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_the_loss_leaves_out_what_is_not_known_by_hand() -> None:
    logits = torch.tensor([[1.0, -2.0, 3.0, 0.5]]).reshape(1, 1, 2, 2)
    mask = torch.tensor([[1, 0, 2, 0]]).reshape(1, 1, 2, 2)
    bce = F.binary_cross_entropy_with_logits(
        torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1.0, 0, 0]), reduction="none"
    )

    torch.testing.assert_close(SegmentationLoss()(logits, mask), bce.mean()[None])
    weighted = (bce * torch.tensor([1, 3, 3])).mean()[None]
    torch.testing.assert_close(SegmentationLoss(outside_weight=3)(logits, mask), weighted)
    whole = torch.where(mask == 2, 0, mask)  # nothing outside weighs more where all is known
    torch.testing.assert_close(SegmentationLoss(outside_weight=3)(logits, whole), SegmentationLoss()(logits, whole))
    dice = soft_dice_loss(torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[1.0, 0, 0]]))
    torch.testing.assert_close(SegmentationLoss(dice_weight=1)(logits, mask), bce.mean()[None] + dice)


def test_a_case_of_which_nothing_is_known_costs_nothing_and_moves_nothing() -> None:
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = SegmentationLoss(dice_weight=1)(logits, torch.full((1, 1, 4, 4), 2))
    loss.sum().backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_only_known_pixels_are_counted_by_hand() -> None:
    logits = torch.tensor([[5.0, 5.0, 5.0, -5.0, -5.0, -5.0]]).reshape(1, 1, 2, 3)
    mask = torch.tensor([[1, 0, 2, 1, 0, 2]]).reshape(1, 1, 2, 3)
    *counts, bce = overlap_counts(logits, mask)[0].tolist()
    assert counts == [1, 1, 1, 1]
    assert bce == pytest.approx((2 * np.log1p(np.exp(-5)) + 2 * (5 + np.log1p(np.exp(-5)))) / 4)


def test_training_and_scoring_take_partly_known_masks(bounded: Path, run: Run) -> None:
    """The delivered Dice is that of predict.py's mask on the known pixels, worked out here."""
    settings = (*FOLDER, "data.folder.bounds_dir=bounds", *TRAINING, *QUIET, "data.test_cases=4", "hydra.run.dir=run")
    assert run("train", *settings).code == 0
    assert run("predict", "input=raw/images", "output=out", "checkpoint=run", "overlay=false").code == 0

    with (bounded / "run" / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        prepared = np.asarray(
            Image.open(bounded / "sets" / f"own-{SIZE_PX}" / "original_masks" / f"{row['case_id']}.png")
        )
        found = (np.asarray(Image.open(bounded / "out" / f"{row['case_id']}_mask.png")) > 0) & (prepared != 128)
        truth = prepared == 255
        expected = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        assert float(row["delivered_dice"]) == pytest.approx(expected, abs=1e-4)
        assert row["hd95_px"] == "", "an outline that is partly known has no distance"
    assert run("prepare_data", *FOLDER, "data.folder.bounds_dir=bounds", "check=true").code == 0


@pytest.fixture
def two_sets(bounded: Path, run: Run) -> Path:
    """The bounded set is prepared; another one of 20 cases is in ./other."""
    assert run("prepare_data", *FOLDER, "data.folder.bounds_dir=bounds").code == 0
    layouts.write_montgomery(bounded / "other", cases=20)
    return bounded


MAIN = ("data=montgomery", "data.raw_dir=other", "data.prepared_dir=sets", "data.test_cases=5")
ADDED = ("data.additional=sets/own-64", "data.additional_repeats=2", "hydra.run.dir=run")


def test_another_set_is_trained_on_as_well_and_listed_cases_are_not(two_sets: Path, run: Run) -> None:
    (two_sets / "left_out.txt").write_text("MCUCXR_0003_0\r\np01_1\r\np01_2\r\nnobody\r\n")
    settings = (*MAIN, f"data.image_size_px={SIZE_PX}", *TRAINING, *QUIET, *ADDED, "data.exclude=left_out.txt")

    outcome = run("train", *settings)

    assert outcome.code == 0, outcome.err
    assert "data.exclude=left_out.txt: no case is called nobody (unknown: 1 of 4)." in outcome.out + outcome.err
    with (two_sets / "sets" / f"montgomery-{SIZE_PX}" / "manifest.csv").open(newline="") as file:
        train = [row for row in csv.DictReader(file) if row["split"] == "train"]
    kept = [row for row in train if row["case_id"] != "MCUCXR_0003_0"]
    steps = (len(kept) + 2 * 10) // 4
    assert f'"steps": {2 * steps}' in (two_sets / "run" / "summary.json").read_text()
    assert f"on {len(kept) + 10} radiographs" in outcome.out
    seen = set(
        torch.load(two_sets / "run" / "checkpoints" / "best.ckpt", weights_only=True)["LungDataModule"]["identities"][
            "train"
        ]
    )
    with (two_sets / "sets" / f"own-{SIZE_PX}" / "manifest.csv").open(newline="") as file:
        added = {row["case_id"]: row["raw_sha256"] for row in csv.DictReader(file)}
    assert {case for case, digest in added.items() if digest not in seen} == {"p01_1", "p01_2"}
    assert {row["raw_sha256"] for row in kept} <= seen
    assert not {row["raw_sha256"] for row in train if row not in kept} & seen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.additional=nowhere"], "data.additional=nowhere is no prepared set."),
        (
            ["data.additional=sets/own-64", "data.image_size_px=32"],
            "was prepared with 64 px (stretch), this set with 32",
        ),
        (["data.exclude=nowhere.txt"], "data.exclude=nowhere.txt cannot be read."),
        (["data.exclude=other.txt"], "data.exclude=other.txt names none of the cases, which are called like MCUCXR_"),
    ],
)
def test_sets_and_lists_that_do_not_fit_are_refused(
    two_sets: Path, run: Run, settings: list[str], message: str
) -> None:
    (two_sets / "other.txt").write_text("somebody\n")

    outcome = run("train", *MAIN, f"data.image_size_px={SIZE_PX}", *TRAINING, *QUIET, "hydra.run.dir=run", *settings)

    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
