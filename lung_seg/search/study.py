"""What a search and its trainings share: Optuna's study, and whether a training is worth going on with."""

from pathlib import Path
from typing import Any

import optuna
import pytorch_lightning as pl
from optuna.exceptions import StorageInternalError
from optuna.pruners import MedianPruner, NopPruner
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from lung_seg.config import SearchConfig
from lung_seg.errors import UserError
from lung_seg.training.epoch_table import MONITORED, read_epochs

PRUNED = "pruned"  # what a trial says of itself when it was not worth going on
FOLDER, REPLACES = "folder", "replaces"  # what a trial that goes on with an interrupted one says of it
UNPRUNED_TRIALS, UNPRUNED_EPOCHS = 4, 3  # before there is enough to compare with


def open_study(settings: SearchConfig, folder: Path) -> optuna.Study:
    """The study of a search, begun if there is none.

    Args:
        settings: with the study's name, and where it is stored.
        folder: of the search, which holds the study unless it is stored elsewhere.

    Raises:
        UserError: it is stored where it can't be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    storage = settings.storage or f"sqlite:///{folder / 'search.db'}"
    pruner = MedianPruner(UNPRUNED_TRIALS, UNPRUNED_EPOCHS) if settings.pruning else NopPruner()
    try:
        return optuna.create_study(
            storage=storage, study_name=settings.name, direction="maximize", pruner=pruner, load_if_exists=True
        )
    except (SQLAlchemyError, StorageInternalError, ImportError, OSError) as error:
        raise UserError(
            f"search.storage={storage} cannot be reached: {str(error).splitlines()[0]}\n"
            "Give an SQL URL such as sqlite:///search.db or postgresql://user@host/name, or leave it at null."
        ) from error


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that came to an end, without the interrupted ones that another went on with."""
    replaced = {trial.user_attrs.get(REPLACES) for trial in study.trials}
    return [trial for trial in study.trials if trial.state.is_finished() and trial.number not in replaced]


class Pruning(pl.Callback):
    """Tells the study each validation, and stops the training if it is worse than the others were by then.

    Args:
        settings: of the search that this training belongs to.
        folder: of the search.
        metrics: metrics.csv, with the validations before the training was interrupted.
    """

    def __init__(self, settings: SearchConfig, folder: Path, metrics: Path):
        study = open_study(settings, folder)
        assert settings.trial is not None
        self.trial = optuna.Trial(study, study.trials[settings.trial]._trial_id)  # Optuna has no other way to it
        for row in read_epochs(metrics):
            if MONITORED in row:
                self.trial.report(row[MONITORED], int(row["epoch"]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask one process for all; an epoch that is over stays saved."""
        worse = trainer.is_global_zero and self._is_worse(trainer.current_epoch, trainer.callback_metrics)
        trainer.should_stop |= bool(trainer.strategy.broadcast(worse))

    def _is_worse(self, epoch: int, scores: dict[str, Any]) -> bool:
        self.trial.report(float(scores[MONITORED]), epoch)
        worse = self.trial.should_prune()
        if worse:
            self.trial.set_user_attr(PRUNED, True)
        return worse
