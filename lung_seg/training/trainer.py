"""The Trainer that the settings and this machine allow."""

import dataclasses
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from lung_seg.config import TrainerConfig
from lung_seg.errors import FailureError, UserError
from lung_seg.model.precision import choose_precision
from lung_seg.training.checkpointing import AtomicCheckpointIO


def is_restarted() -> bool:
    """Whether torchrun (--max-restarts) or SLURM (--requeue) started this same command before."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


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
    silence_warnings()
    precision = choose_precision(settings.precision, settings.accelerator)
    arguments = dataclasses.asdict(settings) | {"precision": precision}
    if TorchElasticEnvironment.detect() and is_restarted():
        _find_each_other_again(settings.accelerator)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # else it leaves checkpoints of its own in this folder
    try:
        return pl.Trainer(
            **arguments,
            callbacks=list(callbacks),
            logger=list(loggers),
            plugins=plugins,
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


def _find_each_other_again(accelerator: str) -> None:
    """Connect processes that torchrun started again.

    Its store still holds the addresses of those that died, and a process that reads them before they are written anew
    waits for ever: under a name of their own they are not found.
    """
    store, rank, world_size = next(rendezvous("env://"))
    attempt = PrefixStore(f"restart_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "nccl" if accelerator != "cpu" and torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, store=attempt, rank=rank, world_size=world_size)


@contextmanager
def translate_errors(hint: str) -> Iterator[None]:
    """Tells how to go on when the block is left early.

    Raises:
        KeyboardInterrupt: by Ctrl-C, of which Lightning makes a bare SystemExit.
        FailureError: a process that loads cases died.
    """
    try:
        yield
    except SystemExit as leaving:
        raise KeyboardInterrupt(hint) from leaving
    except RuntimeError as error:  # torch's own, for everything
        if "DataLoader worker" in str(error):
            raise FailureError(
                f"{str(error).splitlines()[0].rstrip('. ')}; most often memory, or /dev/shm, was full.\n"
                f"Lower data.workers (0: the main process loads the cases) or data.batch_size, and {hint}"
            ) from error
        raise


def silence_warnings() -> None:
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
