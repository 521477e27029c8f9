"""Two networks on the corrected films that neither of them learned from, from the tables that evaluations write."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

SCORE = "delivered_dice"  # of the masks as they are written
CORRECTED, ADDED = "folder", "added"  # sources in cases.csv: corrections, and the user's own set they are mixed with
RESAMPLES = 2000
FEW = 5  # films put aside: below, a difference says next to nothing


@dataclass(frozen=True)
class Comparison:
    """Dice of two networks on the same films, (N,) each."""

    old: NDArray[np.float64]
    new: NDArray[np.float64]
    old_added: NDArray[np.float64]  # on the part of the user's own set that was put aside; may be empty
    new_added: NDArray[np.float64]

    @property
    def helps(self) -> bool:
        """Whether the new network is better beyond chance, and has not become worse on the user's own set."""
        low, _ = interval(self.new - self.old)
        forgets = self.old_added.size and interval(self.new_added - self.old_added)[1] < 0
        return len(self.old) >= FEW and low > 0 and not forgets

    @property
    def text(self) -> str:
        """What the figures mean."""
        films = "1 corrected film" if len(self.old) == 1 else f"{len(self.old)} corrected films"
        gain = float(np.mean(self.new - self.old))
        low, high = interval(self.new - self.old)
        figures = f"On {films} put aside the Dice goes {_change(self.old, self.new)}"
        if self.old_added.size:
            figures += f", on {len(self.old_added)} of your own set {_change(self.old_added, self.new_added)}"
        if len(self.old) < FEW:
            return f"{figures}. So few films say next to nothing: correct more and learn again before you rely on it."
        change = f"{gain:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
        if self.helps:
            return f"{figures} ({change}). The new network helps on films like these."
        if high < 0:
            return f"{figures} ({change}). The new network is worse: keep the old one."
        if low > 0:
            return f"{figures} ({change}), but it has become worse on your own set: keep the old one."
        return f"{figures} ({change}). This does not help: the difference may be chance. Keep the old one."

    def as_json(self) -> dict[str, Any]:
        """Both networks side by side."""
        return {
            "films": len(self.old),
            "old": {"dice": round(float(self.old.mean()), 4), "ci": interval(self.old)},
            "new": {"dice": round(float(self.new.mean()), 4), "ci": interval(self.new)},
            "helps": self.helps,
            "text": self.text,
        }


def compare(old: Path, new: Path) -> Comparison:
    """Compare two evaluations of the same cases, by their folders."""
    before, after = _read(old), _read(new)
    columns = []
    for source in (CORRECTED, ADDED):
        cases = sorted(before[source].keys() & after[source].keys())
        columns += [np.array([scores[source][case] for case in cases]) for scores in (before, after)]
    return Comparison(*columns)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron 1979); of a single value it is that value."""
    if len(values) == 1:
        return round(float(values[0]), 4), round(float(values[0]), 4)
    low, high = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0).confidence_interval
    return round(float(low), 4), round(float(high), 4)


def _change(old: NDArray[np.float64], new: NDArray[np.float64]) -> str:
    return f"from {old.mean():.4f} to {new.mean():.4f}"


def _read(folder: Path) -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, float]] = {CORRECTED: {}, ADDED: {}}
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            scores[row["source"]][row["case_id"]] = float(row[SCORE])
    return scores
