"""Score several checkpoints together: each case by the network of its fold, and all networks as an ensemble."""

import statistics
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lung_seg.config import AS_TRAINED, EvaluateConfig
from lung_seg.errors import UserError
from lung_seg.evaluation.evaluate import count_seen, evaluate_network, evaluation_facts, score, write_evaluation
from lung_seg.evaluation.member import RUNTIME_KEYS, Member, load_member, scoring_datamodule
from lung_seg.model.ensemble import Ensemble
from lung_seg.training.trainer import make_trainer, translate_errors

OUT_OF_FOLD, ENSEMBLE = "out_of_fold", "ensemble"


def evaluate_several(config: EvaluateConfig, run_dir: Path) -> dict[str, dict[str, Any]]:
    """Score networks out of fold, if each fold has one, and as an ensemble.

    Writes an evaluation of each to a folder below run_dir, and returns the summaries by the folder's name.

    Raises:
        UserError: the networks were not trained on the same data, or a fold is missing.
    """
    members = [load_member(path) for path in _checkpoint_paths(config.checkpoints)]
    _check_members(members)
    trainer = make_trainer(config.trainer)
    summaries = {}
    with translate_errors(lambda: "what was written is kept."):
        if members[0].data.folds and config.data.source == AS_TRAINED:
            summaries[OUT_OF_FOLD] = _evaluate_out_of_fold(members, config, trainer, run_dir / OUT_OF_FOLD)
        ensemble = Ensemble([member.network for member in members]).eval()
        name = f"Ensemble of {len(members)} networks"
        summaries[ENSEMBLE] = evaluate_network(ensemble, name, members, config, trainer, run_dir / ENSEMBLE)
    return summaries


def _checkpoint_paths(given: Any) -> list[Path]:
    """The checkpoints of a list, or of the jobs of a sweep in the order of their numbers."""
    if not isinstance(given, str):
        return [Path(str(path)) for path in given]
    jobs = (job for job in Path(given).glob("*") if not job.is_symlink())  # without runs/train/latest
    found = [best for job in jobs if (best := job / "checkpoints" / "best.ckpt").is_file()]
    if not found:
        raise UserError(
            f"checkpoints={given} is not the directory of a sweep: it holds no <job>/checkpoints/best.ckpt.\n"
            "Give one that train.py --multirun wrote, or a list: checkpoints=[runs/train/<time>,runs/train/<time>]"
        )
    return sorted(found, key=lambda path: (len(path.parts[-3]), path))


def _check_members(members: list[Member]) -> None:
    """Raise a UserError unless the members differ in their fold only, and each fold has exactly one."""
    first = members[0]
    for member in members:
        for key, ours in vars(first.data).items():
            theirs = getattr(member.data, key)
            if ours != theirs and key not in RUNTIME_KEYS | {"fold", "epochs"}:
                raise UserError(
                    f"data.{key} is {ours} in {first.path} and {theirs} in {member.path}.\n"
                    "Give checkpoints that were trained on the same data and split."
                )
    folds = sorted(member.data.fold for member in members)
    if first.data.folds and folds != list(range(first.data.folds)):
        raise UserError(
            f"Of {first.data.folds} folds the checkpoints are those of {', '.join(map(str, folds))}.\n"
            "Give one of each, e.g. the directory of a sweep over data.fold=0,1,2,…"
        )


def _evaluate_out_of_fold(
    members: list[Member], config: EvaluateConfig, trainer: pl.Trainer, run_dir: Path
) -> dict[str, Any]:
    """Score every case outside the test split by the network of the fold that it validates."""
    datamodules = [scoring_datamodule(config, member, "validation") for member in members]
    folds = [
        score(member.network, datamodule, trainer) for member, datamodule in zip(members, datamodules, strict=True)
    ]
    name = f"{len(members)} networks out of fold"
    facts = evaluation_facts(name, members, "validation", datamodules[0], config)
    seen = [count_seen(fold, [member.seen], ["training"]) for fold, member in zip(folds, members, strict=True)]
    facts["seen_in_training"] = None if None in seen else sum(count or 0 for count in seen)
    facts["folds"] = [
        {"fold": number, "cases": len(fold), "dice": statistics.mean(case.scores["dice"] for case in fold)}
        for number, fold in enumerate(folds)
    ]
    cases = sorted((case for fold in folds for case in fold), key=lambda case: case.position)
    return write_evaluation(run_dir, datamodules[0], cases, facts)
