"""Metrics of overlap: pixel counts of each case, and the scores that follow from them.

Everything is counted per case and averaged at the end, so that a score depends neither on the batch size nor on the
number of devices. torchmetrics gathers the cases of all devices, but does not score them: in version 1.9 its DiceScore
takes an argmax over the single channel, by which a wholly wrong mask scores 1, and leaves a case out of the mean where
both masks are empty; its binary_stat_scores fails on a batch of one case.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lung_seg.config import LUNG, UNKNOWN

COUNTS = ("true_positive", "false_positive", "true_negative", "false_negative", "bce")  # pixels; mean cross-entropy
OVERLAP_SCORES = ("accuracy", "dice", "iou", "precision", "recall", "bce")


def predict_mask(logits: Tensor) -> Tensor:
    """Lung where the probability is at least 0.5: the one way from logits to a mask."""
    return logits >= 0


def overlap_counts(logits: Tensor, mask: Tensor) -> Tensor:
    """The ``COUNTS`` of each case, (N, 5) float32, from logits (N, 1, H, W) and a mask (N, 1, H, W).

    The mask holds BACKGROUND, LUNG and UNKNOWN; pixels that are not known are not counted.
    """
    known, truth = known_pixels(mask), (mask == LUNG).flatten(1)
    prediction = predict_mask(logits).flatten(1) & known
    total = known.sum(1)
    tp = (prediction & truth).sum(1)
    fp, fn = prediction.sum(1) - tp, truth.sum(1) - tp
    tn = total - tp - fp - fn
    bce = F.binary_cross_entropy_with_logits(logits.float().flatten(1), truth.float(), reduction="none")
    return torch.stack([tp, fp, tn, fn, (bce * known).sum(1) / total.clamp_min(1)], dim=1)


def known_pixels(mask: Tensor) -> Tensor:
    """Which pixels of a mask (N, 1, H, W) are known to be lung or background, (N, pixels) bool."""
    return (mask != UNKNOWN).flatten(1)


def overlap_scores(counts: Tensor) -> dict[str, Tensor]:
    """The ``OVERLAP_SCORES`` of each case from its counts, (N,) each.

    Where the denominator is 0 a score is 1 if no pixel is wrong and 0 otherwise: Dice is 1 if truth and prediction are
    both empty, and 0 if only one of them is.
    """
    tp, fp, tn, fn, bce = counts.unbind(1)
    perfect = (fp + fn == 0).double()

    def ratio(part: Tensor, whole: Tensor) -> Tensor:
        return torch.where(whole > 0, part / whole.clamp_min(1), perfect)

    return {
        "accuracy": (tp + tn) / (tp + fp + tn + fn),
        "dice": ratio(2 * tp, 2 * tp + fp + fn),
        "iou": ratio(tp, tp + fp + fn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "bce": bce,
    }


def pooled_dice(counts: Tensor) -> float:
    """Dice of all pixels of all cases together."""
    tp, fp, _, fn, _ = counts.sum(0).tolist()
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
