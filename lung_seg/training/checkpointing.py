"""How and when a training is saved, so that nothing is lost when it is killed or asked to end."""

import io
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from lung_seg.files import atomic_path

STOP_CHECK_INTERVAL = 10  # batches: to ask each other whether to end costs several devices a wait


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that appear whole or not at all.

    Lightning's own are written to the system's temporary folder and moved. Where that is another disk, moving is
    copying, and a process killed meanwhile leaves half a file in the place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file beside its place, then move it there."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


class RelocatableModelCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that still knows its best score when the run directory was moved between two parts of a run."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores, the files being looked for where they lie now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict[name]) for name in paths} | {"dirpath": self.dirpath}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": best})


class PreemptionCheckpoint(pl.Callback):
    """Writes last.ckpt within an epoch too: every so many steps, and when the process is asked to end.

    Clusters and shutdowns ask by SIGTERM, SLURM also by SIGUSR1 some time before the end. Lightning's own way with them
    saves nothing, and of several processes it leaves some waiting for the others.

    Args:
        path: of last.ckpt.
        every_n_steps: optimizer steps between two checkpoints; None writes none but the one before the end.
    """

    def __init__(self, path: Path, every_n_steps: int | None):
        self.path = path
        self.every_n_steps = every_n_steps
        self.asked = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen; Lightning puts back what was there before itself when the training ends."""
        if threading.current_thread() is not threading.main_thread():
            return  # signals reach only that one
        for name in ("SIGTERM", "SIGUSR1"):  # Windows lacks the second
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._note)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after a step if it is time; after an epoch's last one the epoch's own checkpoints follow."""
        done, of = batch_idx + 1, int(trainer.num_training_batches)
        if done == of or done % trainer.accumulate_grad_batches:  # gradients are not saved
            return
        leaving = (trainer.world_size == 1 or done % STOP_CHECK_INTERVAL == 0) and self._all_asked(trainer)
        if leaving or (self.every_n_steps and trainer.global_step % self.every_n_steps == 0):
            trainer.save_checkpoint(self.path)
        if leaving:
            raise SystemExit

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave after a whole epoch, which is saved."""
        if self._all_asked(trainer):
            raise SystemExit

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave after the last epoch; the scores are left to a resumed run."""
        if self._all_asked(trainer):
            raise SystemExit

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True

    def _all_asked(self, trainer: pl.Trainer) -> bool:
        """Whether any process was asked to end: then all do, after the same step."""
        return trainer.strategy.reduce_boolean_decision(self.asked, all=False)
