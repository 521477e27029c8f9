"""Callbacks of a training: images per second, and pictures in TensorBoard."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only

from lung_seg.config import LUNG
from lung_seg.draw import panel
from lung_seg.training.dataset import Sample, SampleIndex

PANEL_CASES = 4


class Throughput(pl.Callback):
    """Logs images per second of all devices together, and the seconds that an epoch takes."""

    started = 0.0
    images = 0

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


class ProgressBar(TQDMProgressBar):
    """A bar of one line, which leaves nothing behind: EpochTable logs the epochs."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        """The loss of the last batch and the speed."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: metrics[name] for name in ("loss", "images_per_s") if name in metrics}


class ValidationPanels(pl.Callback):
    """Shows the same few validation cases in TensorBoard after each epoch, by their case_id."""

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Radiograph, truth and prediction of each, side by side."""
        dataset = trainer.datamodule.dataset("validation")  # type: ignore[attr-defined]
        every = max(1, len(dataset) // PANEL_CASES)
        for position in range(0, len(dataset), every)[:PANEL_CASES]:
            image, mask, row = dataset[SampleIndex(0, position)]
            case_id = trainer.datamodule.case_id(int(row))  # type: ignore[attr-defined]
            with torch.no_grad():
                probability = pl_module(image[None].to(pl_module.device))[0, 0].float().sigmoid()
            picture = panel(image[0].numpy(), (mask[0] == LUNG).numpy(), probability.cpu().numpy())
            last_step = trainer.global_step - 1  # as for the epoch's scores
            name = f"radiograph, truth, prediction/{case_id}"
            trainer.logger.experiment.add_image(name, picture, last_step, dataformats="HWC")  # type: ignore[union-attr]
