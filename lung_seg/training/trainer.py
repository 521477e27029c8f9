"""The Trainer, and errors that only a running training meets."""

import dataclasses
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
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

from lung_seg.config import TrainerConfig
from lung_seg.config_field import as_typed
from lung_seg.errors import FailureError, UserError, first_line
from lung_seg.model.precision import choose_precision
from lung_seg.templates import counted
from lung_seg.training.callbacks import ProgressBar
from lung_seg.training.checkpointing import AtomicCheckpointIO
from lung_seg.training.restart import destroy_process_group_at_exit, is_restarted, reinit_process_group


def is_main_process() -> bool:
    """Whether this is the one process of a run that writes files and prints."""
    return not getattr(rank_zero_only, "rank", None)  # Lightning sets it when it makes a Trainer


def make_trainer(
    settings: TrainerConfig, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
) -> pl.Trainer:
    """A Trainer with these settings; a UserError if the machine lacks the requested hardware."""
    silence_warnings()
    _check_hardware(settings)
    destroy_process_group_at_exit()
    precision = choose_precision(settings.precision, settings.accelerator)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if TorchElasticEnvironment.detect():
        if is_restarted():
            reinit_process_group(settings.accelerator)
    elif SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # else Lightning writes checkpoints to the present folder
    arguments = dataclasses.asdict(settings) | {"precision": precision}
    arguments["enable_progress_bar"] &= sys.stdout.isatty()  # in a log each update would be another line
    bars = [ProgressBar()] if arguments["enable_progress_bar"] else []
    try:
        return pl.Trainer(
            **arguments,
            callbacks=[*callbacks, *bars],
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
            f"{first_line(error)}.\nUse trainer=cpu, or trainer=auto, which takes what there is."
        ) from error


def _check_hardware(settings: TrainerConfig) -> None:
    """Raise a UserError if this machine lacks the requested hardware."""
    accelerator, cuda, mps = settings.accelerator, torch.cuda.device_count(), int(torch.backends.mps.is_available())
    gpus = {"cpu": 0, "cuda": cuda, "mps": mps}.get(accelerator, cuda or mps)
    if accelerator not in ("auto", "cpu") and not gpus:
        kind = {"gpu": "a GPU", "cuda": "an NVIDIA GPU", "mps": "an Apple GPU"}[accelerator]
        is_cpu_build = accelerator != "mps" and not torch.version.cuda and not torch.version.hip
        build = f"; this torch, {torch.__version__}, is a build for CPUs" if is_cpu_build else ""
        raise UserError(
            f"trainer.accelerator={accelerator} needs {kind}, and torch finds none on this machine{build}.\n"
            "Use trainer=cpu, or trainer=auto, which takes what there is."
        )
    if not _devices_exist(settings.devices, gpus):
        rule = "must be a number of devices, a list of indices of GPUs such as [0,2], or auto"
        found = f"this machine has {counted(gpus, 'GPU')}" if gpus else "the CPU is used"
        raise UserError(f"trainer.devices={as_typed(settings.devices)} {rule}.\nLeave it out for one device; {found}.")


def _devices_exist(devices: object, gpus: int) -> bool:
    """Whether a machine with so many GPUs, 0 to train on the CPU, has these devices."""
    if isinstance(devices, list):
        return bool(devices) and all(index in range(gpus) for index in devices)
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if isinstance(devices, int):
        return 1 <= devices <= (gpus or devices) or (devices == -1 and gpus > 0)
    return devices == "auto"


@contextmanager
def translate_errors(hint: Callable[[], str]) -> Iterator[None]:
    """Replace errors of Lightning and of torch's workers by ones that end with a hint how to continue."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as leaving:  # Lightning's answer to Ctrl-C is SystemExit
        raise KeyboardInterrupt(hint()) from leaving
    except OSError as error:
        error.add_note(hint())
        raise
    except RuntimeError as error:  # torch has no more specific class
        if "DataLoader worker" not in str(error):
            raise
        raise FailureError(
            f"{first_line(error)}; most often memory, or /dev/shm, was full.\n"
            f"Lower data.workers (0: the main process loads the cases) or data.batch_size, and {hint()}"
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
