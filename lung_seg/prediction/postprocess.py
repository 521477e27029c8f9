"""From a probability map to two lungs: which parts are lungs, which is the right one and which the left.

Right and left are the patient's: the right lung lies on the image's left side. Letters burnt into a film are not read.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.raw.masks import Mask

Probability = NDArray[np.float32]
LungMap = NDArray[np.uint8]

RIGHT, LEFT = 1, 2
LUNG_PROBABILITY = 0.5  # the same threshold that metrics.predict_mask puts on logits
SMALLEST_LUNG = 0.1  # of the larger one: a lung collapsed or covered further is not told from an error
SMALLEST_PIECE = 0.02  # of the larger lung: what an opacity cuts off a lung


@dataclass(frozen=True)
class Component:
    """A connected part of a mask."""

    pixels: Mask  # (S, S)
    area_px: int
    left_px: int  # first column
    right_px: int  # the column after the last one

    def is_lateral_to(self, other: "Component") -> bool:
        """Whether most of the narrower part's columns are free of the other part."""
        shared = min(self.right_px, other.right_px) - max(self.left_px, other.left_px)
        return shared < min(self.right_px - self.left_px, other.right_px - other.left_px) / 2


def clean(probability: Probability) -> Probability:
    """The probability (S, S) without what cannot be lung, and with holes filled.

    Kept are the largest part, the largest one beside it, and pieces above or below either of them: an opacity may cut
    a lung in two, but the air between arm and chest lies beside both.
    """
    mask = probability >= LUNG_PROBABILITY
    lungs = union([lung for lung in find_lungs(mask) if lung is not None], mask.shape)
    cleaned = np.where(mask & ~lungs, np.float32(0), probability)
    return np.where(_fill_holes(lungs) & ~lungs, np.float32(1), cleaned)


def find_lungs(mask: Mask) -> tuple[Mask | None, Mask | None]:
    """Right and left lung of a mask (S, S), None where there is none; parts that cannot be lung belong to neither."""
    components = connected_components(mask)
    first, second = largest_components(components)
    if first is not None and second is None:
        components = split_touching_lungs(first) + components[1:]
        first, second = largest_components(components)
    if first is None:
        return None, None
    lungs = [_with_pieces(main, components) for main in (first, second) if main is not None]
    if len(lungs) == 1:
        on_the_right = first.left_px + first.right_px < mask.shape[1]
        return (lungs[0], None) if on_the_right else (None, lungs[0])
    right, left = sorted(lungs, key=_mean_column)
    return right, left


def nearest_lung_map(mask: Mask) -> LungMap:
    """For each pixel (S, S), in a lung or not, whether it lies nearer to the right lung (1) or to the left one (2)."""
    right, left = find_lungs(mask)
    if right is None or left is None:
        return np.full(mask.shape, LEFT if right is None else RIGHT, np.uint8)
    to_right, to_left = (cv2.distanceTransform((~lung).astype(np.uint8), cv2.DIST_L2, 5) for lung in (right, left))
    return np.where(to_right <= to_left, RIGHT, LEFT).astype(np.uint8)


def connected_components(mask: Mask) -> list[Component]:
    """The connected parts of a mask, largest first; pixels that touch at a corner are connected."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    components = [
        Component(labels == label, int(area), int(left), int(left + width))
        for label, (left, _, width, _, area) in enumerate(boxes)
        if label
    ]
    return sorted(components, key=lambda component: component.area_px, reverse=True)


def union(masks: list[Mask], shape: tuple[int, ...]) -> Mask:
    """All masks in one, (S, S); of none, nothing."""
    together: Mask = np.logical_or.reduce([np.zeros(shape, bool), *masks])
    return together


def largest_components(components: list[Component]) -> tuple[Component | None, Component | None]:
    """The largest part, and the largest beside it."""
    if not components:
        return None, None
    first = components[0]
    is_lateral_to = (
        component
        for component in components[1:]
        if component.is_lateral_to(first) and component.area_px >= SMALLEST_LUNG * first.area_px
    )
    return first, next(is_lateral_to, None)


def _with_pieces(main: Component, components: list[Component]) -> Mask:
    pieces = [
        component.pixels
        for component in components
        if component is not main
        and component.area_px >= SMALLEST_PIECE * main.area_px
        and not component.is_lateral_to(main)
    ]
    return union([main.pixels, *pieces], main.pixels.shape)


def split_touching_lungs(component: Component) -> list[Component]:
    """Two lungs that touch, each pixel with the lung whose core is nearer; any other part as it is."""
    depth = cv2.distanceTransform(component.pixels.astype(np.uint8), cv2.DIST_L2, 5)
    for core_px in np.linspace(1, depth.max(), 12)[:-1]:
        first, second = largest_components(connected_components(depth > core_px))
        if first is not None and second is not None:
            near_first, near_second = (
                cv2.distanceTransform((~core.pixels).astype(np.uint8), cv2.DIST_L2, 5) for core in (first, second)
            )
            nearer = component.pixels & (near_first <= near_second)
            return sorted(
                connected_components(nearer) + connected_components(component.pixels & ~nearer),
                key=lambda it: -it.area_px,
            )
    return [component]


def _fill_holes(mask: Mask) -> Mask:
    """The mask with all that it encloses."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    return cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED) > 0


def _mean_column(lung: Mask) -> float:
    return float(np.flatnonzero(lung.any(axis=0)).mean())
