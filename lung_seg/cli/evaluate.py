"""Score checkpoints on one split of a prepared set: ``python evaluate.py --help`` lists the settings."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from lung_seg.cli.command import command
from lung_seg.cli.latest import latest_training
from lung_seg.config import EvaluateConfig
from lung_seg.errors import UserError


@command("evaluate", EvaluateConfig, main_key="checkpoint")
def main(config: EvaluateConfig, run_dir: Path) -> float:
    """Score; a sweep compares its jobs by the mean Dice."""
    from lung_seg.evaluation.cross_validation import evaluate_several
    from lung_seg.evaluation.evaluate import evaluate
    from lung_seg.training.trainer import is_main_process

    for override in HydraConfig.get().overrides.task:
        key = override.partition("=")[0]
        if key in ("data.image_size_px", "data.resize"):
            raise UserError(
                f"{key} has no effect: a network is scored at the size that it was trained at.\nLeave it out."
            )
    if config.compare:
        return _compare(config.compare, run_dir)
    if not (config.checkpoint or config.checkpoints):
        config.checkpoint = str(latest_training() or "") or None
        if config.checkpoint is None:
            remedy = "Give checkpoint=runs/train/<time>, or checkpoints=<directory of a sweep>."
            config.refuse("checkpoint", "needs a checkpoint to score, and there is no runs/train/latest", remedy)
        print(f"Scoring {config.checkpoint}, the latest training.")
    summaries = evaluate_several(config, run_dir) if config.checkpoints else {"": evaluate(config, run_dir)}
    if is_main_process():
        for folder, summary in summaries.items():
            print("\n".join(_table(summary)))
            print(f"\nReport: {run_dir / folder / 'report.html'}")
            print(f"Scores of each case: {run_dir / folder / 'cases.csv'}")
    return float(next(iter(summaries.values()))["scores"]["all"]["dice"]["mean"])


def _compare(folders: list[str], run_dir: Path) -> float:
    """Compare evaluations with the first of them; returns the difference in mean Dice of the last one."""
    from lung_seg.evaluation.comparison import compare
    from lung_seg.evaluation.statistics import interval_text

    rows = [row for row in compare([Path(folder) for folder in folders], run_dir) if row["score"] == "dice"]
    print(f"\nDice of {rows[0]['cases']} cases\n")
    for row in rows:
        print(f"{row['run']}: {row['mean']:.4f} ({interval_text(row, 4)})")
    for row in rows[1:]:
        interval = interval_text({"low": row["difference_low"], "high": row["difference_high"]}, 4)
        print(f"{row['run']} minus the first: {row['difference']:+.4f} ({interval}), p {row['p']:.3g}")
    print(f"\nAll scores, who is better where: {run_dir / 'comparison.html'}")
    print(f"As tables: {run_dir / 'comparison.csv'} and comparison.tex")
    return float(rows[-1]["difference"])


def _table(summary: dict[str, Any]) -> Iterator[str]:
    """Mean scores of all cases, by source and by TB label."""
    from lung_seg.evaluation.statistics import interval_text

    scores = summary["scores"]
    yield f"\n{summary['title']}\n"
    yield (
        f"{'':20}{'cases':>6}{'Dice (95 % interval)':>28}{'pooled':>9}{'accuracy':>10}{'BCE':>8}"
        f"{'delivered':>11}{'HD95 px':>9}"
    )
    for name, group in ({"all": scores["all"]} | scores["source"] | scores["tb_label"]).items():
        dice = group["dice"]
        interval = f"{dice['mean']:.4f} ({interval_text(dice, 4)})"
        hd95, delivered = group["hd95_px"]["mean"], group["delivered_dice"]["mean"]
        yield (
            f"{name:20}{group['cases']:6d}{interval:>28}{group['pooled_dice']:9.4f}"
            f"{group['accuracy']['mean']:10.4f}{group['bce']['mean']:8.4f}{delivered:11.4f}"
            f"{'–' if hd95 is None else f'{hd95:.2f}':>9}"
        )
    yield from _robustness_table(summary["robustness"] or [])
    yield "\nDelivered: Dice and HD95 of the cleaned masks at the radiographs' own size. The interval is over patients."
    if folds := [fold["dice"] for fold in summary.get("folds", [])]:
        each = ", ".join(f"{dice:.4f}" for dice in folds)
        yield f"\nDice of the folds: {each}; mean {statistics.mean(folds):.4f} ± {statistics.stdev(folds):.4f}."
    if summary["seen_in_training"] is None:
        yield "\nBeware: an earlier version wrote the checkpoint, so it is not known which cases it was trained on."
    elif summary["seen_in_training"]:
        seen = summary["seen_in_training"]
        yield f"\nBeware: {seen} of these cases were in the networks' training or validation data."


def _robustness_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Mean Dice and warnings for each severity of each corruption."""
    from lung_seg.evaluation.statistics import interval_text

    if rows:
        yield f"\n{'corruption':12}{'severity':>10}{'Dice (95 % interval)':>28}{'warnings':>10}"
    for row in rows:
        interval = f"{row['dice']['mean']:.4f} ({interval_text(row['dice'], 4)})"
        severity = f"{row['severity']:g}" if row["parameter"] else ""
        yield f"{row['corruption']:12}{severity:>10}{interval:>28}{row['warned']:10d}  {row['parameter']}"


if __name__ == "__main__":
    main()
