"""What a good score is.

Everything is counted per case and averaged at the end, so that a score depends neither on the batch size nor on the
number of devices. torchmetrics gathers the cases of all devices, but does not score them: in version 1.9 its DiceScore
takes an argmax over the single channel, by which a wholly wrong mask scores 1, and leaves a case out of the mean where
both masks are empty; its binary_stat_scores fails on a batch of one case.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

COUNTS = ("true_positive", "false_positive", "true_negative", "false_negative", "bce")
OVERLAP_SCORES = ("accuracy", "dice", "iou", "precision", "recall", "bce")
SURFACE_SCORES = ("hd95_px", "assd_px", "surface_failed")

Mask = NDArray[np.bool_]


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


def surface_scores(prediction: Mask, truth: Mask) -> tuple[float, float, float]:
    """``SURFACE_SCORES`` of one case, (H, W) bool each.

    The 95th percentile of the distances from the pixels of either outline to the other outline (HD95), their mean
    (ASSD), both in pixels, and whether the case failed: where just one of the masks is empty no distance is defined,
    and both are set to the image's diagonal. Two empty masks are 0 apart.
    """
    if not prediction.any() and not truth.any():
        return 0.0, 0.0, 0.0
    if not prediction.any() or not truth.any():
        diagonal = math.hypot(*truth.shape)
        return diagonal, diagonal, 1.0
    ours, theirs = _outline(prediction), _outline(truth)
    distances = np.concatenate([distance_transform_edt(~theirs)[ours], distance_transform_edt(~ours)[theirs]])
    return float(np.percentile(distances, 95)), float(distances.mean()), 0.0


class CaseTable(Metric):
    """One row of numbers per case, gathered from all batches and devices; each case once, whoever saw it how often.

    The distributed sampler repeats cases to give every device as many; scores must not count them twice.

    Args:
        columns: how many numbers each case has.
    """

    full_state_update = False
    rows: list[Tensor]
    values: list[Tensor]

    def __init__(self, columns: int):
        super().__init__()
        self.columns = columns
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, row: Tensor, values: Tensor) -> None:
        """Add the cases of a batch: their rows in the manifest, (N,) int64, and their numbers, (N, columns)."""
        self.rows.append(row)
        self.values.append(values)

    def compute(self) -> Tensor:
        """(N, 1 + columns) float64 on the CPU: the case's row in the manifest, ascending, then its numbers."""
        rows, values = dim_zero_cat(self.rows).cpu(), dim_zero_cat(self.values).cpu().double()
        unique, position = torch.unique(rows, return_inverse=True)
        table = values.new_zeros(len(unique), self.columns)
        table[position] = values
        return torch.cat([unique.double()[:, None], table], dim=1)


def _fraction(part: Tensor, whole: Tensor, of_nothing: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp_min(1), of_nothing)


def _outline(mask: Mask) -> Mask:
    """The mask's pixels that touch its outside; the image's border counts as outside."""
    outline: Mask = mask & ~binary_erosion(mask)
    return outline
