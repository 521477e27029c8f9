"""report.html: one file that opens offline, readable on a phone, in dark mode and on paper."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lung_seg.config_field import flatten
from lung_seg.draw import PREDICTION_COLOUR, TRUTH_COLOUR, Rgb, fit_within
from lung_seg.evaluation.statistics import interval_text
from lung_seg.files import write_text
from lung_seg.prepared.manifest import TB_LABELS
from lung_seg.raw.image_file import png_bytes
from lung_seg.templates import template

_OVERLAY_PX = 640  # twice the displayed width, for high-resolution screens

_Case = Mapping[str, Any]
_Row = Mapping[str, float]

# Placeholder colours that become CSS variables, so that a chart follows the page into dark mode and onto paper.
_INK, _MUTED, _LINE, _ACCENT = "#010203", "#010204", "#010205", "#010206"
_CSS = {_INK: "var(--ink)", _MUTED: "var(--muted)", _LINE: "var(--line)", _ACCENT: "var(--accent)"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lung_seg",
    "text.parse_math": False,  # the name of a source may contain dollar signs
    "font.size": 9,
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 0),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), _LINE),
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), _MUTED),
}
_CURVES = {
    "Loss": {"train/loss": _MUTED, "validation/loss": _ACCENT},
    "Dice": {"train/dice": _MUTED, "validation/dice": _ACCENT},
    "Learning rate": {"train/learning_rate": _ACCENT},
}


def write_report(
    path: Path,
    summary: dict[str, Any],
    cases: Sequence[_Case],
    curves: Sequence[_Row],
    overlays: Mapping[str, Rgb],
) -> None:
    """Write the HTML report of a training or an evaluation.

    Args:
        path: the HTML file, written atomically.
        summary: the content of summary.json.
        cases: the rows of cases.csv, at least one.
        curves: the rows of metrics.csv; empty without a training.
        overlays: RGB uint8 by case_id; of these cases the half with the lower Dice is shown as the worst.
    """
    ordered = sorted(cases, key=lambda case: case["dice"])
    shown = [case for case in ordered if case["case_id"] in overlays]
    half = (len(shown) + 1) // 2
    pngs = {case_id: png_bytes(fit_within(picture, _OVERLAY_PX)) for case_id, picture in overlays.items()}
    with matplotlib.rc_context(_STYLE):
        charts, dice_chart = list(_charts(curves)), _dice_chart(cases)
    filters: dict[str, Any] = {"number": _number, "duration": _duration, "interval": interval_text}
    page = template(Path(__file__).parent / "report.html.j2", **filters).render(
        summary=summary,
        cases=ordered,
        worst=shown[:half],
        best=shown[half:][::-1],
        charts=charts,
        dice_chart=dice_chart,
        overlays={case_id: base64.b64encode(png).decode("ascii") for case_id, png in pngs.items()},
        tb_names=TB_LABELS,
        settings=flatten(summary["config"]),
        truth_colour="#" + bytes(TRUTH_COLOUR).hex(),
        prediction_colour="#" + bytes(PREDICTION_COLOUR).hex(),
    )
    write_text(path, page)


def _number(value: float, digits: int) -> str:
    """A fixed number of decimals; a dash for nan and infinity."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "–"


def _duration(seconds: float) -> str:
    """Two units at most: "42 s", "14 min", "3 h 20 min"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _charts(curves: Sequence[_Row]) -> Iterator[tuple[str, list[tuple[str, str]], Markup]]:
    """A chart over the epochs of each quantity that was logged: title, (CSS colour, name) of each line, and drawing."""
    for title, colours in _CURVES.items():
        figure = Figure(figsize=(4.0, 2.5), layout="constrained")
        axes = figure.add_subplot()
        legend = []
        for key, colour in colours.items():
            points = [(row["epoch"], row[key]) for row in curves if math.isfinite(row.get(key, math.nan))]
            if points:
                marker, width = "o" if len(points) < 3 else "", 1.1 if colour == _MUTED else 1.8
                axes.plot(*np.transpose(points), color=colour, marker=marker, markersize=4, linewidth=width)
                legend.append((_CSS[colour], key.split("/")[0]))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlabel("epoch")
        if legend:
            yield title, legend, _svg(figure)


def _dice_chart(cases: Sequence[_Case]) -> Markup:
    """A dot for the Dice of every case, one row for each source, with a bar at the row's mean."""
    sources = sorted({case["source"] for case in cases}, reverse=True)
    jitter = np.random.default_rng(0)
    figure = Figure(figsize=(10.5, 0.8 + 0.6 * len(sources)), layout="constrained")
    axes = figure.add_subplot()
    for row, source in enumerate(sources):
        dice = np.array([case["dice"] for case in cases if case["source"] == source])
        heights = row + jitter.uniform(-0.25, 0.25, len(dice))
        axes.scatter(dice, heights, s=14, color=_ACCENT, alpha=0.55, linewidths=0)
        axes.vlines(dice.mean(), row - 0.38, row + 0.38, color=_INK, linewidth=1.6)
    axes.set_yticks(range(len(sources)), sources)
    axes.set_ylim(-0.6, len(sources) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("Dice")
    return _svg(figure)


def _svg(figure: Figure) -> Markup:
    """The figure as an SVG element that takes colours and font from the page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    drawing = buffer.getvalue()
    for colour, variable in _CSS.items():
        drawing = drawing.replace(colour, variable)
    return Markup(drawing[drawing.index("<svg") :])  # noqa: S704 - matplotlib escapes text in a drawing
