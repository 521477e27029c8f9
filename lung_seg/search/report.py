"""The results of a search: best.yaml with its best settings, and search.html about all trainings."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import optuna
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from lung_seg.chart import ACCENT, MUTED, STYLE, svg, whole_ticks
from lung_seg.files import write_text
from lung_seg.search.study import PRUNED, finished_trials, folder_name
from lung_seg.templates import template

SCORE = "validation Dice"
IMPORTANCE_TRIALS = 12  # fewer completed trainings say nothing about which setting matters


def write_best(folder: Path, best: FrozenTrial, command: str) -> Path:
    """Write the best training of a search, and the command that repeats it, to best.yaml."""
    content = {"training": folder_name(best), "validation_dice": best.value, "command": command}
    path = folder / "best.yaml"
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(content)))
    return path


def write_page(study: optuna.Study, folder: Path, fixed: Sequence[str], command: str) -> Path:
    """Write search.html, which opens offline: a table of all trainings with links to their reports, and charts.

    ``fixed`` are the settings that all trainings share; ``command`` repeats the best training.
    """
    trials = sorted(
        finished_trials(study), key=lambda trial: -1.0 if trial.value is None else trial.value, reverse=True
    )
    keys = sorted({key for trial in trials for key in trial.params})
    with matplotlib.rc_context(STYLE):
        charts = [
            ("Best so far", _history(study)),
            ("By epoch; the best is coloured", _curves(trials)),
            *((key, _slice(trials, key)) for key in keys),
        ]
    page = template(Path(__file__).parent / "search.html.j2", setting=_setting).render(
        name=study.study_name,
        rows=[_row(trial, folder) for trial in trials],
        completed=sum(trial.state == TrialState.COMPLETE for trial in trials),
        keys=keys,
        fixed=fixed,
        command=command,
        charts=charts,
        importances=_importances(study),
        needed=IMPORTANCE_TRIALS,
    )
    path = folder / "search.html"
    write_text(path, page)
    return path


def _row(trial: FrozenTrial, folder: Path) -> dict[str, Any]:
    name = folder_name(trial)
    report = f"{name}/report.html" if (folder / name / "report.html").is_file() else None
    state = "stopped early" if trial.user_attrs.get(PRUNED) else trial.state.name.lower()
    return {"name": name, "report": report, "value": trial.value, "state": state, "params": trial.params}


def _setting(value: Any) -> str:
    """A value of a setting, with as many digits as tell it from others."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _axes(label: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.0, 2.6), layout="constrained")
    return figure, figure.add_subplot(xlabel=label, ylabel=SCORE)


def _history(study: optuna.Study) -> Markup:
    """Dice of each completed training in the order of their start, and the best until then."""
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    figure, axes = _axes("completed trainings")
    values = [float(trial.value or 0) for trial in trials]
    numbers = range(1, len(values) + 1)
    axes.scatter(numbers, values, color=MUTED, s=14)
    axes.step(numbers, [max(values[: end + 1]) for end in range(len(values))], where="post", color=ACCENT)
    whole_ticks(axes.xaxis)
    return svg(figure)


def _curves(trials: Sequence[FrozenTrial]) -> Markup:
    """Validation Dice of each training by epoch, counted from 1; the first of the trials is the best."""
    figure, axes = _axes("epoch")
    for trial in reversed(trials):
        colour, width = (ACCENT, 2.0) if trial is trials[0] else (MUTED, 0.8)
        epochs = sorted(trial.intermediate_values)
        dice = [trial.intermediate_values[epoch] for epoch in epochs]
        axes.plot([epoch + 1 for epoch in epochs], dice, color=colour, linewidth=width, marker="o", markersize=2.5)
    whole_ticks(axes.xaxis)
    return svg(figure)


def _slice(trials: Sequence[FrozenTrial], key: str) -> Markup:
    """Dice by the value of one setting."""
    shown = [trial for trial in trials if key in trial.params and trial.value is not None]
    figure, axes = _axes(key)
    distribution = shown[0].distributions[key] if shown else None
    if isinstance(distribution, CategoricalDistribution):
        names = [_setting(choice) for choice in distribution.choices]
        places = [names.index(_setting(trial.params[key])) for trial in shown]
        axes.set_xticks(range(len(names)), names)
    else:
        places = [trial.params[key] for trial in shown]
        if getattr(distribution, "log", False):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))  # the default writes powers as TeX
            axes.xaxis.set_minor_formatter(NullFormatter())
    colours = [ACCENT if trial is trials[0] else MUTED for trial in shown]
    axes.scatter(places, [trial.value for trial in shown], c=colours, s=18)
    return svg(figure)


def _importances(study: optuna.Study) -> dict[str, float]:
    """How much of the Dice each setting explains, largest first; empty with too few trainings."""
    if len(study.get_trials(states=(TrialState.COMPLETE,))) < IMPORTANCE_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is experimental
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
