"""From a probability map to two lungs: which components are lung, and which lung is the right one.

Right and left are the patient's: the right lung lies on the image's left side. Side markers in the image are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import LUNG_PROBABILITY
from lung_seg.raw.masks import Mask
from lung_seg.raw.resize import to_original_size

Probability = NDArray[np.float32]

RIGHT, LEFT = 1, 2
MIN_LUNG_AREA = 0.1  # of the larger lung; a lung collapsed or covered further cannot be distinguished from an error
MIN_PIECE_AREA = 0.02  # of its lung: a piece cut off by an opacity
MAX_HOLE_AREA = 0.1  # of its lung; two lungs that touch above and below enclose the mediastinum, which is larger
MAX_COMPONENTS = 100  # smaller ones are left out: two lungs in pieces have fewer, noise has thousands


@dataclass(frozen=True)
class Component:
    """A connected component of a mask."""

    labels: NDArray[Any]  # (S, S), shared by all components of the mask
    label: int
    area_px: int
    left_px: int  # first column
    right_px: int  # the column after the last one
    top_px: int  # first row
    bottom_px: int  # the row after the last one

    @property
    def pixels(self) -> Mask:
        """The component as a mask (S, S)."""
        mask: Mask = self.labels == self.label
        return mask

    def is_lateral_to(self, other: "Component") -> bool:
        """Whether most columns of the narrower component are free of the other one."""
        shared = min(self.right_px, other.right_px) - max(self.left_px, other.left_px)
        return shared < min(self.right_px - self.left_px, other.right_px - other.left_px) / 2


def clean(probability: Probability) -> Probability:
    """The probability (S, S) without components that cannot be lung, and with the holes of each lung filled.

    Kept are the largest component, the largest one lateral to it, and pieces above or below either of them: an opacity
    may cut a lung in two. But the air between arm and chest lies beside both lungs, and that of the abdomen below both.
    """
    mask = probability >= LUNG_PROBABILITY
    lungs, filled = np.zeros_like(mask), np.zeros_like(mask)
    for lung in find_lungs(mask):
        if lung is not None:
            lungs |= lung
            filled |= fill_holes(lung)
    cleaned = np.where(mask & ~lungs, np.float32(0), probability)
    return np.where(filled & ~lungs, np.float32(1), cleaned)


def fill_holes(lung: Mask) -> Mask:
    """One lung (S, S) with its holes filled, except one too large for a lung."""
    outlines, _ = cv2.findContours(lung.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(lung.astype(np.uint8), outlines, -1, 1, cv2.FILLED) > 0
    for hole in connected_components(filled & ~lung):
        if hole.area_px > MAX_HOLE_AREA * np.count_nonzero(lung):
            filled &= ~hole.pixels
    return filled


def mask_at_original_size(probability: Probability, height_px: int, width_px: int, resize: str) -> Mask:
    """Lung where a probability (S, S) resized to the radiograph, (height_px, width_px), is at least 0.5."""
    return to_original_size(probability, height_px, width_px, resize) >= LUNG_PROBABILITY


def find_lungs(mask: Mask) -> tuple[Mask | None, Mask | None]:
    """Right and left lung of a mask (S, S), None where missing; components that cannot be lung are in neither."""
    components = connected_components(mask)
    largest = largest_components(components)
    if len(largest) == 1:
        components = split_touching_lungs(largest[0]) + components[1:]
        largest = largest_components(components)
    base_px = max((main.bottom_px for main in largest), default=0)
    pieces = [piece for piece in components if piece.top_px + piece.bottom_px < 2 * base_px]  # by their middle
    lungs = [_with_pieces(main, pieces) for main in largest]
    if not lungs:
        return None, None
    if len(lungs) == 1:
        is_right = largest[0].left_px + largest[0].right_px < mask.shape[1]
        return (lungs[0], None) if is_right else (None, lungs[0])
    right, left = sorted(lungs, key=lambda lung: float(np.flatnonzero(lung.any(axis=0)).mean()))
    return right, left


def nearest_lung_map(mask: Mask) -> NDArray[np.uint8]:
    """The nearest lung of each pixel (S, S), in a lung or not: RIGHT or LEFT."""
    right, left = find_lungs(mask)
    if right is None or left is None:
        return np.full(mask.shape, LEFT if right is None else RIGHT, np.uint8)
    return np.where(distance_to(right) <= distance_to(left), RIGHT, LEFT).astype(np.uint8)


def connected_components(mask: Mask) -> list[Component]:
    """The largest connected components of a mask, largest first; pixels that touch at a corner are connected."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    largest = 1 + np.argsort(-boxes[1:, cv2.CC_STAT_AREA], kind="stable")[:MAX_COMPONENTS]  # 0 is the background
    components = []
    for label in largest.tolist():
        left, top, width, height, area = boxes[label].tolist()
        components.append(Component(labels, label, area, left, left + width, top, top + height))
    return components


def largest_components(components: Sequence[Component]) -> Sequence[Component]:
    """The first component and the next one lateral to it, where they exist; ``components`` begin with the largest."""
    for other in components:
        if other.area_px >= MIN_LUNG_AREA * components[0].area_px and other.is_lateral_to(components[0]):
            return components[0], other
    return components[:1]


def split_touching_lungs(component: Component) -> list[Component]:
    """Split two lungs that touch, each pixel to the lung with the nearer core; other components stay whole."""
    depth = distance_to(~component.pixels)
    for core_depth_px in np.linspace(1, depth.max(), 12)[:-1]:
        cores = largest_components(connected_components(depth > core_depth_px))
        if len(cores) == 2:
            is_first = distance_to(cores[0].pixels) <= distance_to(cores[1].pixels)
            halves = (component.pixels & is_first, component.pixels & ~is_first)
            pieces = [piece for half in halves for piece in connected_components(half)]
            return sorted(pieces, key=lambda piece: piece.area_px, reverse=True)
    return [component]


def _with_pieces(main: Component, components: Sequence[Component]) -> Mask:
    lung = main.pixels
    for component in components:
        if component.area_px >= MIN_PIECE_AREA * main.area_px and not component.is_lateral_to(main):
            lung |= component.pixels
    return lung


def distance_to(mask: Mask) -> NDArray[np.float32]:
    """Distance of each pixel (S, S) to the mask in pixels, 0 in it; far larger than S where the mask is empty."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)  # type: ignore[return-value]
