"""Training: data, network, loss, trainer, callbacks and loggers, built in plain sight."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lung_seg.config import Recipe, TrainConfig
from lung_seg.errors import UserError
from lung_seg.files import remove_parts
from lung_seg.model.checkpoint import describe, load_network, start_from, steps_done
from lung_seg.model.losses import SegmentationLoss
from lung_seg.model.unet import UNet
from lung_seg.training.callbacks import DivergenceGuard, LossCurve, Throughput, ValidationPanels
from lung_seg.training.checkpointing import PreemptionCheckpoint, RelocatableModelCheckpoint
from lung_seg.training.datamodule import LungDataModule
from lung_seg.training.epoch_table import MONITORED, EpochTable, read_epochs
from lung_seg.training.lightning_module import LungSegmenter
from lung_seg.training.trainer import is_restarted, make_trainer, translate_errors

KindT = TypeVar("KindT", Optimizer, LRScheduler)


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes:
        run_dir: where it lies; processes that a cluster started share that of the first one.
        network: the best one by validation Dice, ready to predict.
        data: what it was trained on.
        trainer: to evaluate with, on the same devices.
        facts: duration, speed and best validation score, for summary.json.
        seen_before: SHA-256 of the prepared radiographs that the network it started from had seen.
    """

    run_dir: Path
    network: UNet
    data: LungDataModule
    trainer: pl.Trainer
    facts: dict[str, Any]
    seen_before: list[str]

    @property
    def best_checkpoint(self) -> Path:
        """Where the network is saved."""
        return self.run_dir / "checkpoints" / "best.ckpt"


def fit(config: TrainConfig, run_dir: Path, extra_callbacks: Sequence[Callback] = ()) -> Fitted:
    """Train a network and leave checkpoints, curves and metrics.csv in the run directory.

    Args:
        config: the recipe, and what to resume or to start from.
        run_dir: where to write.
        extra_callbacks: added to those of every training, e.g. the pruning of a search.

    Raises:
        UserError: the settings do not fit the data or the hardware.
    """
    checkpoints = run_dir / "checkpoints"
    last = checkpoints / "last.ckpt"
    if last.exists() and is_restarted():
        config = dataclasses.replace(config, resume=str(run_dir))
    if last.exists() and not config.resume:
        raise UserError(
            f"{run_dir} holds a training already, and two would mix.\n"
            f"Resume it by resume={run_dir}, or choose another hydra.run.dir."
        )
    remove_parts(checkpoints)
    pl.seed_everything(config.seed, verbose=False)
    data = LungDataModule(config.data, config.augmentation, config.seed)
    shape = dataclasses.asdict(config.model)
    network, seen_before = start_from(Path(config.init), shape) if config.init else (UNet(**shape), [])
    segmenter = make_segmenter(config, network, seen_before)
    callbacks = [*_callbacks(config, run_dir), *extra_callbacks]
    # What a killed run drew after its last checkpoint is drawn again: TensorBoard drops it.
    drawn = steps_done(last) if config.resume else 0
    tensorboard = TensorBoardLogger(run_dir / "tensorboard", "", "", default_hp_metric=False, purge_step=drawn)
    trainer = make_trainer(config.trainer, callbacks, [tensorboard])
    with translate_errors(f"from the last checkpoint go on with: python train.py resume={run_dir}"):
        trainer.fit(segmenter, data, ckpt_path=last if config.resume else None, weights_only=True)

    # Processes that a cluster started have a run_dir of their own each; Lightning broadcast that of the first one.
    shared = next(
        Path(str(keeper.dirpath)).parent for keeper in callbacks if isinstance(keeper, RelocatableModelCheckpoint)
    )
    run_dir = run_dir if run_dir.resolve() == shared else shared
    best_network, _ = load_network(run_dir / "checkpoints" / "best.ckpt")
    facts = _training_facts(read_epochs(run_dir / "metrics.csv"), trainer.global_step)
    return Fitted(run_dir, best_network, data, trainer, facts, seen_before)


def _callbacks(config: TrainConfig, run_dir: Path) -> list[Callback]:
    """What accompanies the training; curves and table come before the checkpoints that vouch for them."""
    checkpoints, metrics = run_dir / "checkpoints", run_dir / "metrics.csv"
    # Two that keep, since with save_last=True a last.ckpt is only written when the epoch is also the best one.
    every_epoch = partial(
        RelocatableModelCheckpoint, checkpoints, save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[Callback] = [
        DivergenceGuard(),
        Throughput(),
        LossCurve(config.trainer.log_every_n_steps),
        ValidationPanels(),
        PreemptionCheckpoint(checkpoints / "last.ckpt", config.checkpoint_every_n_steps),
        EpochTable(metrics),
        every_epoch(
            filename="best",
            monitor=MONITORED,
            mode="max",
            every_n_epochs=config.trainer.check_val_every_n_epoch,
        ),
        every_epoch(filename="last"),
    ]
    if config.patience_epochs:
        callbacks.append(EarlyStopping(MONITORED, mode="max", patience=config.patience_epochs))
    return callbacks


def make_segmenter(recipe: Recipe, network: UNet, seen_before: list[str]) -> LungSegmenter:
    """A network, and all that trains it.

    Args:
        recipe: what it is trained with.
        network: of the shape that the recipe says.
        seen_before: SHA-256 of the radiographs that it was trained on before.
    """
    if recipe.compile:
        network.compile()
    return LungSegmenter(
        network,
        SegmentationLoss(**dataclasses.asdict(recipe.loss)),
        partial(make_optimizer, recipe.optimizer),
        partial(_scheduler, recipe.scheduler),
        describe(dataclasses.asdict(recipe.model), dataclasses.asdict(recipe.data), recipe.seed, seen_before),
    )


def make_optimizer(settings: dict[str, Any], parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer of the settings.

    Raises:
        UserError: there is none of that name, or it refuses its settings.
    """
    return _instantiate("optimizer", Optimizer, settings, params=list(parameters))


def _scheduler(settings: dict[str, Any], optimizer: Optimizer, steps: int) -> LRScheduler:
    """The scheduler of the settings; a setting left null is the number of optimizer steps."""
    filled = {name: steps if value is None else value for name, value in settings.items()}
    return _instantiate("scheduler", LRScheduler, filled, optimizer=optimizer)


def _instantiate(group: str, kind: type[KindT], settings: dict[str, Any], **arguments: Any) -> KindT:
    """An object of the class that a group of the configuration names in ``_target_``.

    Raises:
        UserError: there is no such class, it is of another kind, or it refuses its arguments.
    """
    try:
        made = instantiate(settings, **arguments, _convert_="all")
        if not isinstance(made, kind):
            raise InstantiationException(f"it is no {kind.__name__}")
        return made
    except InstantiationException as error:
        reason = str(error.__cause__ or error).splitlines()[0].rstrip(".:")
        raise UserError(
            f"{group}: {settings.get('_target_')} cannot be made: {reason}.\n"
            f"Look at its documentation and at the {group}.… settings (--cfg job prints them)."
        ) from error


def _training_facts(epochs: list[dict[str, float]], steps: int) -> dict[str, Any]:
    """How long the training was, all its parts if it was resumed, and how well it validated."""
    best = max(epochs, key=lambda epoch: epoch.get(MONITORED, -1.0))
    return {
        "epochs": len(epochs),
        "steps": steps,
        "seconds": round(sum(epoch["train/seconds"] for epoch in epochs), 1),
        "images_per_s": round(epochs[-1]["train/images_per_s"], 2),
        "best_epoch": int(best["epoch"]),
        "validation_dice": best[MONITORED],
    }
