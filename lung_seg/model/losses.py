"""The training loss."""

from torch import Tensor, nn
from torch.nn import functional as F


class SegmentationLoss(nn.Module):
    """Binary cross-entropy on the logits plus weighted soft Dice loss.

    Args:
        dice_weight: weight of the soft Dice loss; that of the cross-entropy is 1.
        positive_weight: weight of a lung pixel in the cross-entropy; that of a background pixel is 1.
    """

    def __init__(self, dice_weight: float = 0.0, positive_weight: float = 1.0):
        super().__init__()
        self.dice_weight = dice_weight
        self.positive_weight = positive_weight

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Loss of each case, (N,), from logits (N, 1, H, W) and a mask (N, 1, H, W) bool."""
        logits, truth = logits.float(), mask.float()
        pos_weight = logits.new_full((), self.positive_weight)
        bce = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=pos_weight, reduction="none")
        loss = bce.flatten(1).mean(1)
        if self.dice_weight:
            loss = loss + self.dice_weight * soft_dice_loss(logits, truth)
        return loss


def soft_dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice on probabilities, of each case (Milletari et al. 2016, doi:10.1109/3DV.2016.79).

    1 is added to numerator and denominator, so that a case without lung and without prediction has loss 0.
    """
    probability, truth = logits.sigmoid().flatten(1), truth.flatten(1)
    intersection = (probability * truth).sum(1)
    return 1 - (2 * intersection + 1) / (probability.sum(1) + truth.sum(1) + 1)
