"""The Trainer, restarted processes, and errors that only a running training meets."""

import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lung_seg.config import TrainerConfig
from lung_seg.errors import FailureError, UserError
from lung_seg.model.precision import choose_precision
from lung_seg.training.checkpointing import AtomicCheckpointIO


def is_restarted() -> bool:
    """Whether torchrun (--max-restarts) or SLURM (--requeue) started this same command before."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def is_main_process() -> bool:
    """Whether this is the one process of a run that writes files and prints."""
    return not getattr(rank_zero_only, "rank", None)  # Lightning sets it when it makes a Trainer


def make_trainer(
    settings: TrainerConfig, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
) -> pl.Trainer:
    """A Trainer with these settings; a UserError if the machine lacks the requested hardware."""
    silence_warnings()
    precision = choose_precision(settings.precision, settings.accelerator)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if TorchElasticEnvironment.detect():
        if is_restarted():
            reinit_process_group(settings.accelerator)
    elif SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # else Lightning writes checkpoints to the present folder
    try:
        return pl.Trainer(
            **dataclasses.asdict(settings) | {"precision": precision},
            callbacks=list(callbacks),
            logger=list(loggers),
            plugins=plugins,
            use_distributed_sampler=False,  # EpochSampler distributes the cases
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_checkpointing=bool(callbacks),  # without callbacks it only evaluates
        )
    except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"trainer.accelerator={settings.accelerator} with trainer.devices={settings.devices} cannot be used here: "
            f"{str(error).splitlines()[0]}\nUse trainer=cpu, or trainer=auto, which takes what there is."
        ) from error


def reinit_process_group(accelerator: str) -> None:
    """Connect processes that torchrun restarted.

    torchrun keeps its key-value store when it restarts them, with --standalone and c10d too (torch 2.6 to 2.13). A
    process that reads the address of a dead one from it fails or waits forever; a prefix for each restart hides those.
    """
    address, port, rank, world_size, restart = (
        os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    )
    store = dist.PrefixStore(f"restart_{restart}", dist.TCPStore(address, int(port)))  # type: ignore[attr-defined]
    backend = "nccl" if accelerator != "cpu" and torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=int(rank), world_size=int(world_size))


@contextmanager
def translate_errors(hint: str) -> Iterator[None]:
    """Replace errors of Lightning and of torch's workers by ones that end with a hint how to continue."""
    try:
        yield
    except SystemExit as leaving:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt(hint) from leaving
    except RuntimeError as error:  # torch has no more specific class
        if "DataLoader worker" not in str(error):
            raise
        raise FailureError(
            f"{str(error).splitlines()[0].rstrip('. ')}; most often memory, or /dev/shm, was full.\n"
            f"Lower data.workers (0: the main process loads the cases) or data.batch_size, and {hint}"
        ) from error


def silence_warnings() -> None:
    """Hide messages that no user of this project can act on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # greetings and advertisements
    for message in (
        r".*isinstance\(treespec, LeafSpec\)",  # Lightning calls a deprecated function of torch
        "The number of training batches",  # a small set has epochs of a few batches
        ".*does not have many workers",  # a CPU has no core to spare for them
        ".*GPU available but not used",  # trainer=cpu was requested
        "Checkpoint directory .* exists and is not empty",  # a resumed run; fit refuses others
        ".*It is recommended to use `self.log",  # every device logs the same score, gathered from all of them
    ):
        warnings.filterwarnings("ignore", message)
