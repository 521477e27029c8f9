"""Run trainings whose settings Optuna chooses; the same command resumes an interrupted search."""

import itertools
import json
import logging
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

import optuna
from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from lung_seg.config import SearchConfig, TrainConfig
from lung_seg.errors import UserError
from lung_seg.files import locked
from lung_seg.search.report import write_best, write_page
from lung_seg.search.sampler import TrialSeededSampler
from lung_seg.search.study import FOLDER, PRUNED, finished_trials, folder_name, latest_trials, open_study

SearchSpace = dict[str, BaseDistribution]

LOCKS = "locks"  # subfolder of files locked by the processes that run the trainings
STARTED = "started"  # user attribute of a trial whose process holds its lock

log = logging.getLogger(__name__)


def run_search(config: DictConfig, arguments: list[str], loader: ConfigLoader, launcher: Launcher) -> None:
    """Run trainings up to the requested number, then report the best and write a page about all of them.

    Raises:
        UserError: nothing is varied, the search was begun with other settings, or its storage cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings: SearchConfig = OmegaConf.to_object(config.search)  # type: ignore[assignment]
    arguments = [*(f"{key}={value}" for key, value in settings.params.items()), *arguments]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    overrides = {override.get_key_element(): override for override in parsed}  # the last one of a key counts
    space = {key: _distribution(key, override) for key, override in overrides.items() if override.is_sweep_override()}
    fixed = [str(override.input_line) for key, override in overrides.items() if key not in space]
    if not space:
        raise UserError(
            f"search.name={settings.name} varies nothing.\n"
            "Give a key a range, e.g. 'optimizer.lr=tag(log,interval(1e-4,1e-2))'."
        )
    # Composed once to refuse a misspelt key before anything is written.
    loader.load_sweep_config(config, [*fixed, *(f"{key}={_example(values)}" for key, values in space.items())])

    folder = Path(config.hydra.sweep.dir)
    of_training = [line for line in fixed if not line.startswith(("search=", "search."))]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "search.db"):  # two processes that begin one search
        study = open_study(settings, folder)
        _refuse_unknown_trainings(study, folder)
        _refuse_other_settings(study, of_training, space, folder)
        _requeue_interrupted(study, folder)
        count = _enqueue_grid(study, space) if settings.sampler == "grid" else settings.trials
    study.sampler = TrialSeededSampler(config.seed, use_tpe=settings.sampler == "tpe")
    try:
        while _count_started(study) < count:
            _run_trial(study, study.ask(space), fixed, folder, launcher)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("resume the search with the same command.") from None
    _report_best(study, of_training, folder)


def _distribution(key: str, override: Override) -> BaseDistribution:
    """Optuna's form of Hydra's interval, choice or range.

    Raises:
        UserError: an interval that Optuna cannot draw from, or one of fractions for a key that holds whole numbers.
    """
    if override.is_discrete_sweep():
        return CategoricalDistribution([_parse_number(text) for text in override.sweep_string_iterator()])
    interval: Any = override.value()
    low, high, log_scale = interval.start, interval.end, "log" in interval.tags
    is_int = _holds_int(key) or (isinstance(low, int) and isinstance(high, int))  # int(interval(1,4))
    if is_int and (low % 1 or high % 1):
        raise UserError(f"{override.input_line}: {key} is a whole number.\nGive the interval whole ends.")
    if not low <= high or (log_scale and low <= 0):
        rule = "a logarithmic interval begins above 0" if log_scale and low <= 0 else "an interval ends above its start"
        raise UserError(f"{override.input_line}: {rule}.\nE.g. {key}=tag(log,interval(1e-4,1e-2)) or interval(2,8).")
    if is_int:
        return IntDistribution(int(low), int(high), log=log_scale)
    return FloatDistribution(low, high, log=log_scale)


def _holds_int(key: str) -> bool:
    """Whether the schema has a whole number at a key."""
    kind: Any = TrainConfig
    for name in key.lstrip("+").split("."):
        kind = get_type_hints(kind).get(name) if isinstance(kind, type) else None
    return kind in (int, int | None)


def _parse_number(text: str) -> str | float:
    """Numbers as such, so that Optuna's plots sort them."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _example(values: BaseDistribution) -> Any:
    return values.choices[0] if isinstance(values, CategoricalDistribution) else values.low  # type: ignore[attr-defined]


def _refuse_unknown_trainings(study: optuna.Study, folder: Path) -> None:
    """Refuse to begin a search where trainings of another one lie: its trials would have the same numbers."""
    known = {folder_name(trial) for trial in study.trials}
    found = {path.parent.parent.name for path in folder.glob("*/checkpoints/last.ckpt")} - known
    if found:
        raise UserError(
            f"{folder} holds trainings that its study does not know, e.g. {min(found)}; was search.db deleted?\n"
            "Put it back, begin another search with search.name=<name>, or move the folder away."
        )


def _refuse_other_settings(study: optuna.Study, fixed: list[str], space: SearchSpace, folder: Path) -> None:
    """Refuse to mix trainings that cannot be compared; only the number of trials may change."""
    now = {"fixed": sorted(fixed), "ranges": {key: str(space[key]) for key in sorted(space)}}
    begun = json.loads(study.user_attrs.get("begun", "null"))
    if begun is None:
        study.set_user_attr("begun", json.dumps(now))
    elif begun != now:
        before, after = _lines(begun), _lines(now)
        changes = f"{_listed(before - after)}, now {_listed(after - before)}"
        raise UserError(
            f"The search in {folder} was begun with other settings: {changes}.\n"
            "Resume it with the same command, or begin another one with search.name=<name>."
        )


def _lines(settings: dict[str, Any]) -> set[str]:
    """Fixed settings and ranges as key=value."""
    return {*settings["fixed"], *(f"{key}={_range_text(text)}" for key, text in settings["ranges"].items())}


def _range_text(distribution: str) -> str:
    """The text of one of Optuna's distributions as a range is typed.

    >>> _range_text("FloatDistribution(high=0.01, log=True, low=0.0001, step=None)")
    'tag(log,interval(0.0001,0.01))'
    """
    if choices := re.search(r"choices=\((.*?),?\)", distribution):
        return f"choice({choices[1].replace(', ', ',')})"
    values = dict(re.findall(r"(low|high)=([^,)]+)", distribution))
    interval = f"interval({values.get('low')},{values.get('high')})"
    return f"tag(log,{interval})" if "log=True" in distribution else interval


def _listed(settings: set[str]) -> str:
    return ", ".join(sorted(settings)) or "nothing else"


def _enqueue_grid(study: optuna.Study, space: SearchSpace) -> int:
    """Enqueue all combinations that are not in the study yet or were lost; returns the number of all."""
    for key, values in space.items():
        if not isinstance(values, CategoricalDistribution):
            raise UserError(f"{key} is a continuous range.\nFor search.sampler=grid list its values: {key}=choice(…)")
    combinations = list(itertools.product(*(values.choices for values in space.values())))  # type: ignore[attr-defined]
    known = [
        _grid_params(trial) for trial in latest_trials(study) if trial.state == TrialState.WAITING or _counts(trial)
    ]
    for combination in combinations:
        params = dict(zip(space, combination, strict=True))
        if params not in known:
            study.enqueue_trial(params)
    return len(combinations)


def _grid_params(trial: FrozenTrial) -> dict[str, Any]:
    """The combination of a trial, which has no parameters of its own before it is started."""
    return trial.params or trial.system_attrs.get("fixed_params", {})


def _counts(trial: FrozenTrial) -> bool:
    """Whether a training was started; a process that was killed just before left a trial that never will be."""
    return trial.state.is_finished() or (trial.state == TrialState.RUNNING and STARTED in trial.user_attrs)


def _count_started(study: optuna.Study) -> int:
    """Trainings that were started, on other machines too."""
    return sum(_counts(trial) for trial in latest_trials(study))


def _requeue_interrupted(study: optuna.Study, folder: Path) -> None:
    """Enqueue trainings whose process was killed, to be resumed; those of live processes are left alone."""
    latest = {trial.number for trial in latest_trials(study)}
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        path = folder / LOCKS / str(trial.number)
        if not path.is_file():  # runs on a machine with another folder
            continue
        try:
            with FileLock(path, timeout=0):
                if trial.number in latest:
                    study.enqueue_trial(trial.params, user_attrs={FOLDER: folder_name(trial)})
                study.tell(trial.number, state=TrialState.FAIL)
        except Timeout:
            continue
        path.unlink(missing_ok=True)


def _run_trial(study: optuna.Study, trial: Trial, fixed: list[str], folder: Path, launcher: Launcher) -> None:
    """Train with the settings of a trial and report the result to the study."""
    name = folder_name(trial)
    overrides = [*fixed, *(f"{key}={value}" for key, value in trial.params.items())]
    overrides += [f"search.trial={trial.number}", f"hydra.sweep.subdir={name}"]
    if (folder / name / "checkpoints" / "last.ckpt").is_file():
        overrides.append(f"resume={folder / name}")
    path = folder / LOCKS / str(trial.number)
    with FileLock(path):
        trial.set_user_attr(STARTED, True)
        (result,) = launcher.launch([overrides], initial_job_idx=trial.number)
        value = result.return_value  # raises an unexpected error of the training
        if value is None:
            study.tell(trial, state=TrialState.FAIL)
        elif study.trials[trial.number].user_attrs.get(PRUNED):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
    path.unlink(missing_ok=True)


def _report_best(study: optuna.Study, fixed: list[str], folder: Path) -> None:
    """Log the best training and how to repeat it."""
    if not study.get_trials(states=(TrialState.COMPLETE,)):
        log.info("\nNo training of %s was completed.", folder)
        return
    best = study.best_trial
    overrides = [*fixed, *(f"{key}={value}" for key, value in best.params.items())]
    command = shlex.join(["python", "train.py", *overrides])
    saved, page = write_best(folder, best, command), write_page(study, folder, fixed, command)
    count = len(finished_trials(study))
    log.info("\nBest of %d trainings: %s, validation Dice %.4f.", count, folder_name(best), best.value)
    log.info("To repeat it (%s): %s", saved, command)
    log.info("All trainings: %s; their curves: tensorboard --logdir %s", page, folder)
