"""How far two outlines are apart."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

SURFACE_SCORES = ("hd95_px", "assd_px", "surface_failed")


Mask = NDArray[np.bool_]


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


def _outline(mask: Mask) -> Mask:
    """The mask's pixels that touch its outside; the image's border counts as outside."""
    outline: Mask = mask & ~binary_erosion(mask)
    return outline
