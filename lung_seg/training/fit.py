"""Training: data, network, loss, callbacks, logger and trainer are built here."""

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lung_seg.config import TrainConfig
from lung_seg.errors import UserError, first_line
from lung_seg.files import remove_parts
from lung_seg.model.checkpoint import NO_TRAINING, READ_ERRORS, Seen, load_network, load_training, start_from
from lung_seg.model.losses import SegmentationLoss
from lung_seg.model.unet import UNet
from lung_seg.training.callbacks import Throughput, ValidationPanels
from lung_seg.training.checkpointing import (
    PreemptionCheckpoint,
    RelocatableModelCheckpoint,
    ResumableEarlyStopping,
)
from lung_seg.training.datamodule import LungDataModule
from lung_seg.training.epoch_table import MONITORED, EpochTable, read_epochs
from lung_seg.training.lightning_module import LungSegmenter
from lung_seg.training.loggers import make_loggers
from lung_seg.training.recipe import check_recipe, recipe, resume_command, score_command
from lung_seg.training.restart import is_restarted
from lung_seg.training.trainer import make_trainer, translate_errors

STEP_COUNTS = ("total_steps", "T_max", "total_iters")  # arguments of torch's schedulers; null: all optimizer steps
CHECKED_STEPS = 1000  # of the schedule that is made once before the real one

log = logging.getLogger(__name__)

KindT = TypeVar("KindT", Optimizer, LRScheduler)


@dataclass(frozen=True)
class Fitted:
    """A finished training."""

    run_dir: Path  # processes that a cluster started share that of the first one
    network: UNet  # the best one by validation Dice, ready to predict
    seen: Seen | None  # by it; None if an earlier version trained the network that it started from
    data: LungDataModule
    trainer: pl.Trainer  # to evaluate with, on the same devices
    facts: dict[str, Any]  # duration, speed and best validation score, for summary.json

    @property
    def best_checkpoint(self) -> Path:
        """Where the network is saved."""
        return self.run_dir / "checkpoints" / "best.ckpt"


def fit(config: TrainConfig, run_dir: Path, extra_callbacks: Sequence[Callback] = ()) -> Fitted:
    """Train a network and write checkpoints, curves and metrics.csv to the run directory.

    ``extra_callbacks`` are added to those of every training, e.g. the pruning of a search.

    Raises:
        UserError: the settings do not fit the data or the hardware.
    """
    checkpoints, metrics = run_dir / "checkpoints", run_dir / "metrics.csv"
    last = checkpoints / "last.ckpt"
    resume = resumes(config, run_dir)
    steps_done = 0
    seen_before: list[str] | None = []
    if resume:
        steps_done, description = load_training(last)
        check_recipe(description, config, run_dir)
        if (run_dir / "summary.json").exists():
            log.info("%s has finished: its best network is scored again.", run_dir)
        seen_before = description.get("seen_before", [])
    remove_parts(checkpoints)
    pl.seed_everything(config.seed, verbose=False)

    data = LungDataModule(config.data, config.augmentation, config.seed)
    arguments = dataclasses.asdict(config.model)
    if config.init and not resume:  # a resumed network comes from its own checkpoint
        network, seen_before, data.earlier_ranges = start_from(Path(config.init), arguments)
    else:
        network = UNet(**arguments)
    segmenter = make_segmenter(config, network, seen_before)
    _check_step(segmenter, config)

    # Two, since one with save_last=True writes last.ckpt only when the epoch is also the best one.
    options: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    every = config.trainer.check_val_every_n_epoch
    keep_best = RelocatableModelCheckpoint(checkpoints, "best", MONITORED, mode="max", every_n_epochs=every, **options)
    keep_last = RelocatableModelCheckpoint(checkpoints, "last", **options)
    preemption = PreemptionCheckpoint(last, config.checkpoint_every_n_steps)
    callbacks: list[Callback] = [
        Throughput(),
        ValidationPanels(),
        preemption,
        EpochTable(metrics),  # before the checkpoints that include its epoch
        keep_best,
        keep_last,
        *extra_callbacks,
    ]
    if config.patience_epochs:
        callbacks.append(ResumableEarlyStopping(MONITORED, mode="max", patience=config.patience_epochs))
    loggers = make_loggers(config.logger, run_dir, steps_done)

    trainer = make_trainer(config.trainer, callbacks, loggers)

    def hint() -> str:
        if not last.exists():
            return "run the same command again: no step of the training was saved."
        return f"resume from the last checkpoint with: {resume_command(config, run_dir)}"

    try:
        with translate_errors(hint):
            trainer.fit(segmenter, data, ckpt_path=last if resume else None, weights_only=True)
    except READ_ERRORS as error:
        if not resume or preemption.is_restored or isinstance(error, OSError):
            raise
        raise UserError(f"{last} {NO_TRAINING}") from error

    # Processes that a cluster started have a run_dir each; Lightning broadcast that of the first one.
    shared = Path(str(keep_last.dirpath)).parent
    run_dir = run_dir if run_dir.resolve() == shared else shared
    best_network, description = load_network(run_dir / "checkpoints" / "best.ckpt")
    facts = _training_facts(config, run_dir, trainer.global_step)
    facts |= {"precision": trainer.precision, "radiographs": len(data.training_rows)}
    return Fitted(run_dir, best_network, description["seen"], data, trainer, facts)


def resumes(config: TrainConfig, run_dir: Path) -> bool:
    """Whether a training in this run directory resumes: it was requested, or the same command was started again.

    Raises:
        UserError: the directory holds a training that is not to be resumed.
    """
    holds_training = (run_dir / "checkpoints" / "last.ckpt").exists()
    if config.resume or (holds_training and is_restarted()):
        return True
    if holds_training:
        raise UserError(
            f"{run_dir} holds a training already, and two would mix.\n"
            f"Resume it: {resume_command(config, run_dir)}, or choose another hydra.run.dir."
        )
    return False


def make_segmenter(config: TrainConfig, network: UNet, seen_before: list[str] | None) -> LungSegmenter:
    """A network with its loss, optimizer and scheduler.

    The scheduler's arguments in ``STEP_COUNTS`` become the number of optimizer steps if they are null. ``seen_before``
    holds the identities of the radiographs that the network was trained on before, None if they are not known.
    """
    if config.compile:
        network.compile()

    def make_optimizer(parameters: Iterable[nn.Parameter]) -> Optimizer:
        return _instantiate("optimizer", Optimizer, config.optimizer, params=list(parameters))

    def make_scheduler(optimizer: Optimizer, steps: int) -> LRScheduler:
        target = config.scheduler.get("_target_")
        if str(target).endswith(".ReduceLROnPlateau"):
            raise UserError(
                f"scheduler._target_={target} follows a score, but a scheduler is stepped after each optimizer step.\n"
                "Use one that counts steps, e.g. scheduler=cosine."
            )
        settings = {
            name: steps if value is None and name in STEP_COUNTS else value for name, value in config.scheduler.items()
        }
        return _instantiate("scheduler", LRScheduler, settings, optimizer=optimizer)

    network_arguments, data = dataclasses.asdict(config.model), dataclasses.asdict(config.data)
    description = {"network": network_arguments, "data": data, "seed": config.seed, "seen_before": seen_before}
    description["recipe"] = recipe(config)
    loss = SegmentationLoss(**dataclasses.asdict(config.loss))
    return LungSegmenter(network, loss, make_optimizer, make_scheduler, description)


def _instantiate(group: str, kind: type[KindT], settings: dict[str, Any], **arguments: Any) -> KindT:
    """An object of the class that a group of the configuration names in ``_target_``."""
    try:
        made = instantiate(settings, **arguments, _convert_="all")
        if not isinstance(made, kind):
            raise InstantiationException(f"it is no {kind.__name__}")
        return made
    except InstantiationException as error:
        cause = error.__cause__ or error
        texts = [
            f"{group}.{key}={value}" for key, value in settings.items() if key != "_target_" and isinstance(value, str)
        ]
        reason = f"{', '.join(texts)} is no number" if texts and isinstance(cause, TypeError) else first_line(cause)
        raise UserError(
            f"{group}: {settings.get('_target_')} cannot be made: {reason}.\n"
            f"Look at its documentation and at the {group}.… settings (--cfg job prints them)."
        ) from error


def _check_step(segmenter: LungSegmenter, config: TrainConfig) -> None:
    """Take a step with a parameter like the network's, before anything is prepared.

    Raises:
        UserError: a class or an argument does not fit.
    """
    parameter = nn.Parameter(torch.zeros(4, 4, 3, 3).to(memory_format=torch.channels_last))
    parameter.grad = torch.zeros_like(parameter)
    optimizer = segmenter.make_optimizer([parameter])
    scheduler = segmenter.make_scheduler(optimizer, CHECKED_STEPS)
    try:
        optimizer.step(lambda: 0.0)
        scheduler.step()
    except (RuntimeError, TypeError, ValueError) as error:
        names = f"{config.optimizer.get('_target_')} with {config.scheduler.get('_target_')}"
        raise UserError(
            f"optimizer, scheduler: {names} cannot take a step: {first_line(error)}.\n"
            "Look at their documentation and at the optimizer.… and scheduler.… settings (--cfg job prints them)."
        ) from error


def _training_facts(config: TrainConfig, run_dir: Path, steps: int) -> dict[str, Any]:
    """Duration, speed and best validation score of the whole training, with the parts before it was resumed.

    Raises:
        UserError: somebody emptied or removed the table of a finished training.
    """
    table = run_dir / "metrics.csv"
    epochs = read_epochs(table)
    if not epochs:
        remedy = f"Restore it, or only score: {score_command(config, run_dir)}"
        raise UserError(f"{table} has no epoch of this training, which has ended.\n{remedy}")
    best = max(epochs, key=lambda epoch: epoch.get(MONITORED, -1.0))
    return {
        "epochs": len(epochs),
        "steps": steps,
        "seconds": round(sum(epoch["train/seconds"] for epoch in epochs), 1),
        "images_per_s": round(epochs[-1]["train/images_per_s"], 2),
        "best_epoch": int(best["epoch"]),
        "validation_dice": best[MONITORED],
    }
