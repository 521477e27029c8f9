"""Scores per case, and their means with confidence intervals by source and by TB label."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap
from torch import Tensor, nn

from lung_seg.model.metrics import OVERLAP_SCORES, pooled_dice
from lung_seg.prepared.manifest import TB_LABELS, Row

DELIVERED_SCORES = ("delivered_dice", "hd95_px", "assd_px", "hd95_mm", "assd_mm")
CASE_SCORES = (*OVERLAP_SCORES, *DELIVERED_SCORES)  # of the network's own mask, then of the delivered one
RESAMPLES = 2000  # with 100 cases an interval moves by less than 0.001 from one seed to the next


@dataclass(frozen=True)
class ScoredCase:
    """One case with its scores."""

    row: Row
    position: int  # row number in the manifest
    network: nn.Module  # which predicted it
    counts: Tensor  # (5,), see metrics.COUNTS
    scores: dict[
        str, float
    ]  # CASE_SCORES, nan for distances that are not known; and surface_failed: 1 if one mask is empty


def summarise(cases: list[ScoredCase]) -> dict[str, Any]:
    """Mean scores of all cases, by source and by TB label."""
    sources = sorted({case.row.source for case in cases})
    by_source = {source: [case for case in cases if case.row.source == source] for source in sources}
    by_label = {name: [case for case in cases if case.row.tb_label == label] for label, name in TB_LABELS.items()}
    return {
        "all": _group_scores(cases),
        "source": {source: _group_scores(group) for source, group in by_source.items()},
        "tb_label": {name: _group_scores(group) for name, group in by_label.items() if group},
    }


def _group_scores(cases: list[ScoredCase]) -> dict[str, Any]:
    no_mean = {"mean": None, "low": None, "high": None}  # of distances where every mask is partly known
    means: dict[str, Any] = {name: None if name.endswith("_mm") else no_mean for name in CASE_SCORES}
    for name in CASE_SCORES:
        known = [case for case in cases if not math.isnan(case.scores[name])]
        if known:
            patients = [case.row.patient for case in known]
            means[name] = mean_with_interval([case.scores[name] for case in known], patients)
    return means | {
        "cases": len(cases),
        "patients": len({case.row.patient for case in cases}),
        "cases_with_spacing": sum(case.row.spacing_mm is not None for case in cases),
        "pooled_dice": pooled_dice(torch.stack([case.counts for case in cases])),
        "surface_failed": int(sum(case.scores["surface_failed"] for case in cases)),
    }


def mean_with_interval(values: Sequence[float], patients: Sequence[str]) -> dict[str, float | None]:
    """Mean over cases, and its 95 % percentile bootstrap interval over patients (Efron 1979); the seed is fixed.

    Patients are resampled with all their cases, since cases of one patient resemble each other. The interval of a
    single patient is None.
    """
    mean = float(np.mean(values))
    _, patient = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(patient, values), np.bincount(patient)
    if len(sums) < 2:
        return {"mean": mean, "low": None, "high": None}

    def mean_over_cases(sums: NDArray[np.float64], counts: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
        return np.asarray(sums.sum(axis=axis) / counts.sum(axis=axis))

    options: dict[str, Any] = {"n_resamples": RESAMPLES, "method": "percentile", "rng": 0}
    interval = bootstrap((sums, counts), mean_over_cases, paired=True, vectorized=True, **options).confidence_interval
    return {"mean": mean, "low": float(interval.low), "high": float(interval.high)}


def interval_text(score: Mapping[str, float | None], digits: int) -> str:
    """The interval of a mean, "0.951 to 0.967"; a dash for that of a single patient."""
    low, high = score["low"], score["high"]
    return "–" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"
