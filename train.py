"""Train a network and score it: ``python train.py --help`` lists the settings."""

from pathlib import Path
from typing import Any

from lung_seg.cli import command
from lung_seg.config import TrainConfig


@command("train", TrainConfig)
def main(config: TrainConfig, run_dir: Path) -> float:
    """Train; a sweep compares its jobs by the best validation Dice."""
    from lung_seg.training import fit  # imports torch: not needed for --help and refused settings

    summary = fit(config, run_dir)
    print(_what_was_done(summary, run_dir))
    if config.data.source == "phantom":
        print(
            "These radiographs were generated. On real ones, with the folder that holds MontgomerySet:\n"
            "  python train.py data=montgomery data.raw_dir=<folder>   (or data.download=true to fetch it)"
        )
    return float(summary["training"]["validation_dice"])


def _what_was_done(summary: dict[str, Any], run_dir: Path) -> str:
    training, cases = summary["training"], summary["data"]["cases"]
    scores = summary["scores"]["all"]
    dice = scores["dice"]
    return f"""
Trained {summary["title"]} on {cases["train"]} radiographs, {training["epochs"]} epochs in {training["seconds"]:.0f} s.
Best on {cases["validation"]} validation cases, in epoch {training["best_epoch"]}: Dice {training["validation_dice"]:.4f}.
On {cases["test"]} test cases: Dice {dice["mean"]:.4f} (95 % interval {dice["low"]:.4f} to {dice["high"]:.4f}), \
accuracy {scores["accuracy"]["mean"]:.4f}, BCE {scores["bce"]["mean"]:.4f}.
The report is {run_dir / "report.html"}, the network {summary["checkpoint"]};
curves and pictures: tensorboard --logdir {run_dir / "tensorboard"}
"""


if __name__ == "__main__":
    main()
