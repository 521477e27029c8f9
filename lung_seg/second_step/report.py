"""report.html of the second step: the table, ROC curves, reliability, evidence, and what a result is worth in words."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from lung_seg.chart import ACCENT, LINE, MUTED, STYLE, svg
from lung_seg.draw import Rgb
from lung_seg.files import write_text
from lung_seg.raw.image_file import png_bytes
from lung_seg.second_step.features import LUNGS
from lung_seg.second_step.scores import Labels, Values, roc_curve
from lung_seg.second_step.study import Trial
from lung_seg.templates import template

COIN = 0.25  # Brier score of a probability of 0.5 for every radiograph


class ShownRadiograph(NamedTuple):
    """A radiograph with its evidence, judged by a classifier of another source."""

    trial: str
    case_id: str
    label: int
    probability: float
    picture: Rgb


def verdict(trial: Mapping[str, Any], finding: str) -> str:
    """What a trial shows, in a sentence or two: a result whose control is as good is worthless."""
    scores, as_good = trial["scores"], trial["controls_as_good"]
    lungs = scores[LUNGS]
    reached = f"AUC {lungs['auc']:.3f} ({lungs['low']:.3f} to {lungs['high']:.3f})"
    if lungs["low"] <= 0.5:
        return f"{reached}: no sign of {finding} was found in the lungs."
    if as_good:
        control = f"the control “{as_good[0]}” reaches {scores[as_good[0]]['auc']:.3f}"
        return f"{reached} is worthless as evidence of {finding} in the lungs: {control}, which is as good."
    best = max(score["auc"] for kind, score in scores.items() if kind != LUNGS)
    order_only = (
        " Its probabilities do not carry over, only the order of the radiographs." if lungs["brier"] > COIN else ""
    )
    return f"{reached} comes from inside the lungs: the best control reaches {best:.3f}.{order_only}"


def write_report(
    path: Path, summary: dict[str, Any], trials: Sequence[Trial], shown: Sequence[ShownRadiograph]
) -> None:
    """Write the HTML report of a study.

    Args:
        path: the HTML file, written atomically.
        summary: the content of summary.json.
        trials: those of the summary, in its order.
        shown: radiographs with their evidence.
    """
    with matplotlib.rc_context(STYLE):
        charts = [
            (trial.name, _roc_chart(trial.logits, trial.labels), _reliability_chart(row["reliability"]))
            for trial, row in zip(trials, summary["trials"], strict=True)
        ]
    pictures = [(radiograph, base64.b64encode(png_bytes(radiograph.picture)).decode("ascii")) for radiograph in shown]
    page = template(Path(__file__).parent / "tuberculosis.html.j2", number=lambda value: f"{value:.3f}").render(
        summary=summary,
        verdicts=[(trial["name"], verdict(trial, summary["finding"])) for trial in summary["trials"]],
        charts=charts,
        pictures=pictures,
    )
    write_text(path, page)


def _roc_chart(logits: Mapping[str, Values], labels: Labels) -> Markup:
    """ROC curves of the first seed: the lungs, and the controls in grey."""
    figure, axes = _square_axes("1 − specificity", "sensitivity")
    for kind in reversed(list(logits)):
        colour, width = (ACCENT, 2.0) if kind == LUNGS else (MUTED, 0.8)
        axes.plot(*roc_curve(logits[kind][0], labels), color=colour, linewidth=width)
    return svg(figure)


def _reliability_chart(points: Sequence[tuple[float, float]]) -> Markup:
    """Share of radiographs with the finding against their mean probability, of the lungs and the first seed."""
    figure, axes = _square_axes("probability", "share with the finding")
    axes.plot(*zip(*points, strict=True), color=ACCENT, marker="o", markersize=4, linewidth=1.4)
    return svg(figure)


def _square_axes(across: str, up: str) -> tuple[Figure, Any]:
    """Axes from 0 to 1 both ways, with the diagonal; fixed margins, since finding them would double a chart's time."""
    figure = Figure(figsize=(3.2, 3.0))
    axes = figure.add_axes((0.17, 0.16, 0.78, 0.8), xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=across, ylabel=up)
    axes.plot((0, 1), (0, 1), color=LINE, linewidth=1)
    return figure, axes
