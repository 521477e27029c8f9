"""The LightningModule: a network, its loss and its scores."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lung_seg.errors import UserError
from lung_seg.model import DESCRIPTION_KEY
from lung_seg.model.metrics import COUNTS, overlap_counts, overlap_scores, pooled_dice
from lung_seg.training.case_table import CaseTable
from lung_seg.training.dataset import Sample
from lung_seg.training.epoch_table import log_scores

PLAN_KEY = "plan"  # where a checkpoint holds how long its training is to take
# The entries of a plan: optimizer steps, cases of each of them, and epochs.
STEPS, BATCH, EPOCHS = "steps", "data.batch_size*devices*accumulate_grad_batches", "trainer.max_epochs"
CASES_KEY = "train_cases"  # where one written within an epoch holds the scores of the epoch's cases so far
DIVERGED = """the training diverged.
Lower optimizer.lr, or limit trainer.gradient_clip_val; the checkpoints of earlier epochs are kept."""


class LungSegmenter(pl.LightningModule):
    """Trains and validates a network.

    Args:
        network: from images (N, 1, S, S) uint8 to logits (N, 1, S, S).
        loss: from logits and masks to the loss of each case, (N,).
        make_optimizer: of the network's parameters.
        make_scheduler: of the optimizer and the number of optimizer steps; stepped after each of them.
        description: plain numbers and strings that rebuild the network; kept in each checkpoint.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        make_scheduler: Callable[[Optimizer, int], LRScheduler],
        description: dict[str, Any],
    ):
        super().__init__()
        # Channels last: convolutions are faster by a third on a CPU and use the tensor cores of a GPU.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.make_optimizer = make_optimizer
        self.make_scheduler = make_scheduler
        self.description = description
        self.plan: dict[str, int] = {}  # that of the resumed checkpoint
        self.train_cases = CaseTable(len(COUNTS) + 1)
        self.validation_cases = CaseTable(len(COUNTS) + 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, 1, S, S) of images (N, 1, S, S)."""
        logits: Tensor = self.network(image)
        return logits

    def configure_optimizers(self) -> Any:
        """The optimizer, and the scheduler for as many steps as the training will take."""
        # Lightning's own estimate would make the loader before a resumed training knows its epoch.
        loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        accumulate, epochs = self.trainer.accumulate_grad_batches, int(self.trainer.max_epochs or 0)
        steps = math.ceil(len(loader) / accumulate) * epochs
        now = {STEPS: steps, BATCH: loader.cases_per_batch * accumulate, EPOCHS: epochs}
        differing = [
            f"{name}={now[name]}, but it began with {planned}"
            for name, planned in self.plan.items()
            if planned != now[name]
        ]
        if differing:
            raise UserError(
                f"The resumed training was planned for {self.plan[STEPS]} optimizer steps, now for {steps} "
                f"({'; '.join(differing)}).\n"
                "Resume it with the same; to train longer start a new training from its weights: init=<run directory>"
            )
        self.plan = now
        optimizer = self.make_optimizer(self.network.parameters())
        return [optimizer], [{"scheduler": self.make_scheduler(optimizer, steps), "interval": "step"}]

    def training_step(self, batch: Sample) -> Tensor:
        """Mean loss of a batch, checked to be finite; several processes stop together at the end of the epoch."""
        loss = self._count(batch, self.train_cases).mean()
        if self.trainer.world_size == 1 and not loss.isfinite():
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            cases = ", ".join(self.trainer.datamodule.case_id(row) for row in batch.row.tolist())  # type: ignore[attr-defined]
            where = f"in step {self.trainer.global_step + 1} of epoch {self.current_epoch}"
            raise UserError(f"The loss is {loss:.4g} {where}, at learning rate {rate:.3g} on {cases}: {DIVERGED}")
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the loss; Lightning would do so after a callback may have saved the step and ended the run."""
        step = self.trainer.global_step
        if (step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            log_scores(self.trainer, {"loss": float(self.trainer.callback_metrics["loss"])}, step)

    def lr_scheduler_step(self, scheduler: LRScheduler, metric: Any) -> None:
        """Step the schedule; some refuse to go on after a number of steps that the user gave them."""
        try:
            scheduler.step()
        except ValueError as error:
            raise UserError(
                f"scheduler: {type(scheduler).__name__} ends before the training's {self.plan[STEPS]} steps: {error}\n"
                "Set its number of steps to null: the program fills it in."
            ) from error

    def on_train_epoch_end(self) -> None:
        """Log the epoch's scores on the augmented training samples."""
        self._log_scores("train", self.train_cases)
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], logger=False)

    def validation_step(self, batch: Sample) -> None:
        """Count a batch."""
        self._count(batch, self.validation_cases)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation cases."""
        self._log_scores("validation", self.validation_cases)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network, and the scores of an unfinished epoch."""
        checkpoint[DESCRIPTION_KEY] = self.description
        checkpoint[PLAN_KEY] = self.plan
        if self.train_cases.update_called:
            checkpoint[CASES_KEY] = self.train_cases.compute()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the plan, and the scores of an unfinished epoch."""
        # Earlier versions kept the steps only.
        self.plan = checkpoint.get(PLAN_KEY) or {STEPS: checkpoint["planned_steps"]}
        self._convert_progress(checkpoint["loops"]["fit_loop"])
        if CASES_KEY in checkpoint:  # of all devices, on each of them; the table counts a case once
            cases = checkpoint[CASES_KEY]
            self.train_cases.update(cases[:, 0].long(), cases[:, 1:].float())

    def _convert_progress(self, state: dict[str, Any]) -> None:
        """Count the batches of an unfinished epoch, which Lightning resumes at, in those of the present size."""
        (loader,) = state["state_dict"]["combined_loader"]
        if "samples" in loader:  # earlier versions saved batches
            progress = state["epoch_loop.batch_progress"]["current"]
            batches = loader["samples"] // self.trainer.datamodule.train_dataloader().cases_per_batch  # type: ignore[attr-defined]
            change = batches - progress["ready"]
            progress.update({name: count + change for name, count in progress.items()})

    def _count(self, batch: Sample, table: CaseTable) -> Tensor:
        logits = self(batch.image)
        loss: Tensor = self.loss(logits, batch.mask)
        counts = overlap_counts(logits.detach(), batch.mask)
        table.update(batch.row, torch.cat([counts, loss.detach()[:, None]], dim=1))
        return loss

    def _log_scores(self, split: str, table: CaseTable) -> None:
        cases = table.compute()
        table.reset()
        counts, loss = cases[:, 1:-1], cases[:, -1]
        if not loss.isfinite().all():
            raise UserError(f"The {split} loss is {loss.mean():.4g} in epoch {self.current_epoch}: {DIVERGED}")
        for name, score in (overlap_scores(counts) | {"loss": loss}).items():
            self.log(f"{split}/{name}", score.mean().float(), prog_bar=name == "dice", logger=False)
        self.log(f"{split}/pooled_dice", pooled_dice(counts), logger=False)
