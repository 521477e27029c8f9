"""Pictures for people, RGB uint8: contours on a radiograph, panels and contact sheets."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import LUNG_PROBABILITY
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask

Rgb = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Blue-green and orange differ in every common form of colour blindness, and no radiograph contains them.
TRUTH_COLOUR: Colour = (45, 212, 191)
PREDICTION_COLOUR: Colour = (255, 146, 43)
DISAGREEMENT_OPACITY = 0.30
PROBABILITY_OPACITY = 0.35

VIEWED_PX = 1024  # longer side of an overlay at most: it is for viewing, not for measuring

SHEET_GREY = 18
CAPTION_COLOUR: Colour = (225, 225, 225)
CAPTION_FONT = cv2.FONT_HERSHEY_SIMPLEX


def overlay(image: Grey, prediction: Mask | None, truth: Mask | None) -> Rgb:
    """Contours of the masks on the radiograph, (H, W, 3).

    The truth's contour is wider and drawn first, so both are visible where they coincide. Pixels in one mask only are
    tinted in that mask's colour: blue-green is missed lung, orange is surplus.

    Raises:
        ValueError: a mask's size is not the image's.
    """
    picture, line_px = _to_rgb(image), _line_width(image)
    if prediction is not None and truth is not None:
        _blend(picture, TRUTH_COLOUR, DISAGREEMENT_OPACITY * (truth & ~prediction))
        _blend(picture, PREDICTION_COLOUR, DISAGREEMENT_OPACITY * (prediction & ~truth))
    if truth is not None:
        _draw_contour(picture, truth, TRUTH_COLOUR, line_px if prediction is None else 3 * line_px - 1)
    if prediction is not None:
        _draw_contour(picture, prediction, PREDICTION_COLOUR, line_px)
    return picture


def panel(image: Grey, truth: Mask, probability: NDArray[np.floating]) -> Rgb:
    """Radiograph, truth and prediction side by side, (H, 3W, 3).

    The right third is tinted by the probability (H, W), 0 to 1, with a contour at ``LUNG_PROBABILITY``.
    """
    predicted = _to_rgb(image)
    _blend(predicted, PREDICTION_COLOUR, PROBABILITY_OPACITY * probability)
    _draw_contour(predicted, probability >= LUNG_PROBABILITY, PREDICTION_COLOUR, _line_width(image))
    return np.hstack([_to_rgb(image), overlay(image, None, truth), predicted])


def contact_sheet(pictures: Sequence[Rgb], captions: Sequence[str], columns: int, tile_px: int) -> Rgb:
    """Pictures in rows of ``columns`` square tiles, each above its caption; long captions are cut.

    Raises:
        ValueError: no picture, or not one caption each.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(f"{len(pictures)} pictures, {len(captions)} captions; a sheet needs one caption per picture")
    gap_px = max(2, tile_px // 40)
    tiles = [_tile(picture, caption, tile_px, gap_px) for picture, caption in zip(pictures, captions, strict=True)]
    columns = min(columns, len(tiles))
    tiles += [np.full_like(tiles[0], SHEET_GREY)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.pad(np.vstack(rows), ((gap_px, 0), (gap_px, 0), (0, 0)), constant_values=SHEET_GREY)


def fit_within(picture: Rgb, longest_px: int) -> Rgb:
    """The picture with its longer side at most ``longest_px``; never enlarged, aspect kept."""
    factor = longest_px / max(picture.shape[:2])
    if factor >= 1:
        return picture
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def fit_for_viewing(image: Grey, mask: Mask) -> tuple[Grey, Mask]:
    """A radiograph and its mask (H, W) with their longer side at most ``VIEWED_PX``."""
    small = fit_within(image, VIEWED_PX)
    size_px = (small.shape[1], small.shape[0])
    return small, cv2.resize(mask.view(np.uint8), size_px, interpolation=cv2.INTER_NEAREST) > 0


def _to_rgb(image: Grey) -> Rgb:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def _line_width(image: Grey) -> int:
    """Thickness in proportion to the image; OpenCV draws lines one or two pixels wider."""
    longest_px: int = max(image.shape)
    return max(1, round(longest_px / 500))


def _draw_contour(picture: Rgb, mask: Mask, colour: Colour, line_px: int) -> None:
    """Draw the mask's contour into the picture; where lung reaches the image border, no line follows the border."""
    if mask.shape != picture.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, the image {picture.shape[:2]}; they must have one size")
    margin_px = line_px + 2  # the mask is continued beyond the border, so that a line along it is outside the picture
    continued = np.pad(mask, margin_px, mode="edge").astype(np.uint8)
    contours, _ = cv2.findContours(continued, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(-margin_px, -margin_px))
    cv2.drawContours(picture, contours, -1, colour, line_px, cv2.LINE_AA)


def _blend(picture: Rgb, colour: Colour, opacity: NDArray[np.floating]) -> None:
    """Move each pixel towards the colour by its opacity (H, W), 0 to 1."""
    weight = opacity[..., None]
    picture[:] = np.rint(picture * (1 - weight) + np.array(colour) * weight)


def _tile(picture: Rgb, caption: str, tile_px: int, gap_px: int) -> Rgb:
    """The picture centred in its square, the caption below, a gap to the right and at the bottom."""
    caption_px = max(14, tile_px // 16)
    fitted = fit_within(picture, tile_px)
    height, width = fitted.shape[:2]
    top, left = (tile_px - height) // 2, (tile_px - width) // 2
    tile = np.full((tile_px + caption_px + gap_px, tile_px + gap_px, 3), SHEET_GREY, dtype=np.uint8)
    tile[top : top + height, left : left + width] = fitted
    scale, text = caption_px / 36, caption
    while caption and cv2.getTextSize(text, CAPTION_FONT, scale, 1)[0][0] > tile_px:
        caption = caption[:-1]
        text = f"{caption}..."
    origin = (1, tile_px + round(0.75 * caption_px))
    cv2.putText(tile, text, origin, CAPTION_FONT, scale, CAPTION_COLOUR, 1, cv2.LINE_AA)
    return tile
