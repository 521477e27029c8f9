"""Loggers of a training: TensorBoard's, and at most one of another kind, by Lightning's own classes."""

import os
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lung_seg.errors import UserError, first_line

REMEDIES = {
    "wandb": "Log in: wandb login. Or write to the run directory alone: WANDB_MODE=offline",
    "mlflow": "Correct MLFLOW_TRACKING_URI, or unset it: the runs are then in mlflow.db.",
}


def make_loggers(name: str, run_dir: Path, steps_done: int) -> list[Logger]:
    """TensorBoard's logger, which shows the pictures too, and the one called ``name``.

    The steps that a killed run logged after its last checkpoint are repeated: TensorBoard drops the earlier points.

    Raises:
        UserError: the package of a logger is not installed, or the logger cannot start.
    """
    tensorboard = TensorBoardLogger(run_dir / "tensorboard", "", "", default_hp_metric=False, purge_step=steps_done)
    if name in ("wandb", "mlflow") and find_spec(name) is None:
        raise UserError(f"logger={name} needs {name}, which is not installed.\nInstall it: pip install {name}")
    if name == "tensorboard":
        return [tensorboard]
    if name == "csv":
        return [tensorboard, CSVLogger(run_dir, "csv", version=f"from_step_{steps_done}")]
    try:
        logger = _start_logger(name, run_dir)
    except Exception as error:  # wandb and MLflow have no class of errors in common
        raise UserError(f"logger={name} cannot start: {first_line(error)}.\n{REMEDIES[name]}") from error
    return [tensorboard, logger]


def _start_logger(name: str, run_dir: Path) -> Logger:
    logger: Logger
    if name == "wandb":
        logger = WandbLogger(run_dir.name, run_dir, project="lung_seg")
    else:  # as MLflow itself, which no longer writes plain files: `mlflow ui` in the same folder shows all runs
        place = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        logger = MLFlowLogger("lung_seg", run_dir.name, tracking_uri=place)
    _ = logger.experiment  # connects it, before anything is prepared
    return logger
