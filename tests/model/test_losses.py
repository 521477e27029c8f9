"""The loss, against numbers worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from lung_seg.config import UNKNOWN
from lung_seg.model.losses import SegmentationLoss, soft_dice_loss

TRUTH = torch.tensor([[[[True, True], [False, False]]], [[[False, False], [False, False]]]])


def test_the_default_is_binary_cross_entropy_of_each_case() -> None:
    logits = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    loss = SegmentationLoss()(logits, TRUTH)
    expected = torch.stack(
        [F.binary_cross_entropy_with_logits(one, truth.float()) for one, truth in zip(logits, TRUTH, strict=True)]
    )
    torch.testing.assert_close(loss, expected)


def test_an_undecided_network_costs_the_logarithm_of_two() -> None:
    loss = SegmentationLoss()(torch.zeros(2, 1, 2, 2), TRUTH)
    torch.testing.assert_close(loss, torch.full((2,), math.log(2)))


def test_positive_weight_counts_lung_pixels_more() -> None:
    loss = SegmentationLoss(positive_weight=3.0)(torch.zeros(2, 1, 2, 2), TRUTH)
    torch.testing.assert_close(loss, torch.tensor([2 * math.log(2), math.log(2)]))


@pytest.mark.parametrize(
    ("logit_on_lung", "logit_elsewhere", "expected"),
    [(50.0, -50.0, 0.0), (-50.0, -50.0, 1 - 1 / 3), (-50.0, 50.0, 1 - 1 / 5), (50.0, 50.0, 1 - 5 / 7)],
    ids=["perfect", "nothing found", "all wrong", "all lung"],
)
def test_soft_dice_by_hand(logit_on_lung: float, logit_elsewhere: float, expected: float) -> None:
    truth = TRUTH[:1]
    logits = torch.where(truth, logit_on_lung, logit_elsewhere)
    assert soft_dice_loss(logits, truth.float()).item() == pytest.approx(expected, abs=1e-6)


def test_soft_dice_of_nothing_found_where_nothing_is_costs_nothing() -> None:
    assert soft_dice_loss(torch.full((1, 1, 2, 2), -50.0), TRUTH[1:].float()).item() == pytest.approx(0, abs=1e-6)


def test_dice_weight_adds_to_the_cross_entropy() -> None:
    logits = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    plain, weighted = SegmentationLoss()(logits, TRUTH), SegmentationLoss(dice_weight=0.5)(logits, TRUTH)
    torch.testing.assert_close(weighted - plain, 0.5 * soft_dice_loss(logits, TRUTH.float()))


def test_outside_weight_acts_in_partly_known_cases_only() -> None:
    mask = torch.tensor([[[[1, 1], [0, 0]]], [[[1, 0], [0, UNKNOWN]]]])  # the first case is wholly known
    loss = SegmentationLoss(outside_weight=3.0)(torch.zeros(2, 1, 2, 2), mask)
    torch.testing.assert_close(loss, torch.tensor([math.log(2), (1 + 3 + 3) / 3 * math.log(2)]))
