"""What training minimises."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SegmentationLoss(nn.Module):
    """Binary cross-entropy on the logits, plus soft Dice by weight.

    Args:
        dice_weight: weight of the soft Dice loss beside the cross-entropy's 1.
        positive_weight: weight of a lung pixel against a background pixel in the cross-entropy.
    """

    positive_weight: Tensor

    def __init__(self, dice_weight: float = 0.0, positive_weight: float = 1.0):
        super().__init__()
        self.dice_weight = dice_weight
        # Not persistent: a setting of the training, no part of the network that a checkpoint must hold.
        self.register_buffer("positive_weight", torch.tensor(positive_weight), persistent=False)

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Loss of each case, (N,), from logits (N, 1, H, W) and a mask (N, 1, H, W) bool."""
        logits, truth = logits.float(), mask.float()
        pixels = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=self.positive_weight, reduction="none")
        loss = pixels.flatten(1).mean(1)
        if self.dice_weight:
            loss = loss + self.dice_weight * soft_dice_loss(logits, truth)
        return loss


def soft_dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice on probabilities, of each case (Milletari et al. 2016, doi:10.1109/3DV.2016.79).

    One pixel is added above and below, so that a case without lung and without prediction has loss 0.
    """
    probability = logits.sigmoid().flatten(1)
    truth = truth.flatten(1)
    overlap = (probability * truth).sum(1)
    return 1 - (2 * overlap + 1) / (probability.sum(1) + truth.sum(1) + 1)
