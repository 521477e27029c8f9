"""Means over cases with their intervals, by source and by TB label."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor

from lung_seg.model.metrics import COUNTS, OVERLAP_SCORES, overlap_scores, pooled_dice
from lung_seg.prepared.manifest import TB_LABELS, Row

RESAMPLES = 2000  # of the bootstrap: with 100 cases an interval moves by less than 0.001 from one seed to the next


CASE_SCORES = (*OVERLAP_SCORES, "hd95_px", "assd_px")


@dataclass(frozen=True)
class ScoredCase:
    """One case with its scores."""

    row: Row
    position: int  # row number in the manifest
    counts: Tensor  # (5,), see metrics.COUNTS
    scores: dict[str, float]
    surface_failed: bool


def summarise(cases: list[ScoredCase]) -> dict[str, Any]:
    """Scores of all cases, and by source and TB label."""
    sources = sorted({case.row.source for case in cases})
    labels = [label for label in TB_LABELS if any(case.row.tb_label == label for case in cases)]
    return {
        "all": _group(cases),
        "source": {name: _group([case for case in cases if case.row.source == name]) for name in sources},
        "tb_label": {
            TB_LABELS[label]: _group([case for case in cases if case.row.tb_label == label]) for label in labels
        },
    }


def mean_with_interval(values: list[float]) -> dict[str, float]:
    """Mean, and the 95 % percentile bootstrap interval over cases (Efron 1979), the same at each call."""
    mean = float(np.mean(values))
    if len(set(values)) < 2:
        return {"mean": mean, "low": mean, "high": mean}
    interval = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0).confidence_interval
    return {"mean": mean, "low": float(interval.low), "high": float(interval.high)}


def _group(cases: list[ScoredCase]) -> dict[str, Any]:
    means = {name: mean_with_interval([case.scores[name] for case in cases]) for name in CASE_SCORES}
    return means | {
        "cases": len(cases),
        "pooled_dice": pooled_dice(torch.stack([case.counts for case in cases])),
        "surface_failed": sum(case.surface_failed for case in cases),
    }


def scored_case(rows: list[Row], case: Tensor) -> ScoredCase:
    """One line of the scorer's table: row number, counts, surface scores."""
    position, counts, surfaces = int(case[0]), case[1 : 1 + len(COUNTS)], case[1 + len(COUNTS) :]
    hd95_px, assd_px, failed = surfaces.tolist()
    scores = {name: float(score) for name, score in overlap_scores(counts[None]).items()}
    return ScoredCase(rows[position], position, counts, scores | {"hd95_px": hd95_px, "assd_px": assd_px}, bool(failed))
