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
    """
    height_px, width_px = image.shape
    if resize == "letterbox":
        top, left = _letterbox_bars(height_px, width_px)
        if max(image.shape) > MAX_LETTERBOX_PX:
            raise UserError(
                f"An image of {width_px}x{height_px} pixels is too long for a letterbox of at most {MAX_LETTERBOX_PX}."
                "\nNo radiograph is that long; crop it, or use resize=stretch."
            )
        image = np.pad(image, ((top, top), (left, left)))
    target = (min(image.shape[1], size_px), min(image.shape[0], size_px))
    shrunk = cv2.resize(image, target, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (size_px, size_px), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def to_original_size(
    values: ValuesT, height_px: int, width_px: int, resize: str, interpolation: int = cv2.INTER_LINEAR
) -> ValuesT:
    """Inverse of ``to_network_input``: a map over the network input (S, S) as one over the radiograph.

    ``interpolation`` is OpenCV's, ``cv2.INTER_NEAREST`` for labels; pixel centres keep their place in the radiograph.
    """
    if resize != "letterbox":
        return cv2.resize(values, (width_px, height_px), interpolation=interpolation)  # type: ignore[return-value]
    top, left = _letterbox_bars(height_px, width_px)
    padded_size = (width_px + 2 * left, height_px + 2 * top)
    padded = cv2.resize(values, padded_size, interpolation=interpolation)
    return padded[top : top + height_px, left : left + width_px]  # type: ignore[return-value]


def _letterbox_bars(height_px: int, width_px: int) -> tuple[int, int]:
    """Rows above and below a radiograph, and columns on both its sides, that make it square.

    Both bars are equally wide, so that the centre stays; of an odd difference the short axis then is one pixel longer.
    """
    side = max(height_px, width_px)
    return (side - height_px + 1) // 2, (side - width_px + 1) // 2
