"""Score a checkpoint on one split of a prepared set: ``python evaluate.py --help`` lists the settings."""

from pathlib import Path

from lung_seg.cli import command
from lung_seg.config import EvaluateConfig


@command("evaluate", EvaluateConfig)
def main(config: EvaluateConfig, run_dir: Path) -> float:
    """Score; a sweep compares its jobs by the mean Dice."""
    from lung_seg.evaluation import evaluate  # imports torch: not needed for --help and refused settings

    summary = evaluate(config, run_dir)
    print(f"\n{summary['title']}\n")
    groups = {"all": summary["scores"]["all"]} | summary["scores"]["source"] | summary["scores"]["tb_label"]
    print(f"{'':20}{'cases':>6}{'Dice (95 % interval)':>26}{'pooled':>9}{'accuracy':>10}{'BCE':>8}{'HD95 px':>9}")
    for name, group in groups.items():
        dice = group["dice"]
        interval = f"{dice['mean']:.4f} ({dice['low']:.4f}–{dice['high']:.4f})"
        print(
            f"{name:20}{group['cases']:6d}{interval:>26}{group['pooled_dice']:9.4f}"
            f"{group['accuracy']['mean']:10.4f}{group['bce']['mean']:8.4f}{group['hd95_px']['mean']:9.2f}"
        )
    if summary["seen_in_training"]:
        print(f"\nBeware: the network saw {summary['seen_in_training']} of these cases when it was trained.")
    print(f"\nThe report is {run_dir / 'report.html'}, every case's scores {run_dir / 'cases.csv'}.")
    return float(summary["scores"]["all"]["dice"]["mean"])


if __name__ == "__main__":
    main()
