"""Segment the lungs of radiographs: ``python predict.py --help`` lists the settings."""

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from lung_seg.cli.command import command
from lung_seg.config import PredictConfig
from lung_seg.config_field import as_typed
from lung_seg.environment import as_command, keep_freed_memory
from lung_seg.errors import FailureError, UserError
from lung_seg.templates import counted

if TYPE_CHECKING:
    from lung_seg.second_step.assessment import Assessor


@command("predict", PredictConfig, main_key="input", verbatim_keys=("input", "output"))
def main(config: PredictConfig, output: Path) -> None:
    """Predict each radiograph; one that cannot be read does not stop the others."""
    from lung_seg.prediction.batch import predict
    from lung_seg.prediction.inputs import PAGE, TABLE, printable

    keep_freed_memory()
    try:
        outcome = predict(config, output, find_second_step(config))
    except KeyboardInterrupt:
        kept = [line for line in HydraConfig.get().overrides.task if not line.startswith(("output=", "skip_existing="))]
        command = as_command("predict", *kept, f"output={output}", "skip_existing=true")
        raise KeyboardInterrupt(f"what was saved is kept. Continue with:\n{command}") from None
    if outcome.predicted or not outcome.errors:
        predicted = counted(outcome.predicted, "radiograph")
        print(f"\nPredicted {predicted}: masks, overlays and {TABLE} are in {printable(output)}.")
        print(f"All on one page: {printable(output / PAGE)}")
    if outcome.skipped:
        print(f"Left alone {counted(outcome.skipped, 'radiograph')} predicted by an earlier run.")
    if outcome.shared:
        print(f"Left {counted(outcome.shared, 'radiograph')} to another process that predicts the same.")
    if outcome.replaced:
        print(f"{outcome.replaced} of them replaced masks of other weights or settings.")
    if outcome.warnings:
        reasons = outcome.warnings if len(outcome.warnings) == 1 else [f"the column warning of {TABLE} says why."]
        print(f"Check {counted(len(outcome.warnings), 'mask')}: {reasons[0]}")
    for remark in outcome.remarks:
        print(remark)
    if len(outcome.errors) == 1:
        raise FailureError(f"1 file could not be used: {outcome.errors[0]}")
    if outcome.errors:
        raise FailureError(
            f"{len(outcome.errors)} files could not be used; the column error of {printable(output / TABLE)} says why."
        )


def find_second_step(config: PredictConfig) -> "Assessor | None":
    """The second step that the settings ask for; None without one."""
    if config.classifier is None:
        return None
    try:
        from lung_seg.second_step.assessment import Assessor
    except ModuleNotFoundError as error:
        raise UserError(
            f"tuberculosis={as_typed(config.tuberculosis)} needs {error.name}, which is not installed.\n"
            'Install it: pip install "lung_seg[train]"'
        ) from error
    return Assessor(config.classifier, config.checkpoints, config.tuberculosis_encoder)


if __name__ == "__main__":
    main()
