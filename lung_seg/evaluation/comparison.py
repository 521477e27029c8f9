"""Comparing evaluations of the same cases: paired differences, a scatter plot, and a table over all of them."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from lung_seg.chart import ACCENT, LINE, STYLE, svg
from lung_seg.errors import UserError
from lung_seg.evaluation.statistics import interval_text, mean_with_interval
from lung_seg.files import write_csv, write_text
from lung_seg.templates import template

Values = NDArray[np.float64]

# Each compared score with its digits, and whether more is better.
SCORES = {"dice": (4, True), "delivered_dice": (4, True), "iou": (4, True), "bce": (4, False), "hd95_px": (2, False)}
COLUMNS = ("run", "score", "cases", "mean", "low", "high", "difference", "difference_low", "difference_high", "p")
SHOWN_CASES = 10  # with the largest differences


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that was written before: its name, summary.json, and the rows of cases.csv by case_id."""

    name: str
    summary: dict[str, Any]
    cases: dict[str, dict[str, str]]


def compare(folders: Sequence[Path], run_dir: Path) -> list[dict[str, Any]]:
    """Compare evaluations with the first of them; writes comparison.html, comparison.csv and comparison.tex.

    The differences are later minus first, over the cases that all of them scored, with a 95 % bootstrap interval over
    patients, and the p-value of Wilcoxon's signed-rank test (1945) of the patients' mean differences, two-sided.
    Returns the rows of comparison.csv.

    Raises:
        UserError: a folder holds no evaluation, or they have no case in common.
    """
    evaluations = [_read(folder) for folder in folders]
    common = sorted(set.intersection(*(set(evaluation.cases) for evaluation in evaluations)))
    if not common:
        names = " and ".join(map(str, folders))
        raise UserError(f"compare: {names} have no case in common.\nCompare evaluations of the same split of one set.")
    rows = [row for evaluation in evaluations for row in _rows(evaluation, evaluations[0], common)]
    write_csv(run_dir / "comparison.csv", COLUMNS, rows)
    write_text(run_dir / "comparison.tex", _latex(rows))
    with matplotlib.rc_context(STYLE):
        others = [_other(evaluation, evaluations[0], common) for evaluation in evaluations[1:]]
    page = template(Path(__file__).parent / "comparison.html.j2", interval=interval_text).render(
        first=evaluations[0],
        rows=rows,
        others=others,
        digits={name: digits for name, (digits, _) in SCORES.items()},
        cases=len(common),
        left_out=sum(len(evaluation.cases) - len(common) for evaluation in evaluations),
    )
    write_text(run_dir / "comparison.html", page)
    return rows


def _read(folder: Path) -> Evaluation:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
            cases = {row["case_id"]: row for row in csv.DictReader(file) if row["dice"]}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"compare: {folder} holds no evaluation (summary.json and cases.csv).\n"
            "Give run directories of evaluate.py or train.py: compare=[runs/evaluate/<time>,runs/evaluate/<time>]"
        ) from error
    return Evaluation(str(folder), summary, cases)


def _values(evaluation: Evaluation, score: str, cases: Sequence[str]) -> Values:
    """A score of each case, NaN where it is not known."""
    return np.array([float(evaluation.cases[case].get(score) or "nan") for case in cases])


def _patient(row: dict[str, str]) -> str:
    """The patient of a case; the case itself in a table of an earlier version, which does not name them."""
    return f"{row['source']}/{row['patient_id']}" if "patient_id" in row else row["case_id"]


def _rows(evaluation: Evaluation, first: Evaluation, cases: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each score: its mean, and its difference from the first evaluation, empty for that itself."""
    rows = []
    patients = np.array([_patient(first.cases[case]) for case in cases])
    for score in SCORES:
        values = _values(evaluation, score, cases)
        difference = values - _values(first, score, cases)
        known = ~np.isnan(difference)
        if not known.any():
            continue
        row: dict[str, Any] = {"run": evaluation.name, "score": score, "cases": int(known.sum())}
        row |= mean_with_interval(values[known].tolist(), patients[known].tolist())
        if evaluation is not first:
            paired = mean_with_interval(difference[known].tolist(), patients[known].tolist())
            row |= {"difference": paired["mean"], "difference_low": paired["low"], "difference_high": paired["high"]}
            row["p"] = _p_value(difference[known], patients[known])
        rows.append(row)
    return rows


def _p_value(difference: Values, patients: NDArray[np.str_]) -> float:
    """Of the mean differences of the patients, since cases of one patient resemble each other."""
    _, patient = np.unique(patients, return_inverse=True)
    means = np.bincount(patient, difference) / np.bincount(patient)
    return float(wilcoxon(means).pvalue) if means.any() else 1.0


def _other(evaluation: Evaluation, first: Evaluation, cases: Sequence[str]) -> dict[str, Any]:
    """What the page shows of an evaluation against the first one: a scatter plot, and the cases that differ most."""
    dice, reference = _values(evaluation, "dice", cases), _values(first, "dice", cases)
    order = np.argsort(-np.abs(dice - reference))[:SHOWN_CASES]
    return {
        "name": evaluation.name,
        "scatter": _scatter(reference, dice),
        "better": int((dice > reference).sum()),
        "worse": int((dice < reference).sum()),
        "cases": [(cases[index], reference[index], dice[index]) for index in order],
    }


def _scatter(reference: Values, dice: Values) -> Markup:
    """Dice of each case by both evaluations; above the diagonal the second one is better."""
    lowest = min(reference.min(), dice.min()) - 0.01
    figure = Figure(figsize=(3.6, 3.4), layout="constrained")
    axes = figure.add_subplot(xlim=(lowest, 1.005), ylim=(lowest, 1.005), xlabel="Dice, first", ylabel="Dice, other")
    axes.plot((lowest, 1), (lowest, 1), color=LINE, linewidth=1)
    axes.scatter(reference, dice, s=18, color=ACCENT, alpha=0.6, linewidths=0)
    return svg(figure)


def _latex(rows: Sequence[dict[str, Any]]) -> str:
    """A table of all evaluations, for \\input with the package booktabs."""
    names = list(dict.fromkeys(row["run"] for row in rows))
    lines = [r"\begin{tabular}{l" + "r" * len(SCORES) + "}", r"\toprule"]
    lines.append(" & ".join(["run", *(score.replace("_", r"\_") for score in SCORES)]) + r" \\")
    lines.append(r"\midrule")
    for name in names:
        means = {row["score"]: row["mean"] for row in rows if row["run"] == name}
        cells = [f"{means[score]:.{digits}f}" if score in means else "--" for score, (digits, _) in SCORES.items()]
        lines.append(" & ".join([r"\verb|" + name + "|", *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
