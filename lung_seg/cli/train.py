"""Train a network and score it: ``python train.py --help`` lists the settings."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lung_seg.cli.command import command, save_settings
from lung_seg.config import TrainConfig
from lung_seg.environment import keep_freed_memory
from lung_seg.files import exclusive

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
    callbacks: list[Any] = []
    if config.search.trial is not None:
        from lung_seg.search.study import Pruning  # needs Optuna

        callbacks = [Pruning(config.search, run_dir.parent, run_dir / "metrics.csv")]
    with exclusive(run_dir) if is_main_process() else nullcontext():
        if not resumes(config, run_dir) and is_main_process():
            save_settings(config, run_dir)
        summary = evaluate_training(config, fit(config, run_dir, callbacks))
    if is_main_process():
        print(_report(summary, run_dir))
        if config.data.source == "phantom":
            print(NEXT_STEP)
    return float(summary["training"]["validation_dice"])


def _report(summary: dict[str, Any], run_dir: Path) -> str:
    from lung_seg.evaluation.statistics import interval_text

    training, cases = summary["training"], summary["data"]["cases"]
    scores = summary["scores"]["all"]
    dice, seconds = scores["dice"], training["seconds"]
    return f"""
Trained {summary["title"]} on {training["radiographs"]} radiographs, {training["epochs"]} epochs in {seconds:.0f} s.
Best Dice on {cases["validation"]} validation cases: {training["validation_dice"]:.4f} (epoch {training["best_epoch"]}).
On {cases["test"]} test cases: Dice {dice["mean"]:.4f} (95 % interval {interval_text(dice, 4)}), \
accuracy {scores["accuracy"]["mean"]:.4f}, BCE {scores["bce"]["mean"]:.4f}.
Cleaned and at the radiographs' own size, as predict.py writes the masks: Dice {scores["delivered_dice"]["mean"]:.4f}.
Report: {run_dir / "report.html"}
Checkpoint: {summary["checkpoint"]}
Curves and images: tensorboard --logdir {run_dir / "tensorboard"}
"""


if __name__ == "__main__":
    main()
