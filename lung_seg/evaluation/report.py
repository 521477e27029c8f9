"""report.html: one file that opens offline, readable on a phone, in dark mode and on paper."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lung_seg.chart import ACCENT, CSS, INK, MUTED, STYLE, svg, whole_ticks
from lung_seg.config_field import flatten
from lung_seg.draw import PREDICTION_COLOUR, TRUTH_COLOUR, Rgb, fit_within
from lung_seg.evaluation.statistics import interval_text
from lung_seg.files import write_text
from lung_seg.prepared.manifest import TB_LABELS
from lung_seg.raw.image_file import png_bytes
from lung_seg.templates import template
from lung_seg.training.epoch_table import duration_text

_OVERLAY_PX = 640  # twice the displayed width, for high-resolution screens

_Case = Mapping[str, Any]
_Row = Mapping[str, float]

_CURVES = {
    "Loss": {"train/loss": MUTED, "validation/loss": ACCENT},
    "Dice": {"train/dice": MUTED, "validation/dice": ACCENT},
    "Learning rate": {"train/learning_rate": ACCENT},
}


def write_report(
    path: Path,
    summary: dict[str, Any],
    cases: Sequence[_Case],
    curves: Sequence[_Row],
    overlays: Mapping[str, Rgb],
    corrupted: Mapping[str, Rgb] | None = None,
) -> None:
    """Write the HTML report of a training or an evaluation.

    Args:
        path: the HTML file, written atomically.
        summary: the content of summary.json.
        cases: the rows of cases.csv, at least one.
        curves: the rows of metrics.csv; empty without a training.
        overlays: RGB uint8 by case_id; of these cases the half with the lower Dice is shown as the worst.
        corrupted: an overlay for each corruption of the summary's robustness, which may be None.
    """
    ordered = sorted(cases, key=lambda case: case["dice"])
    shown = [case for case in ordered if case["case_id"] in overlays]
    half = (len(shown) + 1) // 2
    with matplotlib.rc_context(STYLE):
        charts, dice_chart = list(_charts(curves)), _dice_chart(cases)
        robustness = list(_robustness_charts(summary.get("robustness") or [], corrupted or {}))
    filters: dict[str, Any] = {"number": _number, "duration": duration_text, "interval": interval_text}
    page = template(Path(__file__).parent / "report.html.j2", **filters).render(
        summary=summary,
        cases=ordered,
        worst=shown[:half],
        best=shown[half:][::-1],
        charts=charts,
        dice_chart=dice_chart,
        overlays={case_id: _base64_png(picture) for case_id, picture in overlays.items()},
        robustness=robustness,
        tb_names=TB_LABELS,
        settings=flatten(summary["config"]),
        truth_colour="#" + bytes(TRUTH_COLOUR).hex(),
        prediction_colour="#" + bytes(PREDICTION_COLOUR).hex(),
    )
    write_text(path, page)


def _base64_png(picture: Rgb) -> str:
    return base64.b64encode(png_bytes(fit_within(picture, _OVERLAY_PX))).decode("ascii")


def _number(value: float | None, digits: int) -> str:
    """A fixed number of decimals; a dash for None, nan and infinity."""
    return f"{value:,.{digits}f}" if value is not None and math.isfinite(value) else "–"


def _charts(curves: Sequence[_Row]) -> Iterator[tuple[str, list[tuple[str, str]], Markup]]:
    """A chart over the epochs of each quantity that was logged: title, (CSS colour, name) of each line, and drawing."""
    for title, colours in _CURVES.items():
        figure, axes = _small_axes()
        legend = []
        for key, colour in colours.items():
            points = [(row["epoch"] + 1, row[key]) for row in curves if math.isfinite(row.get(key, math.nan))]
            if points:
                marker, width = "o" if len(points) < 3 else "", 1.1 if colour == MUTED else 1.8
                axes.plot(*np.transpose(points), color=colour, marker=marker, markersize=4, linewidth=width)
                legend.append((CSS[colour], key.split("/")[0]))
        whole_ticks(axes.xaxis)
        axes.set_xlabel("epoch")
        if legend:
            yield title, legend, svg(figure)


def _small_axes() -> tuple[Figure, Axes]:
    """Axes with fixed margins, which fit numbers of seven digits; finding them for each chart would double its time."""
    figure = Figure(figsize=(4.0, 2.5))
    return figure, figure.add_axes((0.17, 0.17, 0.8, 0.75))


def _dice_chart(cases: Sequence[_Case]) -> Markup:
    """A dot for the Dice of every case, one row for each source, with a bar at the row's mean."""
    sources = sorted({case["source"] for case in cases}, reverse=True)
    jitter = np.random.default_rng(0)
    figure = Figure(figsize=(10.5, 0.8 + 0.6 * len(sources)), layout="constrained")
    axes = figure.add_subplot()
    for row, source in enumerate(sources):
        dice = np.array([case["dice"] for case in cases if case["source"] == source])
        heights = row + jitter.uniform(-0.25, 0.25, len(dice))
        axes.scatter(dice, heights, s=14, color=ACCENT, alpha=0.55, linewidths=0)
        axes.vlines(dice.mean(), row - 0.38, row + 0.38, color=INK, linewidth=1.6)
    axes.set_yticks(range(len(sources)), sources)
    axes.set_ylim(-0.6, len(sources) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("Dice")
    return svg(figure)


def _robustness_charts(
    rows: Sequence[Mapping[str, Any]], corrupted: Mapping[str, Rgb]
) -> Iterator[tuple[str, Markup, str]]:
    """Of each corruption: name, Dice with its interval over the severity, and an example as PNG in base64."""
    ends = [value for row in rows for value in row["dice"].values() if value is not None]
    for name, picture in corrupted.items():
        figure, axes = _small_axes()
        axes.set_ylim(min(ends) - 0.01, max(ends) + 0.01)  # the same in all charts
        shown = sorted((row for row in rows if row["corruption"] == name), key=lambda row: row["severity"])
        severities = [row["severity"] for row in shown]
        mean, low, high = ([row["dice"][key] for row in shown] for key in ("mean", "low", "high"))
        axes.axhline(rows[0]["dice"]["mean"], color=MUTED, linewidth=1.1)
        axes.plot(severities, mean, color=ACCENT, marker="o", markersize=4, linewidth=1.8)
        if None not in low:  # of a single patient
            axes.vlines(severities, low, high, color=ACCENT)
        axes.set_xticks(severities)
        axes.set_xlabel(shown[0]["parameter"])
        yield name, svg(figure), _base64_png(picture)
