"""Scores against numbers worked out by hand, against numpy, MONAI and torchmetrics, and whatever the batches were."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_confusion_matrix_metric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    get_confusion_matrix,
)
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_f1_score, binary_precision, binary_recall, binary_stat_scores

from lung_seg.model.metrics import overlap_counts, overlap_scores, pooled_dice
from lung_seg.model.surface_distances import surface_distances
from lung_seg.training.case_table import CaseTable


def logits_of(mask: Tensor) -> Tensor:
    """Logits that predict a mask with near certainty."""
    return torch.where(mask, 8.0, -8.0)


def mask_of(*rows: str) -> Tensor:
    """("##..", "....") as (1, 1, H, W) bool."""
    return torch.tensor([[[[pixel == "#" for pixel in row] for row in rows]]])


FULL, LEFT, RIGHT, EMPTY = (mask_of(row, row) for row in ("####", "##..", "..##", "...."))


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (LEFT, LEFT, {"dice": 1.0, "iou": 1.0, "accuracy": 1.0, "precision": 1.0, "recall": 1.0}),
        (FULL, LEFT, {"dice": 2 / 3, "iou": 0.5, "accuracy": 0.5, "precision": 0.5, "recall": 1.0}),
        (LEFT, FULL, {"dice": 2 / 3, "iou": 0.5, "accuracy": 0.5, "precision": 1.0, "recall": 0.5}),
        (RIGHT, LEFT, {"dice": 0.0, "iou": 0.0, "accuracy": 0.0, "precision": 0.0, "recall": 0.0}),
        (EMPTY, EMPTY, {"dice": 1.0, "iou": 1.0, "accuracy": 1.0, "precision": 1.0, "recall": 1.0}),
        (EMPTY, LEFT, {"dice": 0.0, "iou": 0.0, "accuracy": 0.5, "precision": 0.0, "recall": 0.0}),
        (LEFT, EMPTY, {"dice": 0.0, "iou": 0.0, "accuracy": 0.5, "precision": 0.0, "recall": 0.0}),
    ],
    ids=["perfect", "twice too large", "half", "disjoint", "both empty", "none found", "none there"],
)
def test_overlap_by_hand(prediction: Tensor, truth: Tensor, expected: dict[str, float]) -> None:
    scores = overlap_scores(overlap_counts(logits_of(prediction), truth))
    assert {name: scores[name].item() for name in expected} == pytest.approx(expected)


def test_cross_entropy_is_the_mean_over_the_pixels_of_a_case() -> None:
    bce = overlap_scores(overlap_counts(torch.zeros(2, 1, 3, 5), torch.ones(2, 1, 3, 5, dtype=torch.bool)))["bce"]
    torch.testing.assert_close(bce, torch.full((2,), math.log(2)))


def test_a_probability_of_one_half_is_lung() -> None:
    counts = overlap_counts(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool))
    assert overlap_scores(counts)["dice"].item() == 1.0


@pytest.fixture(scope="module")
def random_masks() -> tuple[Tensor, Tensor]:
    """1000 predictions and truths of every density, (1000, 1, 9, 11) bool: 100 of each are empty, 50 of them both."""
    rng = np.random.default_rng(0)
    prediction, truth = (rng.random((1000, 1, 9, 11)) < rng.random((1000, 1, 1, 1)) for _ in range(2))
    prediction[:100], truth[50:150] = False, False
    return torch.from_numpy(prediction), torch.from_numpy(truth)


def test_random_masks_agree_with_numpy(random_masks: tuple[Tensor, Tensor]) -> None:
    prediction, truth = (mask.flatten(1).numpy() for mask in random_masks)
    both, found, there = (mask.sum(1) for mask in (prediction & truth, prediction, truth))
    flawless = (prediction == truth).all(1)

    def fraction(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.where(whole > 0, part / np.maximum(whole, 1), flawless)

    expected = {
        "accuracy": (prediction == truth).mean(1),
        "dice": fraction(2 * both, found + there),
        "iou": fraction(both, (prediction | truth).sum(1)),
        "precision": fraction(both, found),
        "recall": fraction(both, there),
    }
    counts = overlap_counts(logits_of(random_masks[0]), random_masks[1])
    scores = overlap_scores(counts)
    for name, values in expected.items():
        np.testing.assert_allclose(scores[name].numpy(), values, rtol=0, atol=1e-6, err_msg=name)
    assert pooled_dice(counts) == pytest.approx(2 * both.sum() / (found + there).sum(), abs=1e-6)


def test_random_masks_agree_with_monai(random_masks: tuple[Tensor, Tensor]) -> None:
    prediction, truth = random_masks
    confusion = get_confusion_matrix(prediction.float(), truth.float())
    expected = {
        "accuracy": compute_confusion_matrix_metric("accuracy", confusion),
        "dice": compute_dice(prediction.float(), truth.float(), ignore_empty=False),
        "iou": compute_iou(prediction.float(), truth.float(), ignore_empty=False),
        "precision": compute_confusion_matrix_metric("precision", confusion),
        "recall": compute_confusion_matrix_metric("recall", confusion),
    }
    scores = overlap_scores(overlap_counts(logits_of(prediction), truth))
    for name, values in expected.items():
        defined = ~values.isnan()[:, 0]  # MONAI's precision and recall are NaN where they are fractions of nothing
        assert defined.sum() > 800
        np.testing.assert_allclose(scores[name][defined], values[defined, 0], rtol=0, atol=1e-6, err_msg=name)


def test_random_masks_agree_with_torchmetrics(random_masks: tuple[Tensor, Tensor]) -> None:
    prediction, truth = random_masks
    counts = overlap_counts(logits_of(prediction), truth)
    per_case = {"multidim_average": "samplewise"}
    of_torchmetrics = binary_stat_scores(prediction.int(), truth.int(), **per_case)
    np.testing.assert_array_equal(counts[:, :4], of_torchmetrics[:, :4])
    scores = overlap_scores(counts)
    either = (prediction | truth).flatten(1).any(1)  # two empty masks score 0 in torchmetrics
    for name, score in {"dice": binary_f1_score, "precision": binary_precision, "recall": binary_recall}.items():
        values = score(prediction[either].int(), truth[either].int(), **per_case)
        np.testing.assert_allclose(scores[name][either], values, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")  # MONAI calls it that way itself
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.125)])
def test_random_outlines_agree_with_monai(random_masks: tuple[Tensor, Tensor], spacing: tuple[float, float]) -> None:
    neither_empty = torch.stack(random_masks).flatten(2).any(2).all(0)  # else MONAI's distances are NaN or infinite
    assert neither_empty.sum() > 800
    # A border of background: MONAI shifts the outline of a mask that touches the image's border.
    prediction, truth = (F.pad(mask[neither_empty][::8], (1, 1, 1, 1)) for mask in random_masks)
    options = {"include_background": True, "spacing": list(spacing)}
    hd95 = compute_hausdorff_distance(prediction, truth, percentile=95, **options)
    assd = compute_average_surface_distance(prediction, truth, symmetric=True, **options)
    pairs = zip(prediction[:, 0].numpy(), truth[:, 0].numpy(), strict=True)
    ours = [surface_distances(*pair, spacing) for pair in pairs]
    np.testing.assert_allclose([case[0] for case in ours], hd95[:, 0], rtol=0, atol=1e-5)
    np.testing.assert_allclose([case[1] for case in ours], assd[:, 0], rtol=0, atol=1e-5)


def test_pooled_dice_weighs_cases_by_their_lungs() -> None:
    truth = torch.cat([mask_of("####", "####"), mask_of("#...", "....")])
    prediction = torch.cat([mask_of("####", "####"), mask_of(".#..", "....")])
    counts = overlap_counts(logits_of(prediction), truth)
    assert overlap_scores(counts)["dice"].mean().item() == pytest.approx(0.5)
    assert pooled_dice(counts) == pytest.approx(16 / 18)
    assert pooled_dice(overlap_counts(logits_of(EMPTY), EMPTY)) == 1.0
    assert pooled_dice(overlap_counts(logits_of(RIGHT), LEFT)) == 0.0


def square(top: int, left: int, side: int = 8) -> np.ndarray:
    mask = np.zeros((40, 30), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_identical_outlines_are_zero_apart() -> None:
    assert surface_distances(square(5, 5), square(5, 5)) == (0.0, 0.0, False)


def test_a_square_around_a_square_is_its_margin_apart() -> None:
    # Outline pixels of the inner square are 2 from the outer outline; the outer's corners are 2√2 from the inner's.
    hd95, assd, failed = surface_distances(square(10, 10), square(8, 8, side=12))
    # Of its 44 pixels the outer one has 4 corners at 2√2, more than five in a hundred, and 8 next to them at √5.
    assert hd95 == pytest.approx(2 * math.sqrt(2))
    assert assd == pytest.approx((28 * 2 + 4 * 2 * math.sqrt(2) + 8 * math.sqrt(5) + 32 * 2) / 72)
    assert not failed


def test_a_far_speck_moves_the_hausdorff_distance_not_beyond_its_share() -> None:
    with_speck = square(10, 10) | square(35, 25, side=1)
    hd95, assd, _ = surface_distances(with_speck, square(10, 10))
    assert hd95 == 0.0  # one pixel of 29 is less than five in a hundred
    assert assd == pytest.approx(math.hypot(18, 8) / 57)


def test_surface_distances_do_not_depend_on_which_mask_is_the_truth() -> None:
    one, other = square(5, 5), square(9, 14, side=11)
    assert surface_distances(one, other) == pytest.approx(surface_distances(other, one))


def test_the_larger_direction_counts_not_both_together() -> None:
    # A bar whose far half is missed: all of the prediction lies on the truth, half of the truth lies far from it.
    truth, prediction = np.zeros((5, 60), dtype=bool), np.zeros((5, 60), dtype=bool)
    truth[2, 10:50] = True
    prediction[2, 10:30] = True
    distances = np.r_[np.zeros(20), np.arange(1, 21)]  # of the truth's pixels; those of the prediction's are all 0
    expected = (np.percentile(distances, 95), distances.sum() / 60, False)
    assert surface_distances(prediction, truth) == pytest.approx(expected)


@pytest.mark.parametrize("shape", ["disc", "ring", "two pieces"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.3, 0.7)])
def test_three_shapes_agree_with_scipy(shape: str, spacing: tuple[float, float]) -> None:
    rows, columns = np.mgrid[:70, :50]
    radius = np.hypot(rows - 33, columns - 24)
    truth = {"disc": radius < 17, "ring": (radius < 20) & (radius > 9), "two pieces": np.abs(columns - 24) > 12}[shape]
    prediction = np.roll(truth, (5, -3), (0, 1))
    outlines = [mask & ~binary_erosion(mask) for mask in (prediction, truth)]
    directed = [distance_transform_edt(~to, sampling=spacing)[start] for start, to in (outlines, outlines[::-1])]
    expected = (max(np.percentile(each, 95) for each in directed), np.concatenate(directed).mean(), False)
    assert surface_distances(prediction, truth, spacing) == pytest.approx(expected)


def test_a_shift_is_as_long_down_as_sideways() -> None:
    truth = np.zeros((300, 400), dtype=bool)
    truth[100:200, 150:250] = True
    for shift, spacing, expected in (((40, 0), (1, 1), 40), ((0, 40), (1, 1), 40), ((0, 40), (0.2, 0.1), 4)):
        assert surface_distances(np.roll(truth, shift, (0, 1)), truth, spacing)[0] == pytest.approx(expected)


def test_an_undefined_distance_is_the_diagonal_and_counted_as_failed() -> None:
    nothing = np.zeros((40, 30), dtype=bool)
    assert surface_distances(nothing, square(5, 5)) == (50.0, 50.0, True)
    assert surface_distances(square(5, 5), nothing, (0.1, 0.1)) == pytest.approx((5.0, 5.0, True))
    assert surface_distances(nothing, nothing) == (0.0, 0.0, False)


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_the_table_depends_neither_on_batches_nor_on_order_and_counts_a_repeated_case_once(batch_size: int) -> None:
    values = torch.arange(14.0).reshape(7, 2)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(batch_size))
    seen = torch.cat([order, order[:2]])
    table = CaseTable(columns=2)
    for batch in seen.split(batch_size):
        table.update(batch + 100, values[batch])
    expected = torch.cat([torch.arange(100.0, 107.0)[:, None], values], dim=1).double()
    torch.testing.assert_close(table.compute(), expected)
    table.reset()
    table.update(torch.tensor([3]), torch.ones(1, 2))
    assert table.compute().tolist() == [[3, 1, 1]]
