"""What a look at the radiograph shown smaller removes from a mask, on ellipses of known position."""

import numpy as np
import pytest

from lung_seg import Predictor
from lung_seg.prediction.smaller_view import remove_unconfirmed, shown_smaller

SIDE = 128  # outlines of the two masks may be 2 px apart


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1


RIGHT_LUNG, LEFT_LUNG = ellipse(60, 36, 40, 20), ellipse(60, 92, 40, 20)
LUNGS = RIGHT_LUNG | LEFT_LUNG
ABDOMEN = ellipse(105, 92, 14, 16) & ~LUNGS  # it touches the left lung


def as_probability(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 0.8, 0.1).astype(np.float32)


def test_what_the_smaller_view_lacks_is_removed_up_to_its_outline() -> None:
    found = remove_unconfirmed(as_probability(LUNGS | ABDOMEN), LUNGS)
    rows, columns = np.nonzero(LUNGS)
    for row, column in np.argwhere(ABDOMEN):
        distance_px = np.hypot(rows - row, columns - column).min()
        if abs(distance_px - 2) > 0.2:  # OpenCV's distances are approximate
            assert (found[row, column] >= 0.5) == (distance_px <= 2), (row, column)
    np.testing.assert_array_equal(found[~ABDOMEN], as_probability(LUNGS)[~ABDOMEN])


def test_outlines_two_pixels_apart_and_what_the_smaller_view_adds_change_nothing() -> None:
    probability = as_probability(LUNGS)
    narrower, wider = ellipse(60, 36, 38.5, 18.5) | ellipse(60, 92, 38.5, 18.5), LUNGS | ABDOMEN
    for smaller in (narrower, wider):
        np.testing.assert_array_equal(remove_unconfirmed(probability, smaller), probability)


@pytest.mark.parametrize("smaller", [np.zeros_like(LUNGS), RIGHT_LUNG, LEFT_LUNG & (np.arange(SIDE)[:, None] < 40)])
def test_a_lung_that_it_hardly_finds_stays_whole(smaller: np.ndarray) -> None:
    probability = as_probability(LUNGS)
    np.testing.assert_array_equal(remove_unconfirmed(probability, smaller), probability)


@pytest.mark.parametrize(
    ("size_px", "step_px", "shown_px"), [(256, 32, 192), (512, 32, 384), (96, 16, 80), (80, 16, 64), (32, 32, 32)]
)
def test_it_has_three_quarters_of_the_size(size_px: int, step_px: int, shown_px: int) -> None:
    assert shown_smaller(np.zeros((size_px, size_px), np.uint8), step_px).shape == (shown_px, shown_px)


def test_predictions_leave_it_out_unless_cleaning_is_off(trained: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(_: Predictor, batch: np.ndarray) -> np.ndarray:
        """The abdomen, too, in all but the smaller view."""
        mask = LUNGS | ABDOMEN if batch.shape[1] == SIDE else LUNGS
        every = np.linspace(0, SIDE - 1, batch.shape[1]).round().astype(int)
        return mask.astype(np.float32)[every][:, every][None]

    monkeypatch.setattr(Predictor, "_mean_probability", found)
    predictions = {}
    for cleaning in (True, False):
        predictor = Predictor("runs/first", cleaning=cleaning)
        predictor.size_px, predictor.ranges = SIDE, {}
        predictions[cleaning] = predictor.predict(np.where(LUNGS, 50, 200).astype(np.uint8))
    np.testing.assert_array_equal(predictions[False].mask, LUNGS | ABDOMEN)
    assert not (predictions[True].mask & ABDOMEN)[105:].any()
    np.testing.assert_array_equal(predictions[True].mask & ~ABDOMEN, LUNGS)
    # The two masks disagree, though only one is delivered.
    agreement = 2 * LUNGS.sum() / (2 * LUNGS.sum() + ABDOMEN.sum())
    assert [predictions[cleaning].quality for cleaning in (True, False)] == pytest.approx(
        [(1 + agreement) / 2] * 2, abs=0.01
    )
