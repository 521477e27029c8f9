"""The model card of exported weights in the format of the Hugging Face Hub: YAML front matter and Markdown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lung_seg import __version__
from lung_seg.environment import git_revision
from lung_seg.templates import template


def model_card(description: dict[str, Any], files: Sequence[Any]) -> str:
    """Data, training, scores, versions and limits of a network in Markdown.

    Args:
        description: that of ``load_network`` with ``usage`` (text by name) and ``run`` (the training's summary.json, or
            None).
        files: the ``Exported`` files.
    """
    run = description["run"]
    scores = {"all": run["scores"]["all"], **run["scores"]["source"], **run["scores"]["tb_label"]} if run else {}
    return template(Path(__file__).parent / "model_card.md.j2").render(
        description,
        files=files,
        scores=scores,
        package_version=__version__,
        git_revision=git_revision(),
    )
