"""Distances between the outlines of two masks."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

SURFACE_SCORES = ("hd95_px", "assd_px", "surface_failed")

Mask = NDArray[np.bool_]


def surface_scores(prediction: Mask, truth: Mask) -> tuple[float, float, float]:
    """``SURFACE_SCORES`` of one case, (H, W) bool each.

    The 95th percentile (HD95) and the mean (ASSD) of the distances from each outline's pixels to the other outline,
    both directions together, in pixels; and whether the case failed. Where just one of the masks is empty no distance
    is defined: both are set to the image's diagonal. Two empty masks have distance 0.
    """
    if not prediction.any() and not truth.any():
        return 0.0, 0.0, 0.0
    if not prediction.any() or not truth.any():
        diagonal = math.hypot(*truth.shape)
        return diagonal, diagonal, 1.0
    # A mask's pixels that touch its outside; the image's border counts as outside.
    predicted, true = (mask & ~binary_erosion(mask) for mask in (prediction, truth))
    distances = np.concatenate([distance_transform_edt(~true)[predicted], distance_transform_edt(~predicted)[true]])
    return float(np.percentile(distances, 95)), float(distances.mean()), 0.0
