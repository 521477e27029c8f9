"""The model card of exported weights, in the form of the Hugging Face Hub: YAML for machines, Markdown for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lung_seg import __version__
from lung_seg.environment import git_revision
from lung_seg.templates import template


def model_card(description: dict[str, Any], files: Sequence[Any]) -> str:
    """Data, training, scores, versions and limits of a network in Markdown.

    Args:
        description: as an exported file holds it: that of ``load_network``, with ``usage`` in words and ``run``, the
            summary.json of the training, or None where it is not known.
        files: what ``export`` wrote.
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
