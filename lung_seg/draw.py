"""Pictures for people, RGB uint8: contours on a radiograph, panels and contact sheets."""

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

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

SMALLEST_VIEWED_PX = 512

SHEET_GREY = 18
CAPTION_COLOUR: Colour = (225, 225, 225)


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


def enlarge(image: Grey, *masks: Mask) -> tuple[Grey, list[Mask]]:
    """A small square image and its masks, (S, S), at a multiple of their size of at least ``SMALLEST_VIEWED_PX``.

    Contours drawn afterwards are thin and smooth.
    """
    factor = -(-SMALLEST_VIEWED_PX // max(image.shape))
    if factor == 1:
        return image, list(masks)
    size = (factor * image.shape[1], factor * image.shape[0])
    larger = [cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5 for mask in masks]
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False), larger


def fit_for_viewing(image: Grey, mask: Mask) -> tuple[Grey, Mask]:
    """A radiograph and its mask (H, W) with their longer side at most ``VIEWED_PX``."""
    small = fit_within(image, VIEWED_PX)
    size_px = (small.shape[1], small.shape[0])
    return small, cv2.resize(mask.view(np.uint8), size_px, interpolation=cv2.INTER_NEAREST) > 0


def with_sides(picture: Rgb, right_is_left: bool, warning: str) -> Rgb:
    """The picture with R and L in its upper corners, the patient's sides, and a warning in a strip below it.

    ``right_is_left``: the patient's right side is on the picture's left, as usual.
    """
    height, width = picture.shape[:2]
    size = max(11, round(max(height, width) / 32))
    font = ImageFont.load_default(size)
    columns = max(8, int(width / (0.52 * size)))
    text = "\n".join(textwrap.wrap(warning, columns))
    strip = round(1.35 * size * (text.count("\n") + 1) + size) if text else 0
    canvas = Image.fromarray(np.pad(picture, ((0, strip), (0, 0), (0, 0)), constant_values=SHEET_GREY))
    write, letters = ImageDraw.Draw(canvas), ImageFont.load_default(1.6 * size)
    edges = (size // 2, width - size // 2)
    for side, column in zip("RL", edges if right_is_left else edges[::-1], strict=True):
        anchor = "la" if column < width / 2 else "ra"
        write.text((column, size // 2), side, CAPTION_COLOUR, letters, anchor, stroke_width=size // 8, stroke_fill=0)
    write.multiline_text((size // 2, height + size // 2), text, PREDICTION_COLOUR, font, spacing=0.3 * size)
    return np.asarray(canvas)


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
    tinted = opacity > 0  # few pixels of an overlay, which takes a third of the time so
    weight = opacity[tinted, None]
    picture[tinted] = np.rint(picture[tinted] * (1 - weight) + np.array(colour) * weight)


def _tile(picture: Rgb, caption: str, tile_px: int, gap_px: int) -> Rgb:
    """The picture fitted to its square, the caption below in up to two lines, a gap to the right and at the bottom."""
    size = max(11, tile_px // 20)
    font = ImageFont.load_default(size)
    caption_px = round(2.9 * size)
    factor = tile_px / max(picture.shape[:2])
    if factor > 1:  # fit_within never enlarges
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    fitted = fit_within(picture, tile_px)
    height, width = fitted.shape[:2]
    top, left = (tile_px - height) // 2, (tile_px - width) // 2
    tile = np.full((tile_px + caption_px + gap_px, tile_px + gap_px, 3), SHEET_GREY, dtype=np.uint8)
    tile[top : top + height, left : left + width] = fitted
    lines = textwrap.wrap(caption, int(tile_px / (0.53 * size)), max_lines=2, placeholder=" …")
    canvas = Image.fromarray(tile)
    ImageDraw.Draw(canvas).multiline_text(
        (1, tile_px + 0.25 * size), "\n".join(lines), CAPTION_COLOUR, font, spacing=0.2 * size
    )
    return np.asarray(canvas)
