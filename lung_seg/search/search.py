"""A search: trainings whose settings Optuna chooses, and which goes on where it was stopped."""

import itertools
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from lung_seg.config import SearchConfig
from lung_seg.errors import UserError
from lung_seg.search.search_report import write_best, write_page
from lung_seg.search.study import FOLDER, PRUNED, REPLACES, ended, open_study

LOCKS = "locks"  # a file for each training that runs, held by the process that runs it

ReferenceRanges = dict[str, BaseDistribution]

log = logging.getLogger(__name__)


def search(config: DictConfig, arguments: list[str], loader: ConfigLoader, launcher: Launcher) -> None:
    """Run trainings until there are as many as asked for, then tell the best and write a page about all.

    Raises:
        UserError: there is nothing to vary, the search was begun with other settings, or its storage is out of reach.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings: SearchConfig = OmegaConf.to_object(config.search)  # type: ignore[assignment]
    given = [f"{key}={value}" for key, value in settings.params.items()] + arguments
    fixed, ranges = _split(OverridesParser.create(config_loader=loader).parse_overrides(given))
    if not ranges:
        raise UserError(
            f"search.name={settings.name} varies nothing.\n"
            "Give a key a range, e.g. 'optimizer.lr=tag(log,interval(1e-4,1e-2))'."
        )
    # A misspelt key is told before anything is written.
    loader.load_sweep_config(config, [*fixed, *(f"{key}={example_value(of)}" for key, of in ranges.items())])

    folder = Path(config.hydra.sweep.dir)
    study = open_study(settings, folder)
    _refuse_other_settings(study, fixed, ranges, folder)
    study.sampler = _sampler(settings, len(study.trials), config.seed)
    requeue_interrupted(study, folder)
    if settings.sampler == "grid":
        settings.trials = _enqueue_grid(study, ranges)
    try:
        while count_started(study) < settings.trials:
            _run(study, study.ask(ranges), fixed, folder, launcher)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on with the search.") from None
    _conclude(study, fixed, folder)


def _split(overrides: list[Override]) -> tuple[list[str], ReferenceRanges]:
    """What is the same for all trainings, and what is varied; of a key given twice the last counts."""
    fixed: dict[str, str] = {}
    ranges: ReferenceRanges = {}
    for override in overrides:
        key = override.get_key_element()
        fixed.pop(key, None)
        ranges.pop(key, None)
        if override.is_sweep_override():
            ranges[key] = _range(override)
        else:
            fixed[key] = str(override.input_line)
    return list(fixed.values()), ranges


def _range(override: Override) -> BaseDistribution:
    """Hydra's interval, choice or range as Optuna's."""
    if override.is_discrete_sweep():
        return CategoricalDistribution([_number_if_one(text) for text in override.sweep_string_iterator()])
    interval: Any = override.value()
    whole = isinstance(interval.start, int) and isinstance(interval.end, int)
    kind = IntDistribution if whole else FloatDistribution
    return kind(interval.start, interval.end, log="log" in interval.tags)


def _number_if_one(text: str) -> str | float:
    """Numbers as such: drawings put them in order."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def example_value(of: BaseDistribution) -> Any:
    """One value of a range."""
    return of.choices[0] if isinstance(of, CategoricalDistribution) else of.low  # type: ignore[attr-defined]


def _refuse_other_settings(study: optuna.Study, fixed: list[str], ranges: ReferenceRanges, folder: Path) -> None:
    """Keep apart trainings that cannot be compared; how many there are to be may change."""
    now = {"fixed": sorted(_of_the_training(fixed)), "ranges": {key: str(of) for key, of in sorted(ranges.items())}}
    begun = study.user_attrs.get("begun")
    if begun is None:
        study.set_user_attr("begun", json.dumps(now))
    elif json.loads(begun) != now:
        raise UserError(
            f"The search in {folder} was begun with other settings: {json.loads(begun)}.\n"
            "Go on with it by the same command, or begin another by search.name=<name>."
        )


def _of_the_training(fixed: list[str]) -> list[str]:
    """The overrides that are not the search's own."""
    return [line for line in fixed if not line.startswith(("search=", "search."))]


def _sampler(settings: SearchConfig, done: int, seed: int) -> BaseSampler:
    """Who chooses; a search that goes on must not draw what it drew before."""
    if settings.sampler == "tpe":
        return TPESampler(seed=seed + done, multivariate=True)
    return RandomSampler(seed=seed + done)  # a grid's combinations are waiting and need no chooser


def _enqueue_grid(study: optuna.Study, ranges: ReferenceRanges) -> int:
    """Let all combinations wait, once; return how many there are."""
    for key, of in ranges.items():
        if not isinstance(of, CategoricalDistribution):
            raise UserError(f"{key} has no end of values.\nFor search.sampler=grid give some: {key}=choice(…)")
    combinations = list(itertools.product(*(of.choices for of in ranges.values())))  # type: ignore[attr-defined]
    for values in combinations:
        study.enqueue_trial(dict(zip(ranges, values, strict=True)), skip_if_exists=True)
    return len(combinations)


def requeue_interrupted(study: optuna.Study, folder: Path) -> None:
    """Let trainings that were killed wait to be gone on with; those of processes that live are left alone."""
    replaced = {trial.user_attrs.get(REPLACES) for trial in study.trials}
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        path = _lock_path(folder, trial.number)
        if not path.is_file():  # of another machine with a folder of its own
            continue
        try:
            with FileLock(path, timeout=0):
                if trial.number not in replaced:
                    goes_on = {FOLDER: _folder_name(trial), REPLACES: trial.number}
                    study.enqueue_trial(trial.params, user_attrs=goes_on)
                study.tell(trial.number, state=TrialState.FAIL)
        except Timeout:
            continue
        path.unlink(missing_ok=True)


def count_started(study: optuna.Study) -> int:
    """How many trainings came to an end or run, here or elsewhere."""
    return len(ended(study)) + len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def _run(study: optuna.Study, trial: Trial, fixed: list[str], folder: Path, launcher: Launcher) -> None:
    """Train with the settings of a trial and report to the study how it went."""
    path = _lock_path(folder, trial.number)
    with FileLock(path):
        (result,) = launcher.launch([_overrides(trial, fixed, folder)], initial_job_idx=trial.number)
        report_result(study, trial, result)
    path.unlink(missing_ok=True)


def _overrides(trial: Trial, fixed: list[str], folder: Path) -> list[str]:
    """The command line of one training."""
    name = _folder_name(trial)
    begun = [f"resume={folder / name}"] if (folder / name / "checkpoints" / "last.ckpt").is_file() else []
    chosen = [f"{key}={value}" for key, value in trial.params.items()]
    return [*fixed, *chosen, *begun, f"search.trial={trial.number}", f"hydra.sweep.subdir={name}"]


def report_result(study: optuna.Study, trial: Trial, result: JobReturn) -> None:
    value = result.return_value  # raises what nobody foresaw
    if value is None:
        study.tell(trial, state=TrialState.FAIL)
    elif study.trials[trial.number].user_attrs.get(PRUNED):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, value)


def _conclude(study: optuna.Study, fixed: list[str], folder: Path) -> None:
    """Tell the best training, and how to repeat it."""
    if not study.get_trials(states=(TrialState.COMPLETE,)):
        log.info("\nNo training of %s came to its end.", folder)
        return
    best = study.best_trial
    overrides = [*_of_the_training(fixed), *(f"{key}={value}" for key, value in best.params.items())]
    saved, page = write_best(study.study_name, overrides), write_page(study, folder)
    log.info("\nBest of %d trainings: %s, validation Dice %.4f.", len(ended(study)), _folder_name(best), best.value)
    log.info("To repeat it: python train.py %s", " ".join(overrides))
    log.info("The same, as %s: python train.py experiment=%s", saved, saved.stem)
    log.info("How the others did: %s; curves of all: tensorboard --logdir %s", page, folder)


def _lock_path(folder: Path, number: int) -> Path:
    (folder / LOCKS).mkdir(parents=True, exist_ok=True)
    return folder / LOCKS / str(number)


def _folder_name(trial: Trial | FrozenTrial) -> str:
    """A training is in the folder of its number, or of the one that it goes on with."""
    return str(trial.user_attrs.get(FOLDER, trial.number))
