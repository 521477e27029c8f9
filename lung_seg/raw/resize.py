"""Resizing from a radiograph's own size to the network input's, and back."""

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.errors import UserError
from lung_seg.raw.image_file import Grey

ValuesT = TypeVar("ValuesT", bound=NDArray[Any])

MAX_LETTERBOX_PX = 20_000  # a letterbox is as high as wide: a long strip of few megapixels could take gigabytes


def to_network_input(image: Grey, size_px: int, resize: str) -> Grey:
    """Resize to (size_px, size_px): ``stretch`` both axes, or ``letterbox`` with black bars on the short one.

    An axis that shrinks is averaged over the area of each pixel, so that fine structure does not alias.

    Raises:
        UserError: the image is a strip too long for a letterbox.
    """
    if resize == "letterbox":
        image = _pad_to_square(image)
    height_px, width_px = image.shape
    target = (min(width_px, size_px), min(height_px, size_px))
    shrunk = cv2.resize(image, target, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (size_px, size_px), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def to_original_size(values: ValuesT, height_px: int, width_px: int, resize: str, interpolation: int) -> ValuesT:
    """Inverse of ``to_network_input``: a map over the network input (S, S) as one over the radiograph.

    Args:
        values: the map, of any type that OpenCV resizes.
        height_px: height of the radiograph.
        width_px: width of the radiograph.
        resize: ``stretch`` or ``letterbox``, as in ``to_network_input``.
        interpolation: OpenCV's, e.g. ``cv2.INTER_LINEAR``; pixel centres keep their place in the radiograph.
    """
    if resize != "letterbox":
        return cv2.resize(values, (width_px, height_px), interpolation=interpolation)  # type: ignore[return-value]
    side, top, left = _letterbox(height_px, width_px)
    square = cv2.resize(values, (side, side), interpolation=interpolation)
    return square[top : top + height_px, left : left + width_px]  # type: ignore[return-value]


def _pad_to_square(image: Grey) -> Grey:
    height_px, width_px = image.shape
    side, top, left = _letterbox(height_px, width_px)
    if side > MAX_LETTERBOX_PX:
        raise UserError(
            f"An image of {width_px}x{height_px} pixels is too long for a letterbox of at most {MAX_LETTERBOX_PX}.\n"
            "No radiograph is that long; crop it, or use resize=stretch."
        )
    return np.pad(image, ((top, side - height_px - top), (left, side - width_px - left)))


def _letterbox(height_px: int, width_px: int) -> tuple[int, int, int]:
    """Side of the square around a radiograph, and the row and column at which the radiograph begins in it."""
    side = max(height_px, width_px)
    return side, (side - height_px) // 2, (side - width_px) // 2
