"""Callbacks of a training: stop when it diverges, images per second, pictures in TensorBoard."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lung_seg.draw import panel
from lung_seg.errors import UserError
from lung_seg.training.dataset import Sample, SampleIndex
from lung_seg.training.lightning_module import DIVERGED

PANEL_CASES = 4


class DivergenceGuard(pl.Callback):
    """Stops a training whose loss is not finite and reports the step and its cases.

    A step's loss is checked after the next step, so that no GPU has to be waited for. Of several processes none may
    stop alone: ``LungSegmenter`` stops them all at the end of the epoch.
    """

    last: tuple[Tensor, Tensor, int, float] | None = None  # loss, rows of its cases, step, learning rate

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        """Check the previous step, remember this one."""
        self.on_train_epoch_end(trainer, pl_module)
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.last = (outputs["loss"].detach(), batch.row, trainer.global_step, learning_rate)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the last step before a checkpoint is written."""
        if trainer.world_size > 1 or self.last is None or self.last[0].isfinite():
            return
        loss, rows, step, learning_rate = self.last
        cases = ", ".join(trainer.datamodule.case_id(row) for row in rows.tolist())  # type: ignore[attr-defined]
        where = f"in step {step} of epoch {trainer.current_epoch}, at learning rate {learning_rate:.3g} on {cases}"
        raise UserError(f"The loss is {loss:.4g} {where}: {DIVERGED}")


class Throughput(pl.Callback):
    """Logs images per second of all devices together, and the seconds an epoch takes."""

    def __init__(self) -> None:
        self.started, self.images = time.perf_counter(), 0

    def state_dict(self) -> dict[str, Any]:
        """The part of an epoch within which a checkpoint is written."""
        return {"seconds": time.perf_counter() - self.started, "images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume within an epoch."""
        self.started, self.images = time.perf_counter() - state_dict["seconds"], state_dict["images"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        """Show the rate so far."""
        self.images += len(batch.image) * trainer.world_size
        self.rate = self.images / (time.perf_counter() - self.started)
        pl_module.log("images_per_s", self.rate, prog_bar=True, logger=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's rate without its validation, and its seconds with it."""
        pl_module.log("train/images_per_s", self.rate, logger=False)
        pl_module.log("train/seconds", time.perf_counter() - self.started, logger=False)


class ValidationPanels(pl.Callback):
    """Shows the same few validation cases in TensorBoard after each epoch."""

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Radiograph, truth and prediction of each, side by side."""
        dataset = trainer.datamodule.dataset("validation")  # type: ignore[attr-defined]
        step = max(1, len(dataset) // PANEL_CASES)
        for number, position in enumerate(range(0, len(dataset), step)[:PANEL_CASES]):
            image, mask, _ = dataset[SampleIndex(0, position)]
            with torch.no_grad():
                probability = pl_module(image[None].to(pl_module.device))[0, 0].float().sigmoid()
            picture = panel(image[0].numpy(), mask[0].numpy(), probability.cpu().numpy())
            last_step = trainer.global_step - 1  # as for the epoch's scores
            trainer.logger.experiment.add_image(f"validation/{number}", picture, last_step, dataformats="HWC")  # type: ignore[union-attr]
