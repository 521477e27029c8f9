"""metrics.csv: one row of scores per epoch."""

import csv
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_only

from lung_seg.files import write_csv

MONITORED = "validation/dice"  # the score that the best checkpoint is chosen by


class EpochTable(Checkpoint):
    """Logs an epoch's scores and writes metrics.csv, to which a resumed training appends.

    Lightning's CSVLogger deletes metrics.csv when a run resumes, and Lightning logs an epoch's scores only after it has
    written the checkpoints, so that a run killed in between would lack an epoch. Lightning calls checkpoint callbacks
    last, in their order: place this one before those that write checkpoints.
    """

    def __init__(self, path: Path):
        self.path = path
        self.epochs = {int(row["epoch"]): row for row in read_epochs(path)}

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log all scores of the epoch; they are on disk when this returns."""
        epoch, last_step = trainer.current_epoch, trainer.global_step - 1
        # Lightning also keeps the scores of the last validation, which may be that of an earlier epoch.
        validated = (epoch + 1) % int(trainer.check_val_every_n_epoch or 1) == 0
        splits = ("train/", "validation/") if validated else "train/"
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(splits)}
        log_scores(trainer, scores | {"epoch": epoch}, last_step)
        self.epochs[epoch] = {"epoch": epoch, "step": last_step, **scores}
        rows = [self.epochs[epoch] for epoch in sorted(self.epochs)]
        columns = ["epoch", "step", *sorted({name for row in rows for name in row} - {"epoch", "step"})]
        write_csv(self.path, columns, rows)


def read_epochs(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv without empty values; an empty list if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"]), "step": int(row["step"])} for row in rows]


def log_scores(trainer: pl.Trainer, scores: dict[str, float], step: int) -> None:
    """Log to TensorBoard from the main process; the points are on disk when this returns."""
    for logger in trainer.loggers:
        logger.log_metrics(scores, step)
        logger.save()
