"""How and when checkpoints are written, so that nothing is lost when a training is killed or asked to end."""

import io
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from lung_seg.files import atomic_path

STOP_CHECK_INTERVAL = 10  # batches between two checks of several devices, each of which makes them wait


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically.

    Lightning's own are written to the system's temporary folder and moved. Where that is another disk, moving is
    copying, and a process killed meanwhile leaves half a file in place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a temporary file in the same folder, then rename it."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


class RelocatableModelCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that keeps its best score if the run directory was moved before the training resumed."""

    @property
    def state_key(self) -> str:
        """Its name in a checkpoint; that of earlier revisions, so that their runs resume with the best score."""
        return super().state_key.replace(type(self).__name__, "MovableCheckpoint")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the score of the one file it keeps, which is in the present folder whatever the checkpoint says."""
        path = str(Path(str(self.dirpath), f"{self.filename}{self.FILE_EXTENSION}"))
        paths = {name: value and path for name, value in state_dict.items() if name.endswith("_path")}
        best = dict(zip([path], state_dict["best_k_models"].values(), strict=False))  # or none yet
        super().load_state_dict(state_dict | paths | {"best_k_models": best, "dirpath": self.dirpath})


class ResumableEarlyStopping(EarlyStopping):
    """An EarlyStopping that stays stopped: Lightning's trains another epoch each time a stopped training resumes."""

    @property
    def state_key(self) -> str:
        """Its name in a checkpoint; that of Lightning's, as earlier revisions wrote it."""
        return super().state_key.replace(type(self).__name__, EarlyStopping.__name__)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before the first epoch; the state is restored by now."""
        trainer.should_stop = self.wait_count >= self.patience


class PreemptionCheckpoint(pl.Callback):
    """Writes last.ckpt within an epoch: every few steps, and when the process receives SIGINT, SIGTERM or SIGUSR1.

    Ctrl-C sends SIGINT, clusters and shutdowns send SIGTERM, SLURM also SIGUSR1 some time before the end. A second
    Ctrl-C ends the training without saving. Lightning's own handling saves
    nothing, and leaves some of several processes waiting for the others. Without ``every_n_steps``, which counts
    optimizer steps, only the signals make it write.
    """

    def __init__(self, path: Path, every_n_steps: int | None):
        self.path = path
        self.every_n_steps = every_n_steps
        self.stop_requested = False
        self.is_restored = False  # a checkpoint that the training resumes from

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers; Lightning restores the previous ones when the training ends."""
        self.is_restored = True
        if threading.current_thread() is not threading.main_thread():
            return  # no other thread may
        for name in ("SIGINT", "SIGTERM", "SIGUSR1"):  # Windows lacks the last
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._request_stop)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after a step if it is time; the last step of an epoch is followed by the epoch's own checkpoints."""
        done = batch_idx + 1
        if done == trainer.num_training_batches or done % trainer.accumulate_grad_batches:  # gradients are not saved
            return
        stop = (trainer.world_size == 1 or done % STOP_CHECK_INTERVAL == 0) and self._any_stop_requested(trainer)
        if stop or (self.every_n_steps and trainer.global_step % self.every_n_steps == 0):
            trainer.save_checkpoint(self.path)
        if stop:
            raise SystemExit

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after an epoch, which is saved."""
        if self._any_stop_requested(trainer):
            raise SystemExit

    on_train_end = on_train_epoch_start  # the resumed run scores the network

    def _request_stop(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self.stop_requested:
            raise KeyboardInterrupt
        self.stop_requested = True

    def _any_stop_requested(self, trainer: pl.Trainer) -> bool:
        """Whether any process was asked to stop: then all stop after the same step."""
        return trainer.strategy.reduce_boolean_decision(self.stop_requested, all=False)
