"""What a good score is.

Everything is counted per case and averaged at the end, so that a score depends neither on the batch size nor on the
number of devices. torchmetrics gathers the cases of all devices, but does not score them: in version 1.9 its DiceScore
takes an argmax over the single channel, by which a wholly wrong mask scores 1, and leaves a case out of the mean where
both masks are empty; its binary_stat_scores fails on a batch of one case.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

COUNTS = ("true_positive", "false_positive", "true_negative", "false_negative", "bce")
OVERLAP_SCORES = ("accuracy", "dice", "iou", "precision", "recall", "bce")


def predict_mask(logits: Tensor) -> Tensor:
    """Lung where the probability is at least 0.5: the one way from logits to a mask."""
    return logits >= 0


def overlap_counts(logits: Tensor, mask: Tensor) -> Tensor:
    """The ``COUNTS`` of each case, (N, 5) float32: four pixel counts and the mean cross-entropy.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) bool.
    """
    prediction = predict_mask(logits)
    both, predicted, lung = (area.flatten(1).sum(1) for area in (prediction & mask, prediction, mask))
    pixels = mask[0].numel()
    bce = F.binary_cross_entropy_with_logits(logits.float(), mask.float(), reduction="none").flatten(1).mean(1)
    return torch.stack([both, predicted - both, pixels - predicted - lung + both, lung - both, bce], dim=1).float()


def overlap_scores(counts: Tensor) -> dict[str, Tensor]:
    """The ``OVERLAP_SCORES`` of each case from its counts, (N,) each.

    Where a score is a fraction of nothing it is 1 if nothing was wrong and 0 otherwise: Dice is 1 where truth and
    prediction are both empty, 0 where one of them is.
    """
    tp, fp, tn, fn, bce = counts.unbind(1)
    clean = (fp + fn == 0).double()
    return {
        "accuracy": (tp + tn) / (tp + fp + tn + fn),
        "dice": _fraction(2 * tp, 2 * tp + fp + fn, clean),
        "iou": _fraction(tp, tp + fp + fn, clean),
        "precision": _fraction(tp, tp + fp, clean),
        "recall": _fraction(tp, tp + fn, clean),
        "bce": bce,
    }


def pooled_dice(counts: Tensor) -> float:
    """Dice of all pixels of all cases together."""
    tp, fp, _, fn, _ = counts.sum(0).tolist()
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0


def _fraction(part: Tensor, whole: Tensor, of_nothing: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp_min(1), of_nothing)
