"""The Trainer that the settings and this machine allow, and how it writes checkpoints."""

import dataclasses
import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lung_seg.config import TrainerConfig
from lung_seg.errors import UserError
from lung_seg.files import atomic_path


class WholeCheckpoints(TorchCheckpointIO):
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


def is_main_process() -> bool:
    """Whether this is the one process of a run that writes files and speaks."""
    rank: int | None = getattr(rank_zero_only, "rank", None)  # set by Lightning once a Trainer knows its place
    return not rank


def make_trainer(
    settings: TrainerConfig, callbacks: Iterable[Callback] = (), loggers: Iterable[Logger] = ()
) -> pl.Trainer:
    """A Trainer with these settings, callbacks and loggers.

    Raises:
        UserError: the machine lacks the hardware asked for.
    """
    _hush_lightning()
    arguments = dataclasses.asdict(settings)
    if settings.precision == "auto":
        arguments["precision"] = fastest_precision(settings.accelerator)
    try:
        return pl.Trainer(
            **arguments,
            callbacks=list(callbacks),
            logger=list(loggers),
            plugins=[WholeCheckpoints()],
            use_distributed_sampler=False,  # EpochSampler shares the cases itself
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks),
        )
    except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"trainer.accelerator={settings.accelerator} with trainer.devices={settings.devices} cannot be used here: "
            f"{str(error).splitlines()[0]}\nUse trainer=cpu, or trainer=auto, which takes what there is."
        ) from error


@contextmanager
def interruptible(remedy: str) -> Iterator[None]:
    """Makes of Ctrl-C a KeyboardInterrupt that says how to go on; Lightning makes a bare SystemExit of it."""
    try:
        yield
    except SystemExit as leaving:
        raise KeyboardInterrupt(remedy) from leaving


def _hush_lightning() -> None:
    """Keep off the screen what no user of this project can act on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # greetings and advertisements
    for message in (
        r".*isinstance\(treespec, LeafSpec\)",  # Lightning calls an old function of torch
        "The number of training batches",  # a small set has epochs of a few batches: nothing is lost
        ".*does not have many workers",  # a CPU has no core to spare for them
        ".*GPU available but not used",  # trainer=cpu was asked for
        "Checkpoint directory .* exists and is not empty",  # a resumed run goes on in its own; others are refused
        ".*It is recommended to use `self.log",  # every device logs the same score, gathered from all of them
    ):
        warnings.filterwarnings("ignore", message)


def fastest_precision(accelerator: str) -> str:
    """bf16-mixed where the hardware multiplies bf16 itself, else 32-true.

    On a CPU that only emulates bf16 the mixed precision is slower than float32.
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("cpu", "auto") and not torch.backends.mps.is_available():
        native = torch.cpu._is_avx512_bf16_supported()
    else:
        native = False
    return "bf16-mixed" if native else "32-true"
