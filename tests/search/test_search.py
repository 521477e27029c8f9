"""A search resumes, prunes trainings, and leaves its best settings and a page."""

import shutil
from functools import partial
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_dir
from optuna.trial import TrialState

from lung_seg.cli.schema import register, settings
from lung_seg.config import SearchConfig, TrainConfig
from lung_seg.search import report
from lung_seg.search.study import open_study
from lung_seg.training.lightning_module import LungSegmenter
from tests.conftest import SMALL, Run
from tests.test_pipeline import table
from tests.training.test_killed import at_call, train_and_die

FIXED = [argument for argument in SMALL if not argument.startswith("optimizer.lr")]  # which is searched
GRID = ("search=own", "search.name=mine", "search.sampler=grid", "data.batch_size=4,6", "model.depth=choice(1,2)")
FOLDER = Path("runs/search/mine")


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ for the best settings."""
    folder = tmp_path / "conf"
    shutil.copytree(report.CONF_DIR, folder)
    monkeypatch.setattr(report, "CONF_DIR", folder)
    return folder


def trials(name: str = "mine") -> list[optuna.trial.FrozenTrial]:
    return open_study(SearchConfig(name=name), Path("runs/search") / name).trials


def test_the_same_command_resumes_a_search_that_was_killed(trained: Path, run: Run, conf: Path) -> None:
    command = ("--multirun", *SMALL, *GRID, "trainer.max_epochs=2")
    assert train_and_die(partial(at_call, 10, LungSegmenter, "training_step"), *command)
    finished_before = (FOLDER / "0/summary.json").read_bytes()
    assert [trial.state for trial in trials()] == [TrialState.COMPLETE, TrialState.RUNNING, *[TrialState.WAITING] * 2]

    outcome = run("train", *command)

    assert outcome.code == 0, outcome.err
    states = [trial.state for trial in trials()]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, *[TrialState.COMPLETE] * 3]
    assert trials()[4].params == trials()[1].params
    assert [len(table(FOLDER / f"{number}/metrics.csv")) for number in range(4)] == [2, 2, 2, 2]
    assert (FOLDER / "0/summary.json").read_bytes() == finished_before
    assert len(table(FOLDER / "sweep.csv")) == 4
    page = (FOLDER / "search.html").read_text()
    assert page.count("complete</td>") == 4  # the interrupted one is left out
    assert "http" not in page.partition("<script")[0]
    assert run("train", *command, "search.pruning=false").out.count("Trained") == 0

    register()
    best = max(table(FOLDER / "sweep.csv"), key=lambda job: float(job["validation_dice"]))
    with initialize_config_dir(str(conf), version_base="1.3"):
        repeated = settings(compose("train", ["experiment=mine_best"]), TrainConfig)
    assert f"data.batch_size={repeated.data.batch_size} model.depth={repeated.model.depth}" in best["overrides"]
    assert (repeated.data.source, repeated.model.base_channels, repeated.trainer.max_epochs) == ("montgomery", 4, 2)


def test_the_best_settings_of_an_experiment_are_an_experiment(conf: Path) -> None:
    overrides = ["experiment=release", "trainer=cpu", "+optimizer.amsgrad=true", "data.raw_dir='my films'", "seed=3"]
    assert report.write_best("mine", overrides) == conf / "experiment/mine_best.yaml"
    register()
    with initialize_config_dir(str(conf), version_base="1.3"):
        repeated, by_hand = (
            settings(compose("train", words), TrainConfig) for words in (["experiment=mine_best"], overrides)
        )
    assert repeated == by_hand


def test_a_training_worse_than_the_others_is_pruned(trained: Path, run: Run) -> None:
    study = open_study(SearchConfig(name="lr"), Path("runs/search/lr"))
    for _ in range(4):
        trial = study.ask()
        for epoch in range(8):
            trial.report(0.99, epoch)
        study.tell(trial, 0.99)

    outcome = run("train", *FIXED, "search=lr", "search.trials=5", "trainer.max_epochs=8")

    assert outcome.code == 0, outcome.err
    assert [trial.state for trial in trials("lr")][4:] == [TrialState.PRUNED]
    assert len(table(Path("runs/search/lr/4/metrics.csv"))) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search=own", "search.name=mine"], ["search.name=mine varies nothing", "Give a key a range"]),
        (["search=own", "model.dept=interval(1,2)"], ["model.dept is no key", "Did you mean model.depth?"]),
        (["search=own", "search.sampler=grid", "optimizer.lr=interval(1,2)"], ["optimizer.lr is a continuous range"]),
        (["search=own", "search.name=a/b", "seed=1,2"], ["search.name=a/b must be letters"]),
        (["search=lr", "search.storage=sqlite:////no/such/folder/x.db"], ["search.storage=", "cannot be reached"]),
        (["search=lr", "search.storage=nonsense"], ["search.storage=nonsense cannot be reached", "Give an SQL URL"]),
    ],
    ids=lambda value: value[-1] if len(value) == 2 else None,
)
def test_a_search_that_cannot_be_is_refused(arguments: list[str], words: list[str], workplace: Path, run: Run) -> None:
    outcome = run("train", *FIXED, *arguments)
    assert outcome.code == 2, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 2
    assert not list(workplace.glob("runs/search/*/*/summary.json"))


def test_a_search_does_not_mix_trainings_of_other_settings(workplace: Path, run: Run) -> None:
    study = open_study(SearchConfig(name="lr"), Path("runs/search/lr"))
    study.set_user_attr("begun", '{"fixed": ["data=shenzhen"], "ranges": {}}')
    outcome = run("train", *FIXED, "search=lr")
    assert outcome.code == 2
    assert "was begun with other settings" in outcome.err
    assert "search.name=<name>" in outcome.err
