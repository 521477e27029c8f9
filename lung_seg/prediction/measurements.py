"""What a mask measures: areas, the box around the lungs, and what a second step takes as its input."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from lung_seg.raw.image_file import Grey, Spacing
from lung_seg.raw.masks import Mask

FEATHER = 0.01  # of the radiograph's longer side, over which the soft-masked radiograph fades to black


class Box(NamedTuple):
    """A rectangle in pixels, its right and bottom ends not included."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Measurements:
    """Of one radiograph's lungs; areas in mm² are None where the pixel spacing is not known.

    Attributes:
        lung_area_fraction: of the whole image.
        components: connected parts of the mask, two as a rule.
        box: around both lungs; None where there are none.
    """

    lung_area_px: int
    right_lung_area_px: int
    left_lung_area_px: int
    lung_area_mm2: float | None
    right_lung_area_mm2: float | None
    left_lung_area_mm2: float | None
    lung_area_fraction: float
    components: int
    box: Box | None


def measure(right: Mask, left: Mask, spacing_mm: Spacing | None) -> Measurements:
    """Measure the right and the left lung, (H, W) each and without a pixel in common."""
    mask = right | left
    right_px, left_px = int(np.count_nonzero(right)), int(np.count_nonzero(left))
    pixel_mm2 = spacing_mm[0] * spacing_mm[1] if spacing_mm else None
    box = lung_box(mask)
    return Measurements(
        lung_area_px=right_px + left_px,
        right_lung_area_px=right_px,
        left_lung_area_px=left_px,
        lung_area_mm2=_area_mm2(right_px + left_px, pixel_mm2),
        right_lung_area_mm2=_area_mm2(right_px, pixel_mm2),
        left_lung_area_mm2=_area_mm2(left_px, pixel_mm2),
        lung_area_fraction=(right_px + left_px) / mask.size,
        components=_count_parts(mask[with_margin(box, 0, *mask.shape)]) if box else 0,
        box=box,
    )


def lung_box(mask: Mask) -> Box | None:
    """The smallest box around a mask (H, W)."""
    if not mask.any():
        return None
    return Box(*cv2.boundingRect(mask.view(np.uint8)))


def with_margin(box: Box, margin: float, height_px: int, width_px: int) -> tuple[slice, slice]:
    """Rows and columns of a box and a margin around it, a fraction of its longer side, cut at the image's border."""
    room_px = round(margin * max(box.width_px, box.height_px))
    bottom_px, right_px = box.top_px + box.height_px + room_px, box.left_px + box.width_px + room_px
    rows = slice(max(0, box.top_px - room_px), min(height_px, bottom_px))
    columns = slice(max(0, box.left_px - room_px), min(width_px, right_px))
    return rows, columns


def soft_masked(image: Grey, mask: Mask) -> Grey:
    """The radiograph (H, W) inside the mask, fading to black outside, so that a network meets no hard edge."""
    sigma_px = max(1.0, FEATHER * max(image.shape))
    opacity = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma_px)
    return np.rint(image * np.maximum(opacity, mask)).astype(np.uint8)


def _count_parts(mask: Mask) -> int:
    """How many parts a mask (H, W) has; pixels that touch at a corner are connected."""
    return cv2.connectedComponents(np.ascontiguousarray(mask).view(np.uint8), connectivity=8)[0] - 1


def _area_mm2(count: int, pixel_mm2: float | None) -> float | None:
    return round(count * pixel_mm2, 1) if pixel_mm2 else None
