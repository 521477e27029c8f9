"""Find the lungs of radiographs: ``python predict.py --help`` lists the settings."""

from pathlib import Path

from lung_seg.cli.command import command
from lung_seg.config import PredictConfig
from lung_seg.errors import FailureError


@command("predict", PredictConfig, as_typed=("input", "output"))
def main(config: PredictConfig, output: Path) -> None:
    """Predict each radiograph; one that cannot be read does not keep the others from it."""
    from lung_seg.prediction.batch import TABLE, predict  # imports torch: not needed for --help and refused settings

    outcome = predict(config, output)
    print(f"\nPredicted {_counted(outcome.predicted, 'radiograph')}: masks, overlays and {TABLE} are in {output}.")
    if outcome.skipped:
        print(f"Left alone {_counted(outcome.skipped, 'radiograph')} that had been predicted before.")
    if outcome.warned:
        print(f"To be looked at: {_counted(outcome.warned, 'mask')}; the column warning of {TABLE} says why.")
    if outcome.failed:
        raise FailureError(
            f"{_counted(outcome.failed, 'file')} could not be used; the column error of {output / TABLE} says why."
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
