"""Scores against numbers worked out by hand, against numpy, MONAI and torchmetrics, and whatever the batches were."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_confusion_matrix_metric, compute_dice, compute_iou, get_confusion_matrix
from monai.metrics.utils import get_mask_edges, get_surface_distance
from torch import Tensor
from torchmetrics.functional.classification import binary_f1_score, binary_precision, binary_recall, binary_stat_scores

from lung_seg.model.metrics import overlap_counts, overlap_scores, pooled_dice
from lung_seg.model.surface_distances import surface_scores
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


def test_random_outlines_agree_with_monai(random_masks: tuple[Tensor, Tensor]) -> None:
    neither_empty = torch.stack(random_masks).flatten(2).any(2).all(0)  # else MONAI's distances are NaN or infinite
    assert neither_empty.sum() > 800
    for prediction, truth in zip(*(mask[neither_empty, 0].numpy() for mask in random_masks), strict=True):
        ours, theirs = get_mask_edges(prediction, truth, crop=False)
        distances = np.concatenate([get_surface_distance(ours, theirs), get_surface_distance(theirs, ours)])
        # MONAI's HD95 is the larger of the two directions' percentiles; ours is that of both directions together.
        expected = (np.percentile(distances, 95), distances.mean(), 0.0)
        assert surface_scores(prediction, truth) == pytest.approx(expected, abs=1e-6)


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
    assert surface_scores(square(5, 5), square(5, 5)) == (0.0, 0.0, 0.0)


def test_a_square_around_a_square_is_its_margin_apart() -> None:
    # Outline pixels of the inner square are 2 from the outer outline; the outer's corners are 2√2 from the inner's.
    hd95_px, assd_px, failed = surface_scores(square(10, 10), square(8, 8, side=12))
    assert 2.0 <= hd95_px <= 2 * math.sqrt(2)
    assert 2.0 < assd_px < 2.2
    assert failed == 0.0


def test_a_far_speck_moves_the_hausdorff_distance_not_beyond_its_share() -> None:
    with_speck = square(10, 10) | square(35, 25, side=1)
    hd95_px, assd_px, _ = surface_scores(with_speck, square(10, 10))
    assert hd95_px == 0.0  # one pixel of 57 is less than five in a hundred
    assert assd_px == pytest.approx(math.hypot(18, 8) / 57)


def test_surface_scores_do_not_depend_on_which_mask_is_the_truth() -> None:
    one, other = square(5, 5), square(9, 14, side=11)
    assert surface_scores(one, other) == pytest.approx(surface_scores(other, one))


def test_an_undefined_distance_is_the_diagonal_and_counted_as_failed() -> None:
    nothing = np.zeros((40, 30), dtype=bool)
    assert surface_scores(nothing, square(5, 5)) == (50.0, 50.0, 1.0)
    assert surface_scores(square(5, 5), nothing) == (50.0, 50.0, 1.0)
    assert surface_scores(nothing, nothing) == (0.0, 0.0, 0.0)


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
