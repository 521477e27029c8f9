"""Scores per case, and their means with confidence intervals by source and by TB label."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor, nn

from lung_seg.model.metrics import OVERLAP_SCORES, pooled_dice
from lung_seg.prepared.manifest import TB_LABELS, Row

CASE_SCORES = (*OVERLAP_SCORES, "hd95_px", "assd_px")
RESAMPLES = 2000  # with 100 cases an interval moves by less than 0.001 from one seed to the next


@dataclass(frozen=True)
class ScoredCase:
    """One case with its scores."""

    row: Row
    position: int  # row number in the manifest
    network: nn.Module  # which predicted it
    counts: Tensor  # (5,), see metrics.COUNTS
    scores: dict[str, float]  # CASE_SCORES, and surface_failed: 1 if one of the two masks is empty


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
    means = {name: mean_with_interval([case.scores[name] for case in cases]) for name in CASE_SCORES}
    return means | {
        "cases": len(cases),
        "pooled_dice": pooled_dice(torch.stack([case.counts for case in cases])),
        "surface_failed": int(sum(case.scores["surface_failed"] for case in cases)),
    }


def mean_with_interval(values: list[float]) -> dict[str, float]:
    """Mean and 95 % percentile bootstrap interval over cases (Efron 1979); the resampling is seeded."""
    mean = float(np.mean(values))
    if len(set(values)) < 2:
        return {"mean": mean, "low": mean, "high": mean}
    interval = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0).confidence_interval
    return {"mean": mean, "low": float(interval.low), "high": float(interval.high)}
