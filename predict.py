"""Find the lungs of radiographs: ``python predict.py --help`` lists the settings."""

from pathlib import Path

from lung_seg.cli import command
from lung_seg.config import PredictConfig
from lung_seg.errors import FailureError


@command("predict", PredictConfig, as_typed=("input", "output"))
def main(config: PredictConfig, output: Path) -> None:
    """Predict each radiograph; one that cannot be read does not keep the others from it."""
    from lung_seg.prediction import TABLE, predict  # imports torch: not needed for --help and refused settings

    outcome = predict(config, output)
    print(f"\nPredicted {outcome.predicted} radiographs: masks, overlays and {TABLE} are in {output}.")
    if outcome.skipped:
        print(f"{outcome.skipped} were there already and were left alone.")
    if outcome.warned:
        print(f"{outcome.warned} of them should be looked at: the column warning of {TABLE} says why.")
    if outcome.failed:
        raise FailureError(f"{outcome.failed} files could not be used; the column error of {output / TABLE} says why.")


if __name__ == "__main__":
    main()
