"""Two lungs from a probability map, on ellipses of known position."""

import time
import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from lung_seg.prediction.postprocess import LEFT, RIGHT, clean, find_lungs, nearest_lung_map

SIDE = 64


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1


ON_THE_LEFT = ellipse(32, 18, 20, 10)  # of the image: the patient's right lung
ON_THE_RIGHT = ellipse(32, 46, 20, 10)


def test_right_and_left_are_the_patients() -> None:
    right, left = find_lungs(ON_THE_LEFT | ON_THE_RIGHT)
    np.testing.assert_array_equal(right, ON_THE_LEFT)
    np.testing.assert_array_equal(left, ON_THE_RIGHT)


def test_the_larger_lung_may_be_on_either_side() -> None:
    small = ellipse(32, 46, 8, 6)
    right, left = find_lungs(ON_THE_LEFT | small)
    np.testing.assert_array_equal(left, small)
    right, left = find_lungs(small[:, ::-1] | ON_THE_LEFT[:, ::-1])
    np.testing.assert_array_equal(right, small[:, ::-1])


def test_lungs_that_touch_are_split_where_they_touch() -> None:
    bridge = np.zeros((SIDE, SIDE), bool)
    bridge[28:34, 18:46] = True
    whole = ON_THE_LEFT | ON_THE_RIGHT | bridge
    right, left = find_lungs(whole)
    np.testing.assert_array_equal(right | left, whole)
    assert not (right & left).any()
    assert (right & ON_THE_RIGHT).sum() == (left & ON_THE_LEFT).sum() == 0
    assert abs(int(right.sum()) - int(left.sum())) < 12


@pytest.mark.parametrize(("lung", "side"), [(ON_THE_LEFT, 0), (ON_THE_RIGHT, 1)])
def test_a_single_lung_lies_on_the_side_it_is_on(lung: np.ndarray, side: int) -> None:
    found = find_lungs(lung)
    np.testing.assert_array_equal(found[side], lung)
    assert found[1 - side] is None


def test_nothing_is_no_lung() -> None:
    assert find_lungs(np.zeros((SIDE, SIDE), bool)) == (None, None)


def test_cleaning_keeps_a_lung_cut_in_two_and_drops_lateral_components() -> None:
    cut = ON_THE_LEFT.copy()
    cut[18:21] = False  # a dense band: the upper piece is small
    beside_the_chest = ellipse(40, 61, 8, 2)
    speck = ellipse(60, 18, 1.5, 1.5)
    probability = np.where(cut | ON_THE_RIGHT | beside_the_chest | speck, 0.9, 0.1).astype(np.float32)
    np.testing.assert_array_equal(clean(probability) >= 0.5, cut | ON_THE_RIGHT)


def test_cleaning_fills_holes_and_leaves_doubt_as_it_was() -> None:
    holed = ON_THE_LEFT & ~ellipse(32, 18, 3, 3)
    probability = np.where(holed | ON_THE_RIGHT, 0.7, 0.3).astype(np.float32)
    cleaned = clean(probability)
    np.testing.assert_array_equal(cleaned >= 0.5, ON_THE_LEFT | ON_THE_RIGHT)
    untouched = holed | ~ON_THE_LEFT
    np.testing.assert_array_equal(cleaned[untouched], probability[untouched])


@pytest.mark.parametrize("thickness", [2, 6, 14])
def test_the_mediastinum_between_lungs_that_touch_above_and_below_is_not_filled(thickness: int) -> None:
    lungs = ON_THE_LEFT | ON_THE_RIGHT
    lungs[14 : 14 + thickness, 18:46] = lungs[50 - thickness : 50, 18:46] = True
    probability = lungs.astype(np.float32)
    np.testing.assert_array_equal(clean(probability), probability)
    assert binary_fill_holes(lungs).sum() - lungs.sum() > 40


def test_a_hole_too_large_for_a_lung_is_not_filled() -> None:
    ring = ellipse(32, 32, 26, 26) & ~ellipse(32, 32, 18, 18)  # nowhere thinner, so it cannot be split
    assert sum(lung is not None for lung in find_lungs(ring)) == 1
    np.testing.assert_array_equal(clean(ring.astype(np.float32)), ring)


def test_the_holes_of_each_lung_are_filled_as_scipy_fills_them() -> None:
    holes = np.random.default_rng(0).random((SIDE, SIDE)) < 0.05
    right, left = ON_THE_LEFT & ~holes, ON_THE_RIGHT & ~holes
    bridged = right | left
    bridged[30:33, 25:40] = True
    found = clean(bridged.astype(np.float32)) >= 0.5
    right[30:33, 25:32] = left[30:33, 32:40] = True
    np.testing.assert_array_equal(found, binary_fill_holes(right) | binary_fill_holes(left))


def test_pieces_below_both_lungs_are_dropped() -> None:
    lower_piece = (np.arange(SIDE)[:, None] > 40) & ON_THE_RIGHT
    opacity = (np.arange(SIDE)[:, None] > 37) & ~lower_piece & ON_THE_RIGHT
    stomach = ellipse(57, 46, 4, 6)
    lungs = ON_THE_LEFT | (ON_THE_RIGHT & ~opacity)
    np.testing.assert_array_equal(clean((lungs | stomach).astype(np.float32)) >= 0.5, lungs)


def test_speckled_masks_are_cleaned_fast() -> None:
    speckled = (np.random.default_rng(0).random((2048, 2048)) < 0.08).astype(np.float32)
    start = time.process_time()
    clean(speckled)
    assert time.process_time() - start < 1


def test_memory_does_not_grow_with_the_number_of_components() -> None:
    speckled = np.random.default_rng(0).random((256, 256)) < 0.08  # thousands of components of 64 KiB each
    tracemalloc.start()
    try:
        find_lungs(speckled)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 * 2**20


def test_every_pixel_has_a_side() -> None:
    side = nearest_lung_map(ON_THE_LEFT | ON_THE_RIGHT)
    assert (side[:, :31] == RIGHT).all()
    assert (side[:, 33:] == LEFT).all()
    assert (nearest_lung_map(ON_THE_RIGHT) == LEFT).all()
