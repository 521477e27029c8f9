"""Logistic regression on averages: for each level of the encoder one, and the mean of their calibrated logits.

Levels are fitted apart, and no level is chosen: one regression on all numbers, or on the level that is best within a
hospital, relies more on what only that hospital's radiographs have (docs/second_step.md).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lung_seg.environment import keep_freed_memory, usable_cores
from lung_seg.errors import UserError
from lung_seg.second_step.classifier import Classifier
from lung_seg.second_step.scores import Labels, Values

try:
    from joblib import Parallel, delayed
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from threadpoolctl import threadpool_limits
except ModuleNotFoundError as missing:
    raise UserError(
        f"tuberculosis.py needs {missing.name}, which is not installed.\n"
        'Install it: pip install "lung_seg[second_step]"'
    ) from missing

STRENGTHS = (0.01, 0.03, 0.1, 0.3)  # C of scikit-learn, one of which the inner cross-validation chooses
FOLDS = 5
OUTER_SEED = 1000  # added to the seed of the outer folds, so that the inner ones are others
UNREGULARISED = 1e6  # C of a calibration: two numbers

Result = TypeVar("Result")
Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]  # positions to fit on, and to judge


def patient_folds(labels: Labels, patients: Sequence[str], seed: int) -> Folds:
    """Folds with equal shares of both labels, in which no patient is both fitted on and judged."""
    return _folds(tuple(labels.tolist()), tuple(patients), seed, FOLDS)


@lru_cache(maxsize=64)  # the lungs and the controls are fitted on the same; finding them takes a third of the time
def _folds(labels: Sequence[int], patients: Sequence[str], seed: int, folds: int) -> Folds:
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, patients))


def fit(features: Values, widths: Sequence[int], labels: Labels, patients: Sequence[str], seed: int) -> Classifier:
    """Fit a classifier; cross-validation by patients chooses the strength of each level and calibrates the whole.

    Args:
        features: (radiographs, numbers), the levels one after the other.
        widths: numbers of each level.
        labels: (radiographs,), 0 or 1.
        patients: (radiographs,).
        seed: of the folds.
    """
    with threadpool_limits(1):  # two cores take twice as long as one for matrices of a few hundred rows
        return _fit(features, widths, labels, patient_folds(labels, patients, seed))


def cross_validate(
    features: Values, widths: Sequence[int], labels: Labels, patients: Sequence[str], seed: int
) -> Values:
    """Logits of radiographs, each by a classifier fitted on other patients, which alone choose its settings."""
    logits = np.empty(len(labels))
    for fitted, judged in patient_folds(labels, patients, OUTER_SEED + seed):
        fitted_patients = [patients[position] for position in fitted]
        classifier = fit(features[fitted], widths, labels[fitted], fitted_patients, seed)
        logits[judged] = classifier.logits(features[judged])
    return logits


def on_all_cores(function: Callable[..., Result], arguments: Iterable[Sequence[Any]]) -> list[Result]:
    """The results of a function of this module for each of some arguments, in their order."""
    cores = usable_cores()
    if cores == 1:
        return [function(*each) for each in arguments]
    results: list[Result] = Parallel(cores)(delayed(_in_worker)(function, each) for each in arguments)
    return results


def _in_worker(function: Callable[..., Result], arguments: Sequence[Any]) -> Result:
    keep_freed_memory()  # as the command does in its own process
    return function(*arguments)


def _fit(features: Values, widths: Sequence[int], labels: Labels, folds: Folds) -> Classifier:
    weights, bias, judged = np.zeros(features.shape[1]), 0.0, np.zeros(len(labels))
    for start, end in pairwise(np.cumsum([0, *widths]).tolist()):
        level = features[:, start:end]
        strength, level_judged = _choose_strength(level, labels, folds)
        level_weights, level_bias = _fit_level(level, labels, strength)
        slope, shift = _calibrate(level_judged, labels)
        weights[start:end] = slope * level_weights / len(widths)
        bias += (slope * level_bias + shift) / len(widths)
        judged += (slope * level_judged + shift) / len(widths)
    slope, shift = _calibrate(judged, labels)
    return Classifier(slope * weights, float(slope * bias + shift), features.mean(axis=0))


def _choose_strength(level: Values, labels: Labels, folds: Folds) -> tuple[float, Values]:
    """The strength of least log loss on radiographs that were not fitted on, and their logits."""
    losses, logits = [], []
    for strength in STRENGTHS:
        judged = np.empty(len(labels))
        for fitted, left_out in folds:
            weights, bias = _fit_level(level[fitted], labels[fitted], strength)
            judged[left_out] = level[left_out] @ weights + bias
        losses.append(np.logaddexp(0, np.where(labels == 1, -judged, judged)).mean())  # log loss
        logits.append(judged)
    best = int(np.argmin(losses))
    return STRENGTHS[best], logits[best]


def _fit_level(level: Values, labels: Labels, strength: float) -> tuple[Values, float]:
    """Weights and bias of a logistic regression on standardised features, for features that are not."""
    means, deviations = level.mean(axis=0), np.maximum(level.std(axis=0), 1e-9)
    regression = LogisticRegression(C=strength, solver="newton-cholesky").fit((level - means) / deviations, labels)
    weights: Values = regression.coef_[0] / deviations
    return weights, float(regression.intercept_[0] - means @ weights)


def _calibrate(logits: Values, labels: Labels) -> tuple[float, float]:
    """Slope and shift that make logits of radiographs that were not fitted on those of probabilities (Platt 1999).

    A level that judged worse than chance gets the slope 0: turned round it would not do better on other radiographs.
    """
    regression = LogisticRegression(C=UNREGULARISED).fit(logits[:, None], labels)
    slope, shift = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    prevalence = float(labels.mean())
    return (slope, shift) if slope > 0 else (0.0, float(np.log(prevalence / (1 - prevalence))))
