"""Jinja templates of reports and model cards, and numbers in texts."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2


def counted(number: int, noun: str) -> str:
    """A number of things: "1 epoch", "2 epochs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@cache
def template(path: Path, **filters: Callable[..., Any]) -> jinja2.Template:
    """Load a template with additional filters beside ``counted``; values in ``.html.j2`` files are escaped.

    Pages include ``page.css``, the style of all reports.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=path.name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"counted": counted, **filters}
    return environment.get_template(path.name)
