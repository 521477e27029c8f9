"""What accompanies a training: images per second, pictures in TensorBoard, a table of epochs."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lung_seg.data.dataset import Draw, Sample
from lung_seg.errors import UserError
from lung_seg.files import write_text
from lung_seg.pictures import panel

PANEL_CASES = 4


class MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that still knows its best score when the run directory was moved between two parts of a run."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores, the files being looked for where they lie now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict[name]) for name in paths} | {"dirpath": self.dirpath}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": best})


class DivergenceGuard(pl.Callback):
    """Stops a training whose loss is no number any more, and says at which step and on which cases.

    A step's loss is looked at after the next step, so that no GPU has to be waited for. Of several processes none may
    stop before the others: they go on to the end of the epoch, where ``LungSegmenter`` stops them all.
    """

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """No step yet."""
        self.last: tuple[Tensor, Tensor, int, float] | None = None  # loss, rows of its cases, step, learning rate

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
        known = trainer.datamodule.rows  # type: ignore[attr-defined]
        cases = ", ".join(known[row].case_id for row in rows.tolist())
        raise UserError(
            f"The loss is {loss:.4g} in step {step} of epoch {trainer.current_epoch}, at learning rate "
            f"{learning_rate:.3g} on {cases}: the training diverged.\n"
            "Lower optimizer.lr, or limit trainer.gradient_clip_val; the checkpoints of earlier epochs are kept."
        )


class Throughput(pl.Callback):
    """Logs how many images a second an epoch trains on, all devices together."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started = time.perf_counter()
        self.images = 0

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
        for logger in trainer.loggers:
            logger.log_metrics(scores | {"epoch": epoch}, last_step)
        _writer(trainer).flush()
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


def _writer(trainer: pl.Trainer) -> Any:
    """TensorBoard's own writer."""
    return next(logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)).experiment
