"""Loggers of a training: TensorBoard's, and at most one of another kind, by Lightning's own classes."""

from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lung_seg.errors import UserError


def make_loggers(name: str, run_dir: Path, steps_done: int) -> list[Logger]:
    """TensorBoard's logger, which shows the pictures too, and the one called ``name``.

    The steps that a killed run logged after its last checkpoint are repeated: TensorBoard drops the earlier points.

    Raises:
        UserError: the package of a logger is not installed.
    """
    tensorboard = TensorBoardLogger(run_dir / "tensorboard", "", "", default_hp_metric=False, purge_step=steps_done)
    if name in ("wandb", "mlflow") and find_spec(name) is None:
        raise UserError(f"logger={name} needs {name}, which is not installed.\nInstall it: pip install {name}")
    match name:
        case "csv":
            return [tensorboard, CSVLogger(run_dir, "csv", version=f"from_step_{steps_done}")]
        case "wandb":
            return [tensorboard, WandbLogger(run_dir.name, run_dir, project="lung_seg")]
        case "mlflow":
            return [tensorboard, MLFlowLogger("lung_seg", run_dir.name, save_dir=str(run_dir / "mlruns"))]
    return [tensorboard]
