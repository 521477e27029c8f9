"""metrics.csv: one row of scores per epoch."""

import csv
import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lung_seg.files import write_text

MONITORED = "validation/dice"  # the score that the best checkpoint is chosen by


class EpochTable(Checkpoint):
    """Logs an epoch's scores, and keeps metrics.csv: one row per epoch, which a resumed training goes on with.

    Lightning itself logs them after its checkpoints are written, and a run killed in between would lack an epoch.
    Callbacks of this kind come last, in their order: this one belongs before those that write checkpoints.
    """

    def __init__(self, path: Path):
        self.path = path
        self.epochs = {int(row["epoch"]): row for row in read_epochs(path)}
        self.splits = ["train"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not validated yet."""
        self.splits = ["train"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning keeps the scores of a validation for the epochs that follow: only this one is to have them."""
        self.splits = ["train", "validation"]

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log all scores of the epoch, whole on the disk when this returns."""
        scores = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.partition("/")[0] in self.splits
        }
        epoch, last_step = trainer.current_epoch, trainer.global_step - 1
        log_scores(trainer, scores | {"epoch": epoch}, last_step)
        self.epochs[epoch] = {"epoch": epoch, "step": last_step, **scores}
        self._write()

    def _write(self) -> None:
        rows = [self.epochs[epoch] for epoch in sorted(self.epochs)]
        columns = ["epoch", "step", *sorted({name for row in rows for name in row} - {"epoch", "step"})]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())


def read_epochs(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv, values that an epoch lacks left out; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"]), "step": int(row["step"])} for row in rows]


def log_scores(trainer: pl.Trainer, scores: dict[str, float], step: int) -> None:
    """Draw points of curves, on the disk when this returns; only the main process does."""
    for logger in trainer.loggers:
        logger.log_metrics(scores, step)
    if trainer.is_global_zero:
        tensorboard_writer(trainer).flush()


def tensorboard_writer(trainer: pl.Trainer) -> Any:
    """TensorBoard's own writer."""
    return next(logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)).experiment
