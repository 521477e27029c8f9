"""What accompanies a training: images per second, pictures in TensorBoard, a table of epochs."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lung_seg.draw import panel
from lung_seg.errors import UserError
from lung_seg.training.dataset import Sample, SampleIndex
from lung_seg.training.epoch_table import log_scores, tensorboard_writer

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
            log_scores(trainer, {"loss": loss}, trainer.global_step - 1)


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
            sample = dataset[SampleIndex(0, position)]
            with torch.no_grad():
                logits = pl_module(sample.image[None].to(pl_module.device))
            picture = panel(
                sample.image[0].numpy(), sample.mask[0].numpy(), logits[0, 0].float().sigmoid().cpu().numpy()
            )
            last_step = trainer.global_step - 1  # where Lightning puts the epoch's scores
            tensorboard_writer(trainer).add_image(f"validation/{number}", picture, last_step, dataformats="HWC")
