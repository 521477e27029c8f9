"""Charts of the reports: their style, and matplotlib figures as SVG that follows the page's colours."""

import io
from typing import Any

from markupsafe import Markup
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Placeholder colours that become CSS variables, so that a chart follows the page into dark mode and onto paper.
INK, MUTED, LINE, ACCENT = "#010203", "#010204", "#010205", "#010206"
CSS = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lung_seg",
    "text.parse_math": False,  # the name of a source may contain dollar signs
    "font.size": 9,
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 0),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), LINE),
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), MUTED),
}


def whole_ticks(axis: Axis) -> None:
    """Mark whole numbers alone: epochs and trials."""
    axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def svg(figure: Figure) -> Markup:
    """The figure as an SVG element that takes colours and font from the page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    drawing = buffer.getvalue()
    for colour, variable in CSS.items():
        drawing = drawing.replace(colour, variable)
    return Markup(drawing[drawing.index("<svg") :])  # noqa: S704 - matplotlib escapes text in a drawing
