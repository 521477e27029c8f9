"""metrics.csv: one row of scores per epoch; and one line of the log."""

import csv
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_only
from tqdm import tqdm

from lung_seg.errors import UserError
from lung_seg.files import write_csv

MONITORED = "validation/dice"  # the score that the best checkpoint is chosen by
RECENT_EPOCHS = 5  # from which the time of the rest is estimated

log = logging.getLogger(__name__)


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
        log_scores(trainer, scores, last_step)
        self.epochs[epoch] = {"epoch": epoch, "step": last_step, **scores}
        rows = [self.epochs[epoch] for epoch in sorted(self.epochs)]
        columns = ["epoch", "step", *sorted({name for row in rows for name in row} - {"epoch", "step"})]
        write_csv(self.path, columns, rows)
        with tqdm.external_write_mode():  # above a progress bar
            log.info(epoch_line(rows, int(trainer.max_epochs or 0)))


def epoch_line(rows: Sequence[Mapping[str, float]], epochs: int) -> str:
    """The last of the epochs so far in one line, for people, who count epochs from 1.

    >>> rows = [{"epoch": 0, "train/loss": 0.61, "validation/dice": 0.7, "train/seconds": 9.0}]
    >>> epoch_line(rows, epochs=3)
    'Epoch 1/3: loss 0.6100, validation Dice 0.7000 (best so far), 9.0 s, about 18 s left'
    """
    last, best = rows[-1], max(rows, key=lambda row: row.get(MONITORED, -1.0))
    parts = [f"loss {last['train/loss']:.4f}"]
    if MONITORED in last:
        where = "best so far" if best is last else f"best {best[MONITORED]:.4f} in epoch {best['epoch'] + 1:.0f}"
        parts.append(f"validation Dice {last[MONITORED]:.4f} ({where})")
    parts.append(f"{last['train/seconds']:.1f} s")
    number = int(last["epoch"]) + 1
    if number < epochs:
        usual = statistics.median(row["train/seconds"] for row in rows[-RECENT_EPOCHS:])
        parts.append(f"about {duration_text((epochs - number) * usual)} left")
    return f"Epoch {number:{len(str(epochs))}}/{epochs}: {', '.join(parts)}"


def duration_text(seconds: float) -> str:
    """Two units at most: "42 s", "14 min", "3 h 20 min"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def read_epochs(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv without empty values; an empty list if there is no such file.

    Raises:
        UserError: somebody changed it to what is no such table.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        return [row | {"epoch": int(row["epoch"]), "step": int(row["step"])} for row in rows]
    except (csv.Error, ValueError, TypeError, LookupError, OverflowError) as error:
        raise UserError(
            f"{path} is no table of scores by epoch.\n"
            "Restore it, or delete it: its training resumes without the curves of earlier epochs."
        ) from error


def log_scores(trainer: pl.Trainer, scores: dict[str, float], step: int) -> None:
    """Log to TensorBoard from the main process; the points are on disk when this returns."""
    for logger in trainer.loggers:
        logger.log_metrics(scores, step)
        logger.save()
