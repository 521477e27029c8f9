"""Measurements of a mask: areas and bounding box; and the crops that a second model takes as its input."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from lung_seg.raw.image_file import Grey, Spacing
from lung_seg.raw.masks import Mask

FEATHER = 0.01  # standard deviation of the soft mask's edge, as a fraction of the shorter side: strips take no minutes

# What an adult's radiograph can be. The 110 of Montgomery County have 149 to 599 cm² of lung on 35 x 43 cm, the largest
# common film and detector; a newborn has 26 cm² (Dassios et al. 2023, pubmed 36699308) on 18 x 24 cm.
LUNGS_CM2 = (100, 1000)
SIDES_CM = (20, 60)


class Box(NamedTuple):
    """A rectangle in pixels; it ends before ``left_px + width_px`` and ``top_px + height_px``."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Measurements:
    """Measurements of one radiograph's lungs; areas in mm² are None if the pixel spacing is not known."""

    lung_area_px: int
    right_lung_area_px: int
    left_lung_area_px: int
    lung_area_mm2: float | None
    right_lung_area_mm2: float | None
    left_lung_area_mm2: float | None
    lung_area_fraction: float  # of the image
    components: int  # usually two; pixels that touch at a corner are connected
    box: Box | None  # around both lungs; None if the mask is empty


def measure(right: Mask, left: Mask, spacing_mm: Spacing | None) -> Measurements:
    """Measure the right and the left lung, (H, W) each, which must not overlap."""
    mask = right | left
    box = Box(*cv2.boundingRect(mask.view(np.uint8))) if mask.any() else None
    inside = mask[with_margin(box, 0, *mask.shape)] if box else mask
    lungs_px, right_px, left_px = (int(np.count_nonzero(lungs)) for lungs in (mask, right, left))
    lungs_mm2, right_mm2, left_mm2 = (
        round(area_px * (spacing_mm[0] * spacing_mm[1]), 1) if spacing_mm else None
        for area_px in (lungs_px, right_px, left_px)
    )
    return Measurements(
        lung_area_px=lungs_px,
        right_lung_area_px=right_px,
        left_lung_area_px=left_px,
        lung_area_mm2=lungs_mm2,
        right_lung_area_mm2=right_mm2,
        left_lung_area_mm2=left_mm2,
        lung_area_fraction=round(lungs_px / mask.size, 6),
        components=cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)[0] - 1,  # without the background
        box=box,
    )


def spacing_warning(
    measured: Measurements, shape_px: tuple[int, ...], spacing_mm: Spacing | None, from_file: bool
) -> str:
    """Why the pixel spacing of a radiograph (H, W) is not to be trusted; empty if there is no reason, or no spacing."""
    if spacing_mm is None:
        return ""
    if from_file and spacing_mm == (1.0, 1.0):
        return "a pixel spacing of exactly 1 mm is often a placeholder: check it, or set spacing_mm= to the true one"
    height_cm, width_cm = np.multiply(shape_px, spacing_mm) / 10
    lungs_cm2 = measured.lung_area_px * (spacing_mm[0] * spacing_mm[1]) / 100
    has_both = measured.right_lung_area_px and measured.left_lung_area_px
    least_cm2 = LUNGS_CM2[0] if has_both else 0  # one lung may be as small as it likes
    is_size = SIDES_CM[0] <= min(height_cm, width_cm) and max(height_cm, width_cm) <= SIDES_CM[1]
    if is_size and least_cm2 <= lungs_cm2 <= LUNGS_CM2[1]:
        return ""
    return (
        f"with a pixel spacing of {spacing_mm[0]:g} x {spacing_mm[1]:g} mm the radiograph is {_round(height_cm)} x "
        f"{_round(width_cm)} cm and the lungs {_round(lungs_cm2)} cm², impossible for an adult: do "
        "not use the areas in mm², or set spacing_mm= to the true one"
    )


def with_margin(box: Box, margin: float, height_px: int, width_px: int) -> tuple[slice, slice]:
    """Rows and columns of a box with a margin, a fraction of its longer side, clipped to the image."""
    margin_px = round(margin * max(box.width_px, box.height_px))
    bottom_px, right_px = box.top_px + box.height_px + margin_px, box.left_px + box.width_px + margin_px
    rows = slice(max(0, box.top_px - margin_px), min(height_px, bottom_px))
    columns = slice(max(0, box.left_px - margin_px), min(width_px, right_px))
    return rows, columns


def soft_masked(image: Grey, mask: Mask) -> Grey:
    """The radiograph (H, W) inside the mask, fading to black outside, without a hard edge."""
    sigma_px = max(1.0, FEATHER * min(image.shape))
    opacity = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma_px)
    return np.rint(image * np.maximum(opacity, mask)).astype(np.uint8)


def _round(value: float) -> str:
    """Three digits, without an exponent for large values."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
