"""What accompanies a training: images per second, pictures in TensorBoard, a table of epochs."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lung_seg.data.dataset import Draw, Sample
from lung_seg.errors import UserError
from lung_seg.files import write_text
from lung_seg.pictures import panel

PANEL_CASES = 4


class DivergenceGuard(pl.Callback):
    """Stops a training whose loss is no number any more, and says at which step and on which cases.

    A step's loss is looked at after the next step, so that no GPU has to be waited for. Of several processes none may
    stop before the others: they go on to the end of the epoch, where ``LungSegmenter`` stops them all.
    """

    last: tuple[Tensor, Tensor, int, float] | None = None  # loss, rows of its cases, step, learning rate

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """No step yet."""
        self.last = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        """Look at the step before, remember this one."""
        self._check(trainer)
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.last = (outputs["loss"].detach(), batch.row, trainer.global_step, learning_rate)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the last step, before a checkpoint is written."""
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        if trainer.world_size > 1 or self.last is None or self.last[0].isfinite():
            return
        loss, rows, step, learning_rate = self.last
        case_id = trainer.datamodule.case_id  # type: ignore[attr-defined]
        cases = ", ".join(case_id(row) for row in rows.tolist())
        raise UserError(
            f"The loss is {loss:.4g} in step {step} of epoch {trainer.current_epoch}, at learning rate "
            f"{learning_rate:.3g} on {cases}: the training diverged.\n"
            "Lower optimizer.lr, or limit trainer.gradient_clip_val; the checkpoints of earlier epochs are kept."
        )


class LossCurve(pl.Callback):
    """Logs the loss every so many optimizer steps.

    Lightning would do so after the callbacks of a step, and a run that ended when one of them had written a checkpoint
    would lack a point of the curve: this one belongs before them.
    """

    def __init__(self, every_n_steps: int):
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        """Log the step's loss, whole on the disk when this returns."""
        done, batches_of_a_step = batch_idx + 1, trainer.accumulate_grad_batches
        stepped = done % batches_of_a_step == 0 or done == trainer.num_training_batches
        if stepped and trainer.global_step % self.every_n_steps == 0:
            loss = float(outputs["loss"]) * batches_of_a_step  # Lightning divides it
            _log(trainer, {"loss": loss}, trainer.global_step - 1)


class Throughput(pl.Callback):
    """Logs how many images a second an epoch trains on, all devices together."""

    def __init__(self) -> None:
        self._start(0.0, 0)

    def _start(self, seconds: float, images: int) -> None:
        """Start the clock, with what is on it of the epoch already."""
        self.started = time.perf_counter() - seconds
        self.images = images

    def state_dict(self) -> dict[str, Any]:
        """For a training that goes on within the epoch."""
        return {"seconds": time.perf_counter() - self.started, "images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on within an epoch."""
        self._start(**state_dict)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start(0.0, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        """Log the rate so far."""
        self.images += len(batch.image) * trainer.world_size
        self.rate = self.images / (time.perf_counter() - self.started)
        pl_module.log("images_per_s", self.rate, prog_bar=True, logger=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's rate, its validation not counted, and how long it took, validation counted."""
        pl_module.log("train/images_per_s", self.rate, logger=False)
        pl_module.log("train/seconds", time.perf_counter() - self.started, logger=False)


class ValidationPanels(pl.Callback):
    """Shows the same few validation cases in TensorBoard after each epoch, so that one sees the contour settle."""

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Radiograph, truth and prediction side by side."""
        dataset = trainer.datamodule.dataset("validation")  # type: ignore[attr-defined]
        step = max(1, len(dataset) // PANEL_CASES)
        for number, position in enumerate(range(0, len(dataset), step)[:PANEL_CASES]):
            sample = dataset[Draw(0, position)]
            with torch.no_grad():
                logits = pl_module(sample.image[None].to(pl_module.device))
            picture = panel(
                sample.image[0].numpy(), sample.mask[0].numpy(), logits[0, 0].float().sigmoid().cpu().numpy()
            )
            last_step = trainer.global_step - 1  # where Lightning puts the epoch's scores
            _writer(trainer).add_image(f"validation/{number}", picture, last_step, dataformats="HWC")


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
        _log(trainer, scores | {"epoch": epoch}, last_step)
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


def _log(trainer: pl.Trainer, scores: dict[str, float], step: int) -> None:
    """Draw points of curves, on the disk when this returns; only the main process does."""
    for logger in trainer.loggers:
        logger.log_metrics(scores, step)
    if trainer.is_global_zero:
        _writer(trainer).flush()


def _writer(trainer: pl.Trainer) -> Any:
    """TensorBoard's own writer."""
    return next(logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)).experiment
