"""Quality scores and warnings of masks of drawn chests and of other images."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from lung_seg.prediction.postprocess import find_lungs
from lung_seg.prediction.quality import assess_quality, combine_ranges, expected_dice, features, reference_ranges
from tests.layouts import draw_chest

SIDE = 64
Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def chest(seed: int) -> tuple[np.ndarray, np.ndarray]:
    image, right, left = draw_chest(seed, SIDE, SIDE)
    return image, right | left


RANGES = reference_ranges(chest(seed) for seed in range(40))


def sure(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 0.99, 0.01).astype(np.float32)


def test_features_of_a_drawn_chest() -> None:
    image = np.full((10, 20), 200, np.uint8)[:, :10]
    right, left = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    right[2:8, 1:3] = left[4:8, 6:8] = True
    image = np.where(right | left, 50, image).astype(np.uint8)
    seen = features(image, right, left)
    assert seen["area"] == pytest.approx(0.2)
    assert seen["symmetry"] == pytest.approx(8 / 12)
    assert (seen["height"], seen["width"]) == pytest.approx((0.6, 0.7))
    assert (seen["row"], seen["column"]) == pytest.approx((0.5, 0.4))
    assert (seen["slant"], seen["gap"]) == pytest.approx((0.1, 0.5))
    assert seen["border"] == 0
    assert seen["darkness"] == pytest.approx(150 / image.std())


def test_expected_dice_by_hand() -> None:
    probability = np.array([[1.0, 0.5], [0.5, 0.0]], np.float32)
    mask = probability >= 0.5
    assert expected_dice(probability, mask) == pytest.approx(2 * 2 / (2 + 3))
    assert expected_dice(np.zeros((2, 2), np.float32), np.zeros((2, 2), bool)) == 1


def test_new_chests_of_the_same_kind_are_trusted() -> None:
    assessed = [assess_quality(image, sure(mask), mask, RANGES) for image, mask in map(chest, range(100, 140))]
    assert sum(bool(quality.warning) for quality in assessed) <= 1
    assert np.mean([quality.score for quality in assessed]) > 0.95


def turned(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image.T, mask.T


def negative(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 255 - image, mask


def far_away(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = slice(SIDE // 4, 3 * SIDE // 4)
    small_image, small_mask = np.zeros_like(image), np.zeros_like(mask)
    small_image[half, half], small_mask[half, half] = image[::2, ::2], mask[::2, ::2]
    return small_image, small_mask


def one_sided(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, mask & (np.arange(SIDE) < SIDE // 2)


def cut_off(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, mask & (np.arange(SIDE)[:, None] < SIDE // 2)


def empty(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, np.zeros_like(mask)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (turned, "only one lung was found"),
        (negative, "not darker than what lies around"),
        (far_away, "apart"),
        (one_sided, "only one lung was found"),
        (cut_off, "of the image high"),
        (empty, "no lung was found"),
    ],
)
def test_what_is_no_ordinary_chest_is_named(change: Change, words: str) -> None:
    ordinary, mask = chest(7)
    trusted = assess_quality(ordinary, sure(mask), mask, RANGES)
    image, mask = change(ordinary, mask)
    assessed = assess_quality(image, sure(mask), mask, RANGES)
    assert trusted.warning == ""
    assert words in assessed.warning
    assert assessed.score < 0.9 * trusted.score


def test_doubt_is_a_warning_of_its_own() -> None:
    image, mask = chest(7)
    doubtful = np.where(mask, 0.6, 0.3).astype(np.float32)
    assert "unsure" in assess_quality(image, doubtful, mask, RANGES).warning


def test_without_ranges_only_doubt_number_and_negatives_are_assessed() -> None:
    image, mask = chest(7)
    assert assess_quality(np.zeros_like(image), sure(mask), mask, {}).warning == ""
    assert reference_ranges([]) == {}
    warned = assess_quality(255 - image, sure(mask), mask, {})
    assert "brighter: it may be a negative (see inverted=)" in warned.warning
    assert warned.score < 0.9 * assess_quality(image, sure(mask), mask, {}).score
    assert "negative" in assess_quality(255 - image, sure(mask), mask & (np.arange(SIDE) < SIDE // 2), {}).warning


def test_networks_trained_on_negatives_do_not_hide_one() -> None:
    negatives = reference_ranges((255 - image, mask) for image, mask in map(chest, range(40)))
    image, mask = chest(7)
    assert "negative" in assess_quality(255 - image, sure(mask), mask, negatives).warning


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-9.0, 0.5, "the lungs are much darker than what lies around them"),
        (3.0, 9.0, "the lungs are hardly darker than what lies around them"),
    ],
)
def test_the_warning_of_darkness_says_in_which_direction(low: float, high: float, words: str) -> None:
    image, mask = chest(7)  # darker than its surroundings by 1 to 2 standard deviations
    assert words in assess_quality(image, sure(mask), mask, {"darkness": (low, high)}).warning


@pytest.mark.parametrize("name", sorted(RANGES))
@pytest.mark.parametrize("beyond", [-1, 1])
@pytest.mark.parametrize("distance", [1e-5, 0.004, 0.3])
def test_a_value_in_a_warning_differs_from_the_bound_that_it_is_compared_with(
    name: str, beyond: int, distance: float
) -> None:
    image, mask = chest(7)
    right, left = find_lungs(mask)
    assert right is not None
    assert left is not None
    bound = features(image, right, left)[name] - beyond * distance
    ordinary = (bound - 1, bound) if beyond > 0 else (bound, bound + 1)
    warning = assess_quality(image, sure(mask), mask, {name: ordinary}).warning
    value, *bounds = re.findall(r"-?[0-9.]+%?", warning) or [""]
    assert value not in bounds, warning
    assert len(value) < 6 or distance < 0.004, "no more digits than it takes"


def test_a_share_of_the_border_just_above_the_largest_in_training() -> None:
    image, mask = chest(7)
    mask[0, : SIDE // 2] = True  # reaches the border
    right, left = find_lungs(mask)
    assert right is not None
    assert left is not None
    share = features(image, right, left)["border"]
    warning = assess_quality(image, sure(mask), mask, {"border": (0.0, share - 0.001)}).warning
    assert f"{share:.1%} of the image's border is lung (at most {share - 0.001:.1%} in training)" in warning


@pytest.mark.parametrize(
    ("name", "ordinary"), [("symmetry", (0.1, 0.2)), ("slant", (0.9, 1.0)), ("border", (0.9, 1.0))]
)
def test_a_value_that_is_better_than_any_in_training_is_no_warning(name: str, ordinary: tuple[float, float]) -> None:
    image, mask = chest(7)
    assessed = assess_quality(image, sure(mask), mask, {name: ordinary})
    assert (assessed.warning, assessed.score) == ("", pytest.approx(0.99, abs=0.02))


def test_an_ensemble_is_judged_by_all_its_networks_in_any_order() -> None:
    some, others = {"area": (0.1, 0.3), "gap": (0.2, 0.3)}, {"area": (0.2, 0.5), "slant": (0.0, 0.1)}
    expected = {"area": (0.1, 0.5), "gap": (0.2, 0.3), "slant": (0.0, 0.1)}
    assert combine_ranges([some, others]) == combine_ranges([others, some]) == expected


@pytest.mark.parametrize(("low", "high", "widths"), [(0.5, 0.7, 0.2), (0.8, 1.2, 0.25)])
def test_the_score_falls_with_the_distance_in_widths_of_the_range(low: float, high: float, widths: float) -> None:
    image, mask = chest(7)
    right, left = find_lungs(mask)
    assert right is not None
    assert left is not None
    value = features(image, right, left)["gap"]
    distance = high - low
    beyond = (value - widths * distance - distance, value - widths * distance)
    trusted, judged = (assess_quality(image, sure(mask), mask, ranges).score for ranges in ({}, {"gap": beyond}))
    assert judged == pytest.approx(trusted / (1 + widths))
