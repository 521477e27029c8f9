"""How well a score separates two labels, with intervals from a bootstrap over patients."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Labels = NDArray[np.int64]  # 0 or 1

RESAMPLES = 1000
RELIABILITY_GROUPS = 8


def auc(logits: Values, labels: Labels, weights: NDArray[np.int64] | None = None) -> Values:
    """Area under the ROC curve, (R,), with each radiograph counted as often as a row of weights (R, radiographs) says.

    It is the probability that a radiograph with label 1 has the higher logit; equal ones count half.
    """
    weights = np.ones((1, len(labels)), np.int64) if weights is None else weights
    order = np.argsort(logits)
    _, starts = np.unique(logits[order], return_index=True)
    sick, healthy = (
        np.add.reduceat(weights[:, order] * (labels[order] == label), starts, axis=1, dtype=np.float64)
        for label in (1, 0)
    )
    healthy_below = np.cumsum(healthy, axis=1) - healthy / 2
    pairs = sick.sum(axis=1) * healthy.sum(axis=1)
    result: Values = (sick * healthy_below).sum(axis=1) / np.maximum(pairs, 1)
    return result


def resampled_weights(patients: Sequence[str]) -> NDArray[np.int64]:
    """How often each radiograph is in each bootstrap sample, (RESAMPLES, radiographs); patients are drawn whole."""
    names, patient = np.unique(patients, return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    weights: NDArray[np.int64] = drawn[:, patient]
    return weights


def interval(samples: Values) -> tuple[float, float]:
    """The 95 % percentile interval of a bootstrap."""
    low, high = np.quantile(samples, (0.025, 0.975))
    return float(low), float(high)


def roc_curve(logits: Values, labels: Labels) -> tuple[Values, Values]:
    """False and true positive rate at every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(logits)[::-1]
    called = logits >= np.append(np.inf, thresholds)[:, None]
    return called[:, labels == 0].mean(axis=1), called[:, labels == 1].mean(axis=1)


def operating_points(logits: Values, labels: Labels) -> dict[str, float]:
    """Best sensitivity at 90 % and 95 % specificity, and best specificity at 90 % and 95 % sensitivity."""
    false_positive, true_positive = roc_curve(logits, labels)
    points = {}
    for percent in (90, 95):
        wanted = percent / 100 - 1e-9
        points[f"sensitivity_at_{percent}"] = float(true_positive[1 - false_positive >= wanted].max())
        points[f"specificity_at_{percent}"] = float((1 - false_positive)[true_positive >= wanted].max())
    return points


def sigmoid(logits: Values) -> Values:
    """Probability of label 1; by tanh, since exp(-logits) could overflow."""
    result: Values = 0.5 + 0.5 * np.tanh(0.5 * logits)
    return result


def brier(probabilities: Values, labels: Labels) -> float:
    """Mean squared difference between probability and label; 0.25 for a coin."""
    return float(np.mean((probabilities - labels) ** 2))


def reliability(probabilities: Values, labels: Labels) -> list[tuple[float, float]]:
    """Mean probability and share of label 1 in groups of equally many radiographs, from the lowest probability up."""
    groups = np.array_split(np.argsort(probabilities), RELIABILITY_GROUPS)
    return [(float(probabilities[group].mean()), float(labels[group].mean())) for group in groups if len(group)]


def summarise(logits: Values, labels: Labels, weights: NDArray[np.int64]) -> dict[str, float]:
    """Mean over the seeds of the scores of logits (seeds, radiographs); the interval is over patients."""
    samples = mean_auc_samples(logits, labels, weights)
    low, high = interval(samples)
    seeds = [
        {"auc": float(auc(of_seed, labels)[0]), "brier": brier(sigmoid(of_seed), labels)}
        | operating_points(of_seed, labels)
        for of_seed in logits
    ]
    means = {name: float(np.mean([seed[name] for seed in seeds])) for name in seeds[0]}
    return means | {"low": low, "high": high, "seed_deviation": float(np.std([seed["auc"] for seed in seeds]))}


def mean_auc_samples(logits: Values, labels: Labels, weights: NDArray[np.int64]) -> Values:
    """The AUC, mean over the seeds of logits (seeds, radiographs), in every sample of the bootstrap."""
    samples: Values = np.mean([auc(of_seed, labels, weights) for of_seed in logits], axis=0)
    return samples
