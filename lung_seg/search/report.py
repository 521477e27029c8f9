"""The results of a search: best.yaml with its best settings, and search.html about all trainings."""

import warnings
from pathlib import Path

import optuna
from markupsafe import Markup
from omegaconf import OmegaConf
from optuna import visualization
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from lung_seg.files import write_text
from lung_seg.search.study import finished_trials, folder_name
from lung_seg.templates import template

SCORE = "validation Dice"


def write_best(folder: Path, best: FrozenTrial, command: str) -> Path:
    """Write the best training of a search, and the command that repeats it, to best.yaml."""
    content = {"training": folder_name(best), "validation_dice": best.value, "command": command}
    path = folder / "best.yaml"
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(content)))
    return path


def write_page(study: optuna.Study, folder: Path) -> Path:
    """Write search.html, which opens offline: a table of all trainings, and Optuna's plots of them."""
    trials = finished_trials(study)
    trials.sort(key=lambda trial: -1.0 if trial.value is None else trial.value, reverse=True)
    keys = sorted({key for trial in trials for key in trial.params})
    page = template(Path(__file__).parent / "search.html.j2")
    path = folder / "search.html"
    write_text(path, page.render(name=study.study_name, trials=trials, keys=keys, plots=_plots(study)))
    return path


def _plots(study: optuna.Study) -> list[Markup]:
    """Optuna's plots; the first contains plotly's JavaScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental plots, and plots of too few trainings
        figures = [
            visualization.plot_optimization_history(study, target_name=SCORE),
            visualization.plot_intermediate_values(study),
            visualization.plot_parallel_coordinate(study, target_name=SCORE),
            visualization.plot_slice(study, target_name=SCORE),
        ]
        if len(study.get_trials(states=(TrialState.COMPLETE,))) > 2:  # fewer have no importances
            evaluator = PedAnovaImportanceEvaluator()
            figures.insert(2, visualization.plot_param_importances(study, evaluator=evaluator, target_name=SCORE))
    pages = [figure.to_html(full_html=False, include_plotlyjs=number == 0) for number, figure in enumerate(figures)]
    return [Markup(page) for page in pages]  # noqa: S704 - plotly escapes its text
