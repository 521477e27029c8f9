"""From a probability map to two lungs: which parts are lungs, which is the right one and which the left.

Right and left are the patient's: the right lung lies on the image's left side. Letters burnt into a film are not read.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.data.masks import Mask

Probability = NDArray[np.float32]
Sides = NDArray[np.uint8]

RIGHT, LEFT = 1, 2
LUNG_PROBABILITY = 0.5  # the same threshold that metrics.predict_mask puts on logits
SMALLEST_LUNG = 0.1  # of the larger one: a lung collapsed or covered further is not told from an error
SMALLEST_PIECE = 0.02  # of the larger lung: what an opacity cuts off a lung


@dataclass(frozen=True)
class Part:
    """A connected part of a mask."""

    pixels: Mask  # (S, S)
    area_px: int
    left_px: int  # first column
    right_px: int  # the column after the last one

    def beside(self, other: "Part") -> bool:
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
    parts = split_parts(mask)
    first, second = _main_parts(parts)
    if first is not None and second is None:
        parts = _pull_apart(first) + parts[1:]
        first, second = _main_parts(parts)
    if first is None:
        return None, None
    lungs = [_with_pieces(main, parts) for main in (first, second) if main is not None]
    if len(lungs) == 1:
        on_the_right = first.left_px + first.right_px < mask.shape[1]
        return (lungs[0], None) if on_the_right else (None, lungs[0])
    right, left = sorted(lungs, key=_mean_column)
    return right, left


def sides(mask: Mask) -> Sides:
    """For each pixel (S, S), in a lung or not, whether it lies nearer to the right lung (1) or to the left one (2)."""
    right, left = find_lungs(mask)
    if right is None or left is None:
        return np.full(mask.shape, LEFT if right is None else RIGHT, np.uint8)
    to_right, to_left = (cv2.distanceTransform((~lung).astype(np.uint8), cv2.DIST_L2, 5) for lung in (right, left))
    return np.where(to_right <= to_left, RIGHT, LEFT).astype(np.uint8)


def split_parts(mask: Mask) -> list[Part]:
    """The connected parts of a mask, largest first; pixels that touch at a corner are connected."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = [
        Part(labels == label, int(area), int(left), int(left + width))
        for label, (left, _, width, _, area) in enumerate(boxes)
        if label
    ]
    return sorted(parts, key=lambda part: part.area_px, reverse=True)


def union(masks: list[Mask], shape: tuple[int, ...]) -> Mask:
    """All masks in one, (S, S); of none, nothing."""
    together: Mask = np.logical_or.reduce([np.zeros(shape, bool), *masks])
    return together


def _main_parts(parts: list[Part]) -> tuple[Part | None, Part | None]:
    """The largest part, and the largest beside it."""
    if not parts:
        return None, None
    first = parts[0]
    beside = (part for part in parts[1:] if part.beside(first) and part.area_px >= SMALLEST_LUNG * first.area_px)
    return first, next(beside, None)


def _with_pieces(main: Part, parts: list[Part]) -> Mask:
    pieces = [
        part.pixels
        for part in parts
        if part is not main and part.area_px >= SMALLEST_PIECE * main.area_px and not part.beside(main)
    ]
    return union([main.pixels, *pieces], main.pixels.shape)


def _pull_apart(part: Part) -> list[Part]:
    """Two lungs that touch, each pixel with the lung whose core is nearer; any other part as it is."""
    depth = cv2.distanceTransform(part.pixels.astype(np.uint8), cv2.DIST_L2, 5)
    for core_px in np.linspace(1, depth.max(), 12)[:-1]:
        first, second = _main_parts(split_parts(depth > core_px))
        if first is not None and second is not None:
            near_first, near_second = (
                cv2.distanceTransform((~core.pixels).astype(np.uint8), cv2.DIST_L2, 5) for core in (first, second)
            )
            nearer = part.pixels & (near_first <= near_second)
            return sorted(split_parts(nearer) + split_parts(part.pixels & ~nearer), key=lambda it: -it.area_px)
    return [part]


def _fill_holes(mask: Mask) -> Mask:
    """The mask with all that it encloses."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    return cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED) > 0


def _mean_column(lung: Mask) -> float:
    return float(np.flatnonzero(lung.any(axis=0)).mean())
