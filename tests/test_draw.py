from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lung_seg import draw
from lung_seg.draw import PREDICTION_COLOUR, TRUTH_COLOUR
from lung_seg.raw.image_file import write_png


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 128), dtype=np.uint8)


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((96, 128), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def changed(picture: np.ndarray, image: np.ndarray) -> np.ndarray:
    return (picture != image[..., None]).any(axis=2)


def nearness(picture: np.ndarray, colour: draw.Colour) -> np.ndarray:
    """Largest difference from the colour over the channels, (H, W)."""
    return np.abs(picture.astype(int) - colour).max(axis=2)


@pytest.mark.parametrize("name", ["prediction", "truth"])
def test_a_contour_covers_the_edge_in_its_colour_and_leaves_the_rest_alone(image: np.ndarray, name: str) -> None:
    mask = box(20, 70, 30, 90)
    masks = {"prediction": None, "truth": None, name: mask}
    picture = draw.overlay(image, **masks)
    colour = {"prediction": PREDICTION_COLOUR, "truth": TRUTH_COLOUR}[name]
    middle_of_top_edge = nearness(picture, colour)[20, 40:80]
    off_the_edge = box(0, 17, 0, 128) | box(73, 96, 0, 128) | box(23, 67, 33, 87)
    assert picture.dtype == np.uint8
    assert picture.shape == (96, 128, 3)
    assert middle_of_top_edge.max() < 70
    assert not changed(picture, image)[off_the_edge].any()


def test_both_contours_are_seen_where_they_coincide(image: np.ndarray) -> None:
    mask = box(20, 70, 30, 90)
    picture = draw.overlay(np.zeros_like(image), mask, mask)
    across_the_edge = picture[15:25, 60].astype(int)
    orange, blue_green = (
        np.abs(across_the_edge - colour).max(axis=1) < 70 for colour in (PREDICTION_COLOUR, TRUTH_COLOUR)
    )
    assert orange.any()
    assert blue_green[: orange.argmax()].any(), "outside the prediction's line"
    assert blue_green[orange.argmax() :].any(), "inside the prediction's line"


def test_missed_and_surplus_lung_are_tinted_in_different_colours() -> None:
    truth, prediction = box(20, 70, 20, 70), box(20, 70, 50, 110)
    picture = draw.overlay(np.full((96, 128), 100, np.uint8), prediction, truth).astype(int)
    missed, agreed, surplus = picture[45, 35], picture[45, 60], picture[45, 90]
    assert missed[1] > 100 > missed[0]
    assert agreed.tolist() == [100, 100, 100]
    assert surplus[0] > 100 > surplus[2]


def test_truth_and_prediction_differ_for_colour_blind_eyes() -> None:
    differences = np.abs(np.subtract(TRUTH_COLOUR, PREDICTION_COLOUR))
    assert differences[2] > 100, "eyes blind to red or green tell colours apart by their blue"
    assert differences[0] > 100, "eyes blind to blue tell colours apart by their red and green"


def test_the_hole_of_a_mask_has_a_contour(image: np.ndarray) -> None:
    picture = draw.overlay(image, box(20, 70, 30, 90) & ~box(40, 50, 50, 70), None)
    assert nearness(picture, PREDICTION_COLOUR)[39, 52:68].max() < 70
    assert not changed(picture, image)[43:47, 54:66].any()


def test_the_panel_has_its_contour_where_the_probability_reaches_one_half() -> None:
    probability = np.zeros((96, 128))
    probability[20:70, 30:90] = 0.5
    right = draw.panel(np.zeros((96, 128), np.uint8), box(20, 70, 30, 90), probability)[:, 256:]
    assert nearness(right, PREDICTION_COLOUR)[20, 40:80].max() < 70
    assert nearness(right, PREDICTION_COLOUR)[30:60, 40:80].min() > 100


@pytest.mark.parametrize("filled", [False, True])
def test_a_mask_without_an_edge_draws_nothing(image: np.ndarray, filled: bool) -> None:
    mask = np.full(image.shape, filled)
    assert not changed(draw.overlay(image, None, mask), image).any()


def test_a_mask_at_the_border_has_no_line_along_the_border(image: np.ndarray) -> None:
    picture = draw.overlay(image, box(0, 96, 0, 60), None)
    assert not changed(picture, image)[:, :55].any()
    assert changed(picture, image)[:, 59:61].all()


def test_the_line_grows_with_the_image() -> None:
    def line_px(size_px: int) -> int:
        black = np.zeros((size_px, size_px), np.uint8)
        left_half = np.arange(size_px) < size_px // 2
        picture = draw.overlay(black, np.tile(left_half, (size_px, 1)), None)
        return int(changed(picture, black)[5].sum())

    assert 2 <= line_px(128) <= 4
    assert line_px(2048) == pytest.approx(2048 / 320, abs=2)


def test_the_radiograph_given_is_not_drawn_on(image: np.ndarray) -> None:
    before = image.copy()
    draw.overlay(image, box(20, 70, 30, 90), box(10, 50, 30, 90))
    draw.panel(image, box(20, 70, 30, 90), np.ones(image.shape))
    np.testing.assert_array_equal(image, before)


def test_a_mask_of_another_size_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(90, 128\).*\(96, 128\)"):
        draw.overlay(image, None, np.zeros((90, 128), dtype=bool))


def test_panel_shows_radiograph_truth_and_probability_side_by_side(image: np.ndarray) -> None:
    probability = box(20, 70, 30, 90) * 0.9
    picture = draw.panel(image, box(20, 70, 30, 90), probability)
    left, middle, right = np.split(picture, 3, axis=1)
    assert picture.shape == (96, 3 * 128, 3)
    assert not changed(left, image).any()
    assert not changed(middle, image)[30:60, 40:80].any()
    assert nearness(middle, TRUTH_COLOUR)[20, 60] < 70
    assert changed(right, image)[30:60, 40:80].mean() > 0.95
    assert not changed(right, image)[:15].any()


def test_contact_sheet_keeps_aspect_and_fills_rows() -> None:
    wide, tall = np.full((50, 200, 3), 255, np.uint8), np.full((200, 100, 3), 255, np.uint8)
    sheet = draw.contact_sheet([wide, tall, wide], ["one", "two", "three"], columns=2, tile_px=100)
    white = (sheet == 255).all(axis=2)
    tile_height, tile_width = (sheet.shape[0] - 2) // 2, (sheet.shape[1] - 2) // 2
    first, second, last = (
        white[:tile_height, :tile_width],
        white[:tile_height, tile_width:],
        white[tile_height:],
    )
    assert sheet.dtype == np.uint8
    assert (first.any(axis=1).sum(), first.any(axis=0).sum()) == (25, 100)
    assert (second.any(axis=1).sum(), second.any(axis=0).sum()) == (100, 50)
    assert not last[:, tile_width + 2 :].any()


def test_captions_are_written_and_never_run_into_the_next_tile() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    short = draw.contact_sheet([black, black], ["a case", ""], columns=2, tile_px=64)
    long = draw.contact_sheet([black, black], ["a very long name of a case indeed", ""], columns=2, tile_px=64)
    assert (short[66:, :66] > 150).any()
    assert (long[66:, :66] > 150).any()
    assert not (long[:, 67:] > 150).any()


def test_a_sheet_needs_a_caption_for_each_picture() -> None:
    with pytest.raises(ValueError, match="1 pictures, 0 captions"):
        draw.contact_sheet([np.zeros((8, 8, 3), np.uint8)], [], columns=1, tile_px=32)


def test_fit_within_shrinks_and_never_enlarges() -> None:
    picture = np.zeros((400, 200, 3), np.uint8)
    assert draw.fit_within(picture, 100).shape == (100, 50, 3)
    assert draw.fit_within(picture, 1000) is picture


def test_write_png_gives_the_pixels_back_and_leaves_no_other_file(tmp_path: Path, image: np.ndarray) -> None:
    picture = draw.overlay(image, None, box(20, 70, 30, 90))
    write_png(tmp_path / "new" / "case.png", picture)
    with Image.open(tmp_path / "new" / "case.png") as file:
        np.testing.assert_array_equal(np.asarray(file), picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["case.png"]
