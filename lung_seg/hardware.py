"""The Trainer that the settings and this machine allow."""

import dataclasses
from collections.abc import Iterable

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from lung_seg.config import TrainerConfig
from lung_seg.errors import UserError


def make_trainer(
    settings: TrainerConfig, callbacks: Iterable[Callback] = (), loggers: Iterable[Logger] = ()
) -> pl.Trainer:
    """A Trainer with these settings, callbacks and loggers.

    Raises:
        UserError: the machine lacks the hardware asked for.
    """
    arguments = dataclasses.asdict(settings)
    if settings.precision == "auto":
        arguments["precision"] = fastest_precision(settings.accelerator)
    try:
        return pl.Trainer(
            **arguments,
            callbacks=list(callbacks),
            logger=list(loggers),
            use_distributed_sampler=False,  # EpochSampler shares the cases itself
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks),
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(
            f"trainer.accelerator={settings.accelerator} with trainer.devices={settings.devices} cannot be used here: "
            f"{str(error).splitlines()[0]}\nUse trainer=cpu, or trainer=auto, which takes what there is."
        ) from error


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
