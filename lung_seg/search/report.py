"""The results of a search: its best settings as an experiment, and search.html about all trainings."""

import warnings
from pathlib import Path

import optuna
from markupsafe import Markup
from omegaconf import OmegaConf
from optuna import visualization
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState

from lung_seg.environment import CONF_DIR
from lung_seg.files import write_text
from lung_seg.search.study import finished_trials
from lung_seg.templates import template

SCORE = "validation Dice"


def write_best(name: str, overrides: list[str]) -> Path:
    """Write overrides as ``conf/experiment/<name>_best.yaml``."""
    groups = dict(line.split("=", 1) for line in overrides if (CONF_DIR / line.partition("=")[0]).is_dir())
    values = [line.removeprefix("+") for line in overrides if line.partition("=")[0] not in groups]
    base = [groups.pop("experiment")] if "experiment" in groups else []
    defaults = [*base, *({f"override /{group}": choice} for group, choice in groups.items())]
    content = OmegaConf.merge({"defaults": defaults}, OmegaConf.from_dotlist(values))
    path = CONF_DIR / "experiment" / f"{name}_best.yaml"
    write_text(path, f"# @package _global_\n# The best settings of search.name={name}.\n{OmegaConf.to_yaml(content)}")
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
