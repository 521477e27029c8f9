import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lung_seg.second_step.scores import (
    auc,
    brier,
    operating_points,
    reliability,
    resampled_weights,
    roc_curve,
    summarise,
)

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
LOGITS = np.array([0.1, 0.2, 0.3, 0.7, 0.4, 0.5, 0.8, 0.9])


def test_the_area_is_that_of_scikit_learn_with_ties_and_weights() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    logits = rng.integers(0, 12, 60).astype(float)
    weights = rng.integers(0, 4, (3, 60))
    expected = [roc_auc_score(labels, logits, sample_weight=row) for row in weights]
    assert auc(logits, labels, weights) == pytest.approx(expected)
    assert auc(logits, labels) == pytest.approx([roc_auc_score(labels, logits)])


def test_operating_points_worked_out_by_hand() -> None:
    points = operating_points(LOGITS, LABELS)
    assert points["sensitivity_at_90"] == points["sensitivity_at_95"] == 0.5  # no healthy radiograph may be called sick
    assert points["specificity_at_90"] == points["specificity_at_95"] == 0.75  # all sick radiographs must be
    false_positive, true_positive = roc_curve(LOGITS, LABELS)
    assert (false_positive[0], true_positive[0], false_positive[-1], true_positive[-1]) == (0, 0, 1, 1)


def test_brier_and_reliability_worked_out_by_hand() -> None:
    assert brier(np.full(8, 0.5), LABELS) == 0.25
    assert brier(LABELS.astype(float), LABELS) == 0
    assert reliability(LOGITS, LABELS)[:2] == [(0.1, 0.0), (0.2, 0.0)]


def test_patients_are_resampled_with_all_their_radiographs() -> None:
    weights = resampled_weights(["a", "b", "b", "c"])
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_the_interval_holds_the_area_and_radiographs_of_one_patient_widen_it() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.permutation(np.arange(30) % 2), 4)
    logits = np.repeat(rng.normal(size=30), 4) + labels
    alone, together = (
        summarise(logits[None], labels, resampled_weights(patients))
        for patients in ([str(number) for number in range(120)], [str(number // 4) for number in range(120)])
    )
    assert alone["low"] < alone["auc"] < alone["high"]
    assert together["high"] - together["low"] > 1.4 * (alone["high"] - alone["low"])
