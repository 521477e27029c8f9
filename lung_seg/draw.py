"""Pictures a person looks at: contours on a radiograph, panels and contact sheets, all RGB uint8."""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Rgb = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# Blue-green and orange stay apart in every common form of colour blindness, and no radiograph holds them.
TRUTH_COLOUR: Colour = (45, 212, 191)
PREDICTION_COLOUR: Colour = (255, 146, 43)
DISAGREEMENT_OPACITY = 0.30
PROBABILITY_OPACITY = 0.35

_SHEET_COLOUR = 18
_CAPTION_COLOUR: Colour = (225, 225, 225)


def overlay(image: Grey, prediction: Mask | None, truth: Mask | None) -> Rgb:
    """Contours of the masks on the radiograph, (H, W, 3).

    The truth's line is the wider one and lies below, so both are seen where they coincide. Pixels in one mask
    only are tinted in that mask's colour: blue-green was missed, orange is too much.

    Raises:
        ValueError: a mask's size is not the image's.
    """
    picture = _to_rgb(image)
    width_px = _line_width(image)
    if prediction is not None and truth is not None:
        _check_size(image, prediction)
        _check_size(image, truth)
        _blend(picture, TRUTH_COLOUR, DISAGREEMENT_OPACITY * (truth & ~prediction))
        _blend(picture, PREDICTION_COLOUR, DISAGREEMENT_OPACITY * (prediction & ~truth))
    if truth is not None:
        _draw_contour(picture, truth, TRUTH_COLOUR, width_px if prediction is None else 2 * width_px)
    if prediction is not None:
        _draw_contour(picture, prediction, PREDICTION_COLOUR, width_px)
    return picture


def panel(image: Grey, truth: Mask, probability: npt.NDArray[np.floating]) -> Rgb:
    """Radiograph, truth and prediction side by side, (H, 3W, 3).

    The right third is tinted by the probability (H, W), 0 to 1, and has its contour at 0.5.

    Raises:
        ValueError: the truth's or the probability's size is not the image's.
    """
    _check_size(image, probability)
    predicted = _to_rgb(image)
    _blend(predicted, PREDICTION_COLOUR, PROBABILITY_OPACITY * probability)
    _draw_contour(predicted, probability > 0.5, PREDICTION_COLOUR, _line_width(image))
    return np.hstack([overlay(image, None, None), overlay(image, None, truth), predicted])


def contact_sheet(pictures: Sequence[Rgb], captions: Sequence[str], columns: int, tile_px: int) -> Rgb:
    """Pictures in rows of ``columns`` square tiles, each with its caption below; captions too long are cut.

    Raises:
        ValueError: no picture, not one caption each, or less than one column.
    """
    if not pictures or len(pictures) != len(captions) or columns < 1:
        counts = f"{len(pictures)} pictures, {len(captions)} captions and {columns} columns"
        raise ValueError(f"{counts} make no sheet; give a caption for each picture and at least one column")
    gap_px = max(2, tile_px // 40)
    tiles = [_tile(*pair, tile_px=tile_px, gap_px=gap_px) for pair in zip(pictures, captions, strict=True)]
    columns = min(columns, len(tiles))
    tiles += [np.full_like(tiles[0], _SHEET_COLOUR)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.pad(np.vstack(rows), ((gap_px, 0), (gap_px, 0), (0, 0)), constant_values=_SHEET_COLOUR)


def fit_within(picture: Rgb, longest_px: int) -> Rgb:
    """The picture with its longer side at most ``longest_px``; never enlarged, aspect kept."""
    factor = longest_px / max(picture.shape[:2])
    if factor >= 1:
        return picture
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _to_rgb(image: Grey) -> Rgb:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def _check_size(image: Grey, mask: npt.NDArray[np.generic]) -> None:
    if mask.shape != image.shape:
        raise ValueError(f"the mask is {mask.shape}, the image {image.shape}; they must have one size")


def _line_width(image: Grey) -> float:
    """A line as thin on a 4892 px film as on a 512 px image, and still seen on a smaller one."""
    return max(1.5, float(max(image.shape)) / 320)


def _draw_contour(picture: Rgb, mask: Mask, colour: Colour, width_px: float) -> None:
    """Blend a line of that width, centred between the mask's pixels and the others, into the picture."""
    _check_size(picture[..., 0], mask)
    if mask.all() or not mask.any():
        return
    sigma_px = 0.6 * width_px + 0.3  # so much that the stairs go off slanted edges too
    around = _surroundings(mask, margin_px=math.ceil(3 * sigma_px))
    soft = mask[around].astype(np.uint8) * np.uint8(255)
    soft = cv2.GaussianBlur(soft, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    _blend(picture[around], colour, _line(width_px, sigma_px)[soft])


@lru_cache
def _line(width_px: float, sigma_px: float) -> npt.NDArray[np.float32]:
    """A line's opacity for each of the 256 levels of a blurred edge, which tell how far away the edge is."""
    levels = np.linspace(0.001, 0.999, 256)
    distance_px = sigma_px * np.abs([NormalDist().inv_cdf(level) for level in levels])
    return np.clip((width_px + 1) / 2 - distance_px, 0, 1).astype(np.float32)


def _surroundings(mask: Mask, margin_px: int) -> tuple[slice, slice]:
    """The box around a mask's pixels and a margin, cut at the image's border."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, left = max(0, int(rows[0]) - margin_px), max(0, int(columns[0]) - margin_px)
    return slice(top, int(rows[-1]) + margin_px + 1), slice(left, int(columns[-1]) + margin_px + 1)


def _blend(picture: Rgb, colour: Colour, opacity: npt.NDArray[np.floating]) -> None:
    """Move the pixels of non-zero opacity (H, W), 0 to 1, towards the colour; the others keep their bytes."""
    touched = np.unravel_index(np.flatnonzero(opacity > 0), opacity.shape)  # a mask picks them three times as slowly
    weight = opacity[touched][:, None]
    picture[touched] = np.rint(picture[touched] * (1 - weight) + np.asarray(colour) * weight).astype(np.uint8)


def _tile(picture: Rgb, caption: str, tile_px: int, gap_px: int) -> Rgb:
    """The picture centred in its square, the caption below, a gap to the right and at the bottom."""
    caption_px = max(14, tile_px // 16)
    fitted = fit_within(picture, tile_px)
    height, width = fitted.shape[:2]
    top, left = (tile_px - height) // 2, (tile_px - width) // 2
    tile = np.full((tile_px + caption_px + gap_px, tile_px + gap_px, 3), _SHEET_COLOUR, dtype=np.uint8)
    tile[top : top + height, left : left + width] = fitted
    scale = caption_px / 36
    text, origin = _cut(caption, scale, room_px=tile_px), (1, tile_px + round(0.75 * caption_px))
    cv2.putText(tile, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, _CAPTION_COLOUR, 1, cv2.LINE_AA)
    return tile


def _cut(caption: str, scale: float, room_px: int) -> str:
    """The caption, or as much of its beginning as fits the room, with dots."""
    ends = range(len(caption) - 1, -1, -1)
    candidates = itertools.chain([caption], (caption[:end] + "..." for end in ends))
    widths = ((text, cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]) for text in candidates)
    return next((text for text, width in widths if width <= room_px), "")
