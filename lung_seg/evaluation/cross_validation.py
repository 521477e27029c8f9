"""Several checkpoints together: each case scored by the network of its fold, and all networks as an ensemble."""

import dataclasses
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from lung_seg.config import AS_TRAINED, DataConfig, EvaluateConfig
from lung_seg.errors import UserError
from lung_seg.evaluation.evaluate import (
    RUNTIME_KEYS,
    cases_to_score,
    corruption_suffix,
    data_to_score,
    score,
    write_evaluation,
)
from lung_seg.evaluation.statistics import ScoredCase
from lung_seg.model.checkpoint import find_checkpoint, load_network
from lung_seg.model.ensemble import Ensemble
from lung_seg.training.trainer import make_trainer, translate_errors

OUT_OF_FOLD, ENSEMBLE = "out_of_fold", "ensemble"


@dataclass(frozen=True)
class Member:
    """A network, the data it was trained on, and the SHA-256 of the radiographs it has seen."""

    path: Path
    network: nn.Module
    data: DataConfig
    seen: frozenset[str]


def evaluate_several(config: EvaluateConfig, run_dir: Path) -> dict[str, dict[str, Any]]:
    """Score networks out of fold, if they are those of all folds, and as an ensemble; write an evaluation of each.

    Returns:
        The summaries, by the name of the folder below run_dir that they are in.

    Raises:
        UserError: they were not trained on the same data, or a fold is missing.
    """
    members = [_member(path) for path in _paths(config.checkpoints)]
    _refuse_unlike(members)
    trainer = make_trainer(config.trainer)
    summaries = {}
    with translate_errors("what was written is kept."):
        if members[0].data.folds and config.data.source == AS_TRAINED:
            summaries[OUT_OF_FOLD] = _out_of_fold(members, config, trainer, run_dir / OUT_OF_FOLD)
        summaries[ENSEMBLE] = _ensemble(members, config, trainer, run_dir / ENSEMBLE)
    return summaries


def _paths(given: Any) -> list[Path]:
    """The checkpoints of a list, or of the jobs of a sweep in the order of their numbers."""
    if not isinstance(given, str):
        return [find_checkpoint(Path(str(path))) for path in given]
    found = list(Path(given).glob("*/checkpoints/best.ckpt"))
    if not found:
        raise UserError(
            f"checkpoints={given} is no directory of a sweep: it holds no <job>/checkpoints/best.ckpt.\n"
            "Give one that train.py --multirun wrote, or a list: checkpoints=[runs/train/<time>,runs/train/<time>]"
        )
    return sorted(found, key=lambda path: (len(path.parts[-3]), path))


def _member(path: Path) -> Member:
    network, description = load_network(path)
    return Member(path, network, DataConfig.from_plain(description["data"]), frozenset(description["seen"]))


def _refuse_unlike(members: list[Member]) -> None:
    """Raise a UserError unless the members differ in their fold alone, and have each fold once."""
    first = members[0]
    for member in members:
        for field in dataclasses.fields(DataConfig):
            ours, theirs = getattr(first.data, field.name), getattr(member.data, field.name)
            if ours != theirs and field.name not in RUNTIME_KEYS | {"fold", "epochs"}:
                raise UserError(
                    f"data.{field.name} is {ours} in {first.path} and {theirs} in {member.path}.\n"
                    "Give checkpoints that were trained on the same data and split."
                )
    folds = sorted(member.data.fold for member in members)
    if first.data.folds and folds != list(range(first.data.folds)):
        raise UserError(
            f"Of {first.data.folds} folds the checkpoints are those of {', '.join(map(str, folds))}.\n"
            "Give one of each, e.g. the directory of a sweep over data.fold=0,1,2,…"
        )


def _out_of_fold(members: list[Member], config: EvaluateConfig, trainer: pl.Trainer, run_dir: Path) -> dict[str, Any]:
    """Every case outside the test split by the network that did not see it."""
    datamodules = [cases_to_score(config, data_to_score(config.data, member.data), "validation") for member in members]
    folds = [
        score(member.network, datamodule, trainer) for member, datamodule in zip(members, datamodules, strict=True)
    ]
    network_of = {case.position: member.network for member, cases in zip(members, folds, strict=True) for case in cases}
    cases = sorted((case for fold in folds for case in fold), key=lambda case: case.position)
    facts = _facts(f"{len(members)} networks out of fold", members, config, "validation", seen=0)
    facts |= {"folds": list(_fold_facts(folds))}
    return write_evaluation(run_dir, network_of.__getitem__, datamodules[0], cases, facts)


def _ensemble(members: list[Member], config: EvaluateConfig, trainer: pl.Trainer, run_dir: Path) -> dict[str, Any]:
    """The mean of all networks, on the split that was asked for."""
    network = Ensemble([member.network for member in members]).eval()
    datamodule = cases_to_score(config, data_to_score(config.data, members[0].data), config.split)
    cases = score(network, datamodule, trainer)
    seen = frozenset().union(*(member.seen for member in members))
    known = sum(case.row.image_sha256 in seen for case in cases)
    facts = _facts(f"Ensemble of {len(members)} networks", members, config, config.split, known)
    return write_evaluation(run_dir, lambda _: network, datamodule, cases, facts)


def _facts(title: str, members: list[Member], config: EvaluateConfig, split: str, seen: int) -> dict[str, Any]:
    return {
        "title": f"{title} on {split} of {members[0].data.name}{corruption_suffix(config.augmentation)}",
        "checkpoint": ", ".join(str(member.path) for member in members),
        "split": split,
        "seen_in_training": seen,
        "training": None,
        "seed": None,
        "config": dataclasses.asdict(config),
    }


def _fold_facts(folds: list[list[ScoredCase]]) -> Iterator[dict[str, Any]]:
    """Cases and mean Dice of each fold."""
    for number, cases in enumerate(folds):
        yield {"fold": number, "cases": len(cases), "dice": statistics.mean(case.scores["dice"] for case in cases)}
