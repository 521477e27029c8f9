"""Distances between the outlines of two masks."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def surface_distances(
    prediction: Mask, truth: Mask, spacing: tuple[float, float] = (1.0, 1.0)
) -> tuple[float, float, bool]:
    """HD95 and ASSD of one case, (H, W) bool each, and whether the case failed.

    HD95 is the larger of the two directed 95th percentiles, and ASSD the mean of both directions' distances, as Metrics
    Reloaded defines them (Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z) and MONAI computes them; other
    packages pool both directions for HD95 too. An outline is the mask's pixels that touch its outside by an edge; the
    image's border counts as outside. Where just one of the masks is empty no distance is defined: both are set to the
    image's diagonal, and the case has failed. Two empty masks have distance 0.

    Args:
        prediction: one mask.
        truth: the other one; which is which does not matter.
        spacing: from row to row and from column to column, in the unit of the distances.
    """
    if not prediction.any() and not truth.any():
        return 0.0, 0.0, False
    if not prediction.any() or not truth.any():
        height, width = np.multiply(truth.shape, spacing).tolist()
        return math.hypot(height, width), math.hypot(height, width), True
    predicted, true = (_outline(mask) * spacing for mask in (prediction, truth))
    directed = [KDTree(other).query(outline)[0] for outline, other in ((predicted, true), (true, predicted))]
    hd95 = max(float(np.percentile(distances, 95)) for distances in directed)
    return hd95, float(np.concatenate(directed).mean()), False


def _outline(mask: Mask) -> NDArray[np.int64]:
    """Rows and columns of the outline's pixels, (N, 2)."""
    pixels = mask.view(np.uint8)
    inside = cv2.erode(pixels, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.argwhere(pixels > inside)
