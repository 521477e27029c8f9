"""Train a network and score it: ``python train.py --help`` lists the settings."""

import math
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from lung_seg.cli.command import command, remove_unused, save_settings
from lung_seg.cli.latest import linked_as_latest
from lung_seg.cli.resume import OVERRIDES, saved_overrides
from lung_seg.config import TrainConfig
from lung_seg.environment import as_called, as_command, keep_freed_memory
from lung_seg.errors import UserError
from lung_seg.files import exclusive
from lung_seg.templates import counted

NEXT_STEP = """These radiographs were generated. To train on real ones, give the folder that holds MontgomerySet:
  python train.py data=montgomery data.raw_dir=<folder>   (or data.download=true to fetch it)
"""


@command("train", TrainConfig, main_key="data")
def main(config: TrainConfig, run_dir: Path) -> float:
    """Train; a sweep compares its jobs by the best validation Dice."""
    from lung_seg.evaluation.evaluate import evaluate_training
    from lung_seg.training.fit import fit, resumes
    from lung_seg.training.trainer import is_main_process

    keep_freed_memory()
    if config.dry_run:
        from lung_seg.training.dry_run import describe_training

        print("\n".join(describe_training(config, run_dir)))
        remove_unused(run_dir)
        return math.nan
    callbacks: list[Any] = []
    if config.search.trial is not None:
        from lung_seg.search.study import Pruning  # needs Optuna

        callbacks = [Pruning(config.search, run_dir.parent, run_dir / "metrics.csv")]
    with exclusive(run_dir) if is_main_process() else nullcontext():
        resuming = resumes(config, run_dir)
        if resuming:
            _refuse_other_length(config, run_dir)
        if is_main_process() and not resuming:
            save_settings(config, run_dir)
        # A job of several processes runs by itself, beside the file of its sweep.
        is_of_sweep = HydraConfig.get().mode == RunMode.MULTIRUN or (run_dir.parent / "multirun.yaml").exists()
        with linked_as_latest(run_dir) if is_main_process() and not is_of_sweep else nullcontext():
            summary = evaluate_training(config, fit(config, run_dir, callbacks))
    if is_main_process():
        print(_report(summary, run_dir))
        if config.data.source == "phantom" and not is_of_sweep:
            print(as_called(NEXT_STEP))
    return float(summary["training"]["validation_dice"])


def _refuse_other_length(config: TrainConfig, run_dir: Path) -> None:
    """Refuse to extend a training: its learning rate was planned for a number of epochs; print the way that works."""
    begun = OmegaConf.load(run_dir / OVERRIDES.with_name("config.yaml")).trainer.max_epochs
    if config.trainer.max_epochs == begun:
        return
    changed = ("resume", "init", "trainer.max_epochs", "hydra.run.dir")
    kept = [line for key, line in saved_overrides(run_dir).items() if key not in changed]
    command = as_command("train", *kept, f"init={run_dir}", f"trainer.max_epochs={config.trainer.max_epochs}")
    raise UserError(
        f"trainer.max_epochs={config.trainer.max_epochs}, but it began with {begun}, which the learning rate of "
        f"{run_dir} follows.\nTo train longer start a new training from its weights: {command}"
    )


def _report(summary: dict[str, Any], run_dir: Path) -> str:
    from lung_seg.evaluation.statistics import interval_text

    training, cases = summary["training"], summary["data"]["cases"]
    scores = summary["scores"]["all"]
    dice, seconds = scores["dice"], training["seconds"]
    best = f"{training['validation_dice']:.4f} (epoch {training['best_epoch'] + 1})"
    epochs = counted(training["epochs"], "epoch")
    return f"""
Trained {summary["title"]} on {training["radiographs"]} radiographs, {epochs} in {seconds:.0f} s.
Best Dice on {cases["validation"]} validation cases: {best}.
On {cases["test"]} test cases: Dice {dice["mean"]:.4f} (95 % interval {interval_text(dice, 4)}), \
accuracy {scores["accuracy"]["mean"]:.4f}, BCE {scores["bce"]["mean"]:.4f}.
Cleaned and at the radiographs' own size, as predict.py writes the masks: Dice {scores["delivered_dice"]["mean"]:.4f}.
Report: {run_dir / "report.html"}
Checkpoint: {summary["checkpoint"]}
Curves and images: tensorboard --logdir {shlex.quote(str(run_dir / "tensorboard"))}
"""


if __name__ == "__main__":
    main()
