"""Training: data, network, loss, trainer, callbacks and loggers, built in plain sight."""

import dataclasses
from collections.abc import Iterable
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

from lung_seg.callbacks import (
    DivergenceGuard,
    EpochTable,
    LossCurve,
    Throughput,
    ValidationPanels,
    read_epochs,
)
from lung_seg.config import Recipe, TrainConfig
from lung_seg.data.datamodule import LungDataModule
from lung_seg.errors import UserError
from lung_seg.evaluation import score, write_evaluation
from lung_seg.files import remove_parts
from lung_seg.hardware import in_plain_words, is_restarted, make_trainer
from lung_seg.model.checkpoint import describe, load_network, start_from, steps_done
from lung_seg.model.losses import SegmentationLoss
from lung_seg.model.segmenter import LungSegmenter
from lung_seg.model.unet import UNet
from lung_seg.saving import MovableCheckpoint, WithinEpochs

MONITORED = "validation/dice"

KindT = TypeVar("KindT", Optimizer, LRScheduler)


def fit(config: TrainConfig, run_dir: Path) -> dict[str, Any]:
    """Train a network, score its best checkpoint on the test split, and leave everything in the run directory.

    Returns:
        What summary.json holds.

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
            f"Go on with it by resume={run_dir}, or choose another hydra.run.dir."
        )
    remove_parts(checkpoints)
    pl.seed_everything(config.seed, verbose=False)
    data = LungDataModule(config.data, config.augmentation, config.seed)
    shape = dataclasses.asdict(config.model)
    network, seen_before = start_from(Path(config.init), shape) if config.init else (UNet(**shape), [])
    segmenter = make_segmenter(config, network, seen_before)
    callbacks = _callbacks(config, run_dir)
    # What a killed run drew after its last checkpoint is drawn again: TensorBoard is told to forget it.
    drawn = steps_done(last) if config.resume else 0
    tensorboard = TensorBoardLogger(run_dir / "tensorboard", "", "", default_hp_metric=False, purge_step=drawn)
    trainer = make_trainer(config.trainer, callbacks, [tensorboard])

    with in_plain_words(f"from the last checkpoint go on with: python train.py resume={run_dir}"):
        trainer.fit(segmenter, data, ckpt_path=last if config.resume else None, weights_only=True)

    # Processes that a cluster started each have a run_dir of their own; Lightning told them all the first one's.
    told = next(Path(str(keeper.dirpath)).parent for keeper in callbacks if isinstance(keeper, MovableCheckpoint))
    run_dir = run_dir if run_dir.resolve() == told else told
    best = run_dir / "checkpoints" / "best.ckpt"
    best_network, _ = load_network(best)
    with in_plain_words(f"the network is trained; score it with: python evaluate.py checkpoint={run_dir}"):
        cases = score(best_network, data, trainer)
    facts: dict[str, Any] = {
        "title": f"{config.data.name}: U-Net with {config.model.base_channels} base channels",
        "checkpoint": str(best),
        "split": "test",
        "seen_in_training": 0,
        "training": _training_facts(read_epochs(run_dir / "metrics.csv"), trainer.global_step),
        "seed": config.seed,
        "config": dataclasses.asdict(config),
    }
    summary = write_evaluation(run_dir, lambda _: best_network, data, cases, facts)
    tensorboard.log_hyperparams(_flat(facts["config"]), _final_metrics(summary))
    tensorboard.finalize("success")
    return summary


def _callbacks(config: TrainConfig, run_dir: Path) -> list[Callback]:
    """What accompanies the training; curves and table come before the checkpoints that vouch for them."""
    checkpoints, metrics = run_dir / "checkpoints", run_dir / "metrics.csv"
    # Two that keep, since with save_last=True a last.ckpt is only written when the epoch is also the best one.
    every_epoch = partial(MovableCheckpoint, checkpoints, save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks: list[Callback] = [
        DivergenceGuard(),
        Throughput(),
        LossCurve(config.trainer.log_every_n_steps),
        ValidationPanels(),
        WithinEpochs(checkpoints / "last.ckpt", config.checkpoint_every_n_steps),
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
    if config.search.trial is not None:
        from lung_seg.study import Pruning  # Optuna is there for searches only

        done = [(int(row["epoch"]), row[MONITORED]) for row in read_epochs(metrics) if MONITORED in row]
        callbacks.append(Pruning(config.search, run_dir.parent, MONITORED, done))
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
        recipe.seed,
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


def _final_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """What TensorBoard's HPARAMS page compares runs by."""
    scores = summary["scores"]["all"]
    return {
        "final/validation_dice": summary["training"]["validation_dice"],
        "final/test_dice": scores["dice"]["mean"],
        "final/test_pooled_dice": scores["pooled_dice"],
        "final/test_accuracy": scores["accuracy"]["mean"],
        "final/test_bce": scores["bce"]["mean"],
    }


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
