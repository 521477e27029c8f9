"""Quality scores and warnings of masks of drawn chests and of other images."""

from collections.abc import Callable

import numpy as np
import pytest

from lung_seg.prediction.quality import assess_quality, expected_dice, features, reference_ranges
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


def test_without_ranges_only_doubt_and_number_are_assessed() -> None:
    image, mask = chest(7)
    assert assess_quality(255 - image, sure(mask), mask, {}).warning == ""
    assert reference_ranges([]) == {}
