"""Between a radiograph's own size and the network input's, there and back."""

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.errors import UserError
from lung_seg.raw.image_file import Grey

ValuesT = TypeVar("ValuesT", bound=NDArray[Any])


LONGEST_FRAMED_PX = 20_000  # a letterbox is as high as wide: a strip of some megapixels could ask for gigabytes


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


def to_original_size(network_input: ValuesT, height_px: int, width_px: int, resize: str, interpolation: int) -> ValuesT:
    """The way back from ``to_square``: a map over the square (S, S) as one over the radiograph, (height_px, width_px).

    Args:
        square: values of any type that OpenCV resizes.
        height_px: of the radiograph.
        width_px: of the radiograph.
        resize: how the radiograph became square.
        interpolation: OpenCV's, e.g. ``cv2.INTER_LINEAR``; pixel centres stay where they were in the radiograph.
    """
    if resize != "letterbox":
        return cv2.resize(network_input, (width_px, height_px), interpolation=interpolation)  # type: ignore[return-value]
    side, top, left = _frame(height_px, width_px)
    framed = cv2.resize(network_input, (side, side), interpolation=interpolation)
    return framed[top : top + height_px, left : left + width_px]  # type: ignore[return-value]


def _pad_to_square(image: Grey) -> Grey:
    height_px, width_px = image.shape
    side, top, left = _frame(height_px, width_px)
    if side > LONGEST_FRAMED_PX:
        raise UserError(
            f"An image of {width_px}x{height_px} pixels is too long for a letterbox of at most {LONGEST_FRAMED_PX}.\n"
            "No radiograph is as long; cut it, or use resize=stretch."
        )
    return np.pad(image, ((top, side - height_px - top), (left, side - width_px - left)))


def _frame(height_px: int, width_px: int) -> tuple[int, int, int]:
    """Side of the letterbox around a radiograph, and where in it the radiograph begins: row and column."""
    side = max(height_px, width_px)
    return side, (side - height_px) // 2, (side - width_px) // 2
