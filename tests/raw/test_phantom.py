"""Phantoms: repeatable, varied, and right about where lungs lie."""

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from lung_seg.raw.phantom.draw_phantom import Phantom, draw_phantom

SEEDS = range(60)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [draw_phantom(seed, 128, 128) for seed in SEEDS]


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def _centre_column(mask: np.ndarray) -> float:
    return float(np.nonzero(mask)[1].mean())


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_a_seed_draws_the_same_phantom_again(seed: int) -> None:
    first, again = draw_phantom(seed, 96, 80), draw_phantom(seed, 96, 80)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.right_mask, again.right_mask)
    assert np.array_equal(first.left_mask, again.left_mask)
    assert first.tb_label == again.tb_label


@pytest.mark.parametrize(("height_px", "width_px"), [(32, 32), (128, 128), (96, 160), (161, 97), (300, 250)])
def test_size_and_types(height_px: int, width_px: int) -> None:
    phantom = draw_phantom(3, height_px, width_px)
    assert phantom.image.shape == phantom.right_mask.shape == phantom.left_mask.shape == (height_px, width_px)
    assert phantom.image.dtype == np.uint8
    assert phantom.right_mask.dtype == phantom.left_mask.dtype == bool
    assert phantom.tb_label in (0, 1)


def test_the_right_lung_lies_on_the_images_left_and_apart_from_the_left_lung(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        assert not (phantom.right_mask & phantom.left_mask).any()
        assert _centre_column(phantom.right_mask) < _centre_column(phantom.left_mask)


def test_both_lungs_have_a_plausible_area(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        shares = phantom.right_mask.mean(), phantom.left_mask.mean()
        assert min(shares) > 0.01
        assert 0.05 < sum(shares) < 0.5
    assert 0.2 < np.mean([phantom.right_mask.mean() + phantom.left_mask.mean() for phantom in phantoms]) < 0.3


def test_each_lung_is_one_piece(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        for mask in (phantom.right_mask, phantom.left_mask):
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
            assert stats[1:, cv2.CC_STAT_AREA].max() > 0.99 * mask.sum()


def test_lungs_are_mostly_darker_than_the_tissue_around_them(phantoms: list[Phantom]) -> None:
    darker = []
    for phantom in phantoms:
        lungs = (phantom.right_mask | phantom.left_mask).astype(np.uint8)
        rim = (cv2.dilate(lungs, np.ones((11, 11), np.uint8)) > 0) & (lungs == 0)
        darker.append(phantom.image[lungs > 0].mean() < phantom.image[rim].mean())
    assert np.mean(darker) > 0.9


def test_radiographs_taken_at_the_bedside_are_closer_and_flatter(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    for share in (0, 1):
        monkeypatch.setattr("lung_seg.raw.phantom.draw_phantom.BEDSIDE_SHARE", share)
        drawn[share] = [draw_phantom(seed, 64, 64) for seed in SEEDS]
    width, contrast = ([_median(measure, drawn[share]) for share in (0, 1)] for measure in (_width, _contrast))
    assert width[1] > 1.15 * width[0]
    assert 0 < contrast[1] < 0.85 * contrast[0]


def _median(measure: Callable[[Phantom], float], phantoms: list[Phantom]) -> float:
    return float(np.median([measure(phantom) for phantom in phantoms]))


def _width(phantom: Phantom) -> float:
    """Columns with lung, as a share of all."""
    return float((phantom.right_mask | phantom.left_mask).any(axis=0).mean())


def _contrast(phantom: Phantom) -> float:
    """How much brighter the tissue right above and below the lungs is, in standard deviations of the image."""
    lungs = (phantom.right_mask | phantom.left_mask).astype(np.uint8)
    rim = (cv2.dilate(lungs, np.ones((13, 1), np.uint8)) > 0) & (lungs == 0)
    return float((phantom.image[rim].mean() - phantom.image[lungs > 0].mean()) / phantom.image.std())


def test_images_keep_contrast(phantoms: list[Phantom]) -> None:
    assert min(phantom.image.std() for phantom in phantoms) > 10


def test_phantoms_differ(phantoms: list[Phantom]) -> None:
    masks = [phantom.right_mask | phantom.left_mask for phantom in phantoms]
    overlaps = [_dice(first, second) for first, second in itertools.pairwise(masks)]
    assert max(overlaps) < 0.97
    assert np.mean(overlaps) < 0.85
    assert np.std([phantom.image.mean() for phantom in phantoms]) > 10


def test_about_half_the_phantoms_carry_the_tb_label(phantoms: list[Phantom]) -> None:
    assert 0.3 < np.mean([phantom.tb_label for phantom in phantoms]) < 0.7


def test_the_same_anatomy_at_every_size() -> None:
    for seed in range(8):
        small, large = draw_phantom(seed, 128, 128), draw_phantom(seed, 256, 320)
        assert small.tb_label == large.tb_label
        for few, many in ((small.right_mask, large.right_mask), (small.left_mask, large.left_mask)):
            shrunk = cv2.resize(many.astype(np.uint8), (128, 128), interpolation=cv2.INTER_NEAREST) > 0
            assert _dice(few, shrunk) > 0.96
        shrunk_image = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA)
        smooth = [cv2.blur(image, (5, 5)).ravel() for image in (small.image, shrunk_image)]
        assert np.corrcoef(*smooth)[0, 1] > 0.9


def test_what_the_collimator_shuts_off_is_no_lung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lung_seg.raw.phantom.draw_phantom._COLLIMATOR", (("bottom", 1.0, 0.9),))
    shut_films = 0
    for seed in range(20):
        drawn = draw_phantom(seed, 64, 64)
        # Rows of one shade: all except those of labels are behind the leaf.
        shut = (drawn.image == drawn.image[-1, 0]).all(axis=1)
        shut_films += shut.sum() > 20
        assert not (drawn.left_mask | drawn.right_mask)[shut].any()
    assert shut_films > 5
