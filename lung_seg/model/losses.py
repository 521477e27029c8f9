"""The training loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lung_seg.config import LUNG
from lung_seg.model.metrics import known_pixels


class SegmentationLoss(nn.Module):
    """Binary cross-entropy on the logits plus weighted soft Dice loss.

    Args:
        dice_weight: weight of the soft Dice loss; that of the cross-entropy is 1.
        positive_weight: weight of a lung pixel in the cross-entropy; that of a background pixel is 1.
        outside_weight: weight in the cross-entropy of a background pixel in a partly known mask. Such masks are sure
            about what is not lung, and teach little else.
    """

    def __init__(self, dice_weight: float = 0.0, positive_weight: float = 1.0, outside_weight: float = 1.0):
        super().__init__()
        self.dice_weight = dice_weight
        self.positive_weight = positive_weight
        self.outside_weight = outside_weight

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Loss of each case, (N,), from logits (N, 1, H, W) and a mask (N, 1, H, W) of BACKGROUND, LUNG and UNKNOWN.

        Pixels that are not known have no part in it; a case of which no pixel is known has loss 0.
        """
        logits, truth, known = logits.float().flatten(1), (mask == LUNG).float().flatten(1), known_pixels(mask)
        pos_weight = logits.new_full((), self.positive_weight)
        bce = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=pos_weight, reduction="none")
        weight = known.float()
        if self.outside_weight != 1:
            outside = known & (truth == 0) & ~known.all(1, keepdim=True)
            weight = torch.where(outside, self.outside_weight, weight)
        loss = (bce * weight).sum(1) / known.sum(1).clamp_min(1)
        if self.dice_weight:
            loss = loss + self.dice_weight * soft_dice_loss(logits.masked_fill(~known, -torch.inf), truth)
        return loss


def soft_dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice on probabilities, of each case (Milletari et al. 2016, doi:10.1109/3DV.2016.79).

    1 is added to numerator and denominator, so that a case without lung and without prediction has loss 0.
    """
    probability, truth = logits.sigmoid().flatten(1), truth.flatten(1)
    intersection = (probability * truth).sum(1)
    return 1 - (2 * intersection + 1) / (probability.sum(1) + truth.sum(1) + 1)
