"""Areas, boxes, margins and the soft mask, on rectangles whose numbers are known."""

import math

import numpy as np
import pytest

from lung_seg.prediction.measurements import Box, measure, soft_masked, spacing_warning, with_margin

HEIGHT_PX, WIDTH_PX = 50, 40
NOTHING = np.zeros((HEIGHT_PX, WIDTH_PX), dtype=bool)


def rectangle(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = NOTHING.copy()
    mask[top : top + height, left : left + width] = True
    return mask


RIGHT, LEFT = rectangle(12, 5, 20, 10), rectangle(10, 22, 15, 11)


def test_areas_and_box_by_hand() -> None:
    measured = measure(RIGHT, LEFT, None)
    assert (measured.right_lung_area_px, measured.left_lung_area_px, measured.lung_area_px) == (200, 165, 365)
    assert measured.lung_area_fraction == 365 / 2000
    assert measured.components == 2
    assert measured.box == Box(left_px=5, top_px=10, width_px=28, height_px=22)


def test_areas_are_in_mm2_to_one_decimal_where_the_spacing_is_known() -> None:
    measured = measure(RIGHT, LEFT, (0.21, 0.37))  # 0.0777 mm² a pixel
    assert (measured.right_lung_area_mm2, measured.left_lung_area_mm2) == (15.5, 12.8)
    assert measured.lung_area_mm2 == 28.4
    unknown = measure(RIGHT, LEFT, None)
    assert unknown.right_lung_area_mm2 is unknown.left_lung_area_mm2 is unknown.lung_area_mm2 is None


def test_a_radiograph_without_lungs_measures_nothing_and_has_no_box() -> None:
    measured = measure(NOTHING, NOTHING, (0.2, 0.2))
    assert (measured.lung_area_px, measured.lung_area_mm2, measured.lung_area_fraction) == (0, 0.0, 0.0)
    assert measured.components == 0
    assert measured.box is None


def test_parts_that_touch_at_a_corner_are_one() -> None:
    assert measure(rectangle(10, 10, 5, 5), rectangle(15, 15, 5, 5), None).components == 1
    assert measure(rectangle(10, 10, 5, 5), rectangle(16, 15, 5, 5), None).components == 2


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (Box(10, 20, 8, 10), (18, 32), (8, 20)),
        (Box(10, 20, 10, 8), (18, 30), (8, 22)),
        (Box(1, 1, 10, 10), (0, 13), (0, 13)),
        (Box(29, 39, 10, 10), (37, 50), (27, 40)),
    ],
    ids=["tall", "wide", "at the top left", "at the bottom right"],
)
def test_the_margin_is_a_fraction_of_the_longer_side_and_ends_at_the_border(
    box: Box, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    assert with_margin(box, 0.2, HEIGHT_PX, WIDTH_PX) == (slice(*rows), slice(*columns))


# A film of 500 x 400 pixels with 36 500 pixels of lung: at 0.8 mm it is 40 x 32 cm with 233.6 cm² of lung.
@pytest.mark.parametrize(
    ("spacing_mm", "words"),
    [
        ((0.8, 0.8), ""),
        (
            (0.0005, 0.0005),
            "spacing of 0.0005 x 0.0005 mm the radiograph is 0.025 x 0.02 cm and the lungs 9.12e-05 cm²",
        ),
        ((500, 500), "spacing of 500 x 500 mm the radiograph is 25000 x 20000 cm and the lungs 91250000 cm²"),
        ((0.48, 0.48), "24 x 19.2 cm and the lungs 84.1 cm²"),
        ((1.3, 1.3), "65 x 52 cm and the lungs 617 cm²"),
        ((0.501, 0.501), "25.1 x 20 cm and the lungs 91.6 cm²"),
        ((1, 1), "exactly 1 mm is often a placeholder"),
    ],
)
def test_a_spacing_that_no_adult_can_have_is_warned_of(spacing_mm: tuple[float, float], words: str) -> None:
    right, left = (np.kron(lung, np.ones((10, 10), bool)) for lung in (RIGHT, LEFT))
    measured = measure(right, left, spacing_mm)
    warning = spacing_warning(measured, right.shape, spacing_mm, from_file=True)
    assert words in warning
    assert bool(warning) == bool(words) == ("set spacing_mm= to the true one" in warning)
    if spacing_mm == (1, 1):
        assert spacing_warning(measured, right.shape, spacing_mm, from_file=False) == ""


def test_a_single_lung_may_be_small_but_not_large() -> None:
    small, none = np.kron(LEFT, np.ones((10, 10), bool)), np.zeros((500, 400), bool)
    assert spacing_warning(measure(none, small, (0.6, 0.6)), small.shape, (0.6, 0.6), True) == ""  # 59.4 cm²
    assert spacing_warning(measure(none, none, (0.8, 0.8)), small.shape, (0.8, 0.8), True) == ""
    assert spacing_warning(measure(none, ~none, (0.8, 0.8)), small.shape, (0.8, 0.8), True) != ""  # 1280 cm²


def half_faded(length_px: int, sigma_px: float) -> np.ndarray:
    """A step from one to zero at half of the length, after a Gaussian blur."""
    beyond_px = np.arange(length_px) + 0.5 - length_px // 2
    return np.array([math.erfc(distance_px / sigma_px / math.sqrt(2)) / 2 for distance_px in beyond_px])


@pytest.mark.parametrize(("height_px", "width_px", "sigma_px"), [(400, 300, 3.0), (300, 400, 3.0), (60, 50, 1.0)])
def test_a_soft_mask_fades_over_a_hundredth_of_the_shorter_side(height_px: int, width_px: int, sigma_px: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height_px, width_px), dtype=np.uint8)
    mask = np.zeros(image.shape, dtype=bool)
    mask[: height_px // 2, : width_px // 2] = True
    masked = soft_masked(image, mask)
    assert masked.dtype == image.dtype
    np.testing.assert_array_equal(masked[mask], image[mask])
    opacity = np.outer(*(half_faded(length_px, sigma_px) for length_px in image.shape))
    np.testing.assert_allclose(masked[~mask], (image * opacity)[~mask], atol=3)  # grey levels: pixels are coarse
