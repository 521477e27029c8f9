"""The Optuna study that a search shares with its trainings, and the pruning of trainings."""

from pathlib import Path

import optuna
import pytorch_lightning as pl
from optuna.exceptions import StorageInternalError
from optuna.pruners import MedianPruner, NopPruner
from optuna.trial import FrozenTrial, Trial
from sqlalchemy.exc import SQLAlchemyError

from lung_seg.config import SearchConfig
from lung_seg.errors import UserError, first_line
from lung_seg.training.epoch_table import MONITORED, read_epochs

PRUNED = "pruned"  # user attribute of a trial that was stopped early
FOLDER = "folder"  # user attribute of a trial that resumes an interrupted one: the folder of both
UNPRUNED_TRIALS, UNPRUNED_EPOCHS = 4, 3  # before there is enough to compare with


def open_study(settings: SearchConfig, folder: Path) -> optuna.Study:
    """The study of a search, created on first use; stored in the search's folder unless search.storage is set.

    Raises:
        UserError: the storage cannot be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    storage = settings.storage or f"sqlite:///{folder / 'search.db'}"
    if storage.rstrip("/") == "sqlite:" or ":memory:" in storage:
        raise UserError(
            f"search.storage={storage} is in the memory of one process: its trainings would not find it.\n"
            "Give a file, such as sqlite:///search.db, or leave it at null."
        )
    pruner = MedianPruner(UNPRUNED_TRIALS, UNPRUNED_EPOCHS) if settings.pruning else NopPruner()
    try:
        return optuna.create_study(
            storage=storage, study_name=settings.name, direction="maximize", pruner=pruner, load_if_exists=True
        )
    except (SQLAlchemyError, StorageInternalError, ImportError, OSError, LookupError) as error:
        raise UserError(
            f"search.storage={storage} cannot be reached: {first_line(error)}.\n"
            "Give an SQL URL such as sqlite:///search.db or postgresql://user@host/name, or leave it at null."
        ) from error


def folder_name(trial: Trial | FrozenTrial) -> str:
    """The number of the trial, or the folder of the interrupted trial that it resumes."""
    return str(trial.user_attrs.get(FOLDER, trial.number))


def latest_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials without the interrupted ones that another trial resumed in their folder."""
    return list({folder_name(trial): trial for trial in study.trials}.values())


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The latest trials that ended."""
    return [trial for trial in latest_trials(study) if trial.state.is_finished()]


class Pruning(pl.Callback):
    """Reports each validation to the study, and stops a training that is worse than the others at the same epoch.

    Validations from before an interruption are read from ``metrics``, the training's metrics.csv.
    """

    def __init__(self, settings: SearchConfig, folder: Path, metrics: Path):
        study = open_study(settings, folder)
        assert settings.trial is not None
        self.trial = Trial(study, study.trials[settings.trial]._trial_id)  # there is no public way to it
        for row in read_epochs(metrics):
            if MONITORED in row:
                self.trial.report(row[MONITORED], int(row["epoch"]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The main process decides for all; the epoch's checkpoint is still written."""
        worse = False
        if trainer.is_global_zero:
            self.trial.report(float(trainer.callback_metrics[MONITORED]), trainer.current_epoch)
            worse = self.trial.should_prune()
            if worse:
                self.trial.set_user_attr(PRUNED, True)
        trainer.should_stop |= bool(trainer.strategy.broadcast(worse))
