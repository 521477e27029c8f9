"""A second look of the same network, at the radiograph shown smaller.

There it sees more of the chest around each pixel, and often no longer takes for lung what was none: the abdomen below
the lungs of a flat or dark radiograph, the stomach's bubble, the heart. How well its two masks agree is part of the
quality; what the second one lacks altogether is removed from the first.
"""

import numpy as np

from lung_seg.config import LUNG_PROBABILITY
from lung_seg.prediction.postprocess import Probability, distance_to, find_lungs
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask
from lung_seg.raw.resize import to_network_input, to_original_size

SCALE = 0.75  # of the network input's size
MAX_APART = 1 / 64  # of the network input's side: outlines of the two masks lie closer than that without a fault
MAX_REMOVED = 0.5  # of a lung: where the smaller view lacks more of it, it is the smaller view that is wrong


def shown_smaller(network_input: Grey, step_px: int) -> Grey:
    """The network input (S, S) at about three quarters of its size, which is a multiple of ``step_px``."""
    steps = max(1, int(SCALE * len(network_input) / step_px + 0.5))
    return to_network_input(network_input, steps * step_px, "stretch")


def enlarged(probability: Probability, size_px: int) -> Probability:
    """The probability of lung in the smaller view at the network input's size, (size_px, size_px)."""
    return to_original_size(probability, size_px, size_px, "stretch")


def remove_unconfirmed(probability: Probability, smaller: Mask) -> Probability:
    """The probability (S, S) without lung that is not near any of ``smaller``, the mask of the smaller view (S, S).

    docs/experiments.md has what this changes.
    """
    lung = probability >= LUNG_PROBABILITY
    unconfirmed = lung & (distance_to(smaller) > MAX_APART * len(probability))
    for whole in find_lungs(lung):
        if whole is not None and np.count_nonzero(unconfirmed & whole) > MAX_REMOVED * np.count_nonzero(whole):
            unconfirmed &= ~whole
    return np.where(unconfirmed, np.float32(0), probability)
