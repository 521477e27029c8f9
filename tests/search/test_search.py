"""A search resumes, prunes trainings, and leaves its best settings and a page."""

import json
import os
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

import train
from lung_seg.config import SearchConfig
from lung_seg.environment import CONF_DIR
from lung_seg.search.sampler import TrialSeededSampler
from lung_seg.search.study import open_study
from lung_seg.training.lightning_module import LungSegmenter
from tests.conftest import SMALL, Run, fork
from tests.test_pipeline import table
from tests.training.test_killed import at_call, train_and_die

FIXED = [argument for argument in SMALL if not argument.startswith("optimizer.lr")]  # which is searched
GRID = ("search=own", "search.name=mine", "search.sampler=grid", "data.batch_size=4,6", "model.depth=choice(1,2)")
FOLDER = Path("runs/search/mine")


def trials(name: str = "mine") -> list[optuna.trial.FrozenTrial]:
    return open_study(SearchConfig(name=name), Path("runs/search") / name).trials


def test_the_same_command_resumes_a_search_that_was_killed(trained: Path, run: Run) -> None:
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
    assert "search.trial" not in outcome.out.partition("Jobs by validation Dice")[2]
    page = (FOLDER / "search.html").read_text()
    assert page.count("complete</td>") == 4  # the interrupted one is left out
    assert not re.search(r'<script|(?:src|href)="(?:https?:)?//|url\((?!#)', page)
    assert len(page) < 1_000_000
    links = re.findall(r'href="([^"#]+)"', page)
    best_first = sorted(trials(), key=lambda trial: trial.value or -1, reverse=True)[:4]
    assert sorted(links) == [f"{number}/report.html" for number in range(4)]
    assert links[0] == f"{best_first[0].user_attrs.get('folder', best_first[0].number)}/report.html"
    assert all((FOLDER / link).is_file() for link in links)
    assert "python train.py data=montgomery" in page
    assert "data.test_cases=5" in page
    assert "from 12 completed trainings on" in page
    assert run("train", *command, "search.pruning=false").out.count("Trained") == 0


def test_the_trainings_of_a_search_belong_to_it_and_the_best_can_be_repeated(trained: Path, run: Run) -> None:
    shipped = {path: path.read_bytes() for path in CONF_DIR.rglob("*.yaml")}
    search = ("search=own", "search.name=mine", "search.trials=2", "seed=3", "trainer.max_epochs=1")
    ranges = ("optimizer.lr=interval(5e-3,2e-2)", "data.batch_size=interval(2,6)", "model.depth=tag(log,interval(1,3))")
    outcome = run("train", *FIXED, *search, *ranges, f"data.raw_dir={trained}/raw")
    assert outcome.code == 0, outcome.err
    for trial in trials():
        assert [type(trial.params[key]) for key in ("data.batch_size", "model.depth")] == [int, int]
    assert "mathdefault" not in (FOLDER / "search.html").read_text()  # TeX of a logarithmic axis
    best = OmegaConf.load(FOLDER / "best.yaml")
    assert best.command in outcome.out
    assert best.validation_dice == max(trial.value for trial in trials())
    assert {path: path.read_bytes() for path in CONF_DIR.rglob("*.yaml")} == shipped
    repeated = run("train", *shlex.split(best.command)[2:], "hydra.run.dir=runs/repeated")
    assert repeated.code == 0, repeated.err
    again = json.loads(Path("runs/repeated/summary.json").read_text())
    assert again["training"]["validation_dice"] == best.validation_dice
    # By hand a training of a search resumes as any other, without the search.
    by_hand = run("train", f"resume={FOLDER / best.training}")
    assert by_hand.code == 0, by_hand.err
    assert len(trials()) == 2

    # A study that is gone does not know them: another search must not take them for its own.
    before = (FOLDER / "0/summary.json").read_bytes()
    (FOLDER / "search.db").unlink()
    other = run("train", *FIXED, *search, "optimizer.lr=interval(1e-6,2e-6)")
    assert other.code == 2
    assert "holds trainings that its study does not know, e.g. 0" in other.err
    assert "search.name=<name>" in other.err
    assert len(other.err.splitlines()) == 2
    assert (FOLDER / "0/summary.json").read_bytes() == before


def drawn_by_processes(count: int, seed: int, use_tpe: bool) -> list[dict[str, Any]]:
    """The values that several processes draw in turn, each of which began before any of them had drawn."""
    space = {"optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True), "data.batch_size": IntDistribution(2, 20_000)}
    study = optuna.create_study()
    samplers = [TrialSeededSampler(seed, use_tpe) for _ in range(count)]
    drawn = []
    for number in range(12 * count):  # TPE draws the first ten at random
        study.sampler = samplers[number % count]
        trial = study.ask(space)
        drawn.append(trial.params)
        study.tell(trial, trial.params["optimizer.lr"])
    return drawn


def test_two_commands_that_begin_a_new_search_together_share_it(trained: Path) -> None:
    search = ["train.py", *FIXED, "search=lr", "search.trials=2", "trainer.max_epochs=1"]

    def begin() -> None:
        sys.argv = search
        train.main()

    processes = [fork(begin) for _ in range(2)]
    assert [os.waitpid(process, 0)[1] for process in processes] == [0, 0]
    assert [trial.state for trial in trials("lr")] == [TrialState.COMPLETE] * 2


@pytest.mark.parametrize("use_tpe", [True, False], ids=["tpe", "random"])
def test_processes_that_begin_a_search_together_draw_other_values(use_tpe: bool) -> None:
    alone = drawn_by_processes(1, 0, use_tpe)
    assert drawn_by_processes(1, 0, use_tpe) == alone, "one process repeats its values"
    assert drawn_by_processes(1, 1, use_tpe) != alone
    together = drawn_by_processes(2, 0, use_tpe)
    for key in together[0]:
        assert len({params[key] for params in together}) > 0.9 * len(together)
    ranks = [sorted(params[key] for params in together).index(params[key]) for params in together for key in params]
    assert ranks[::2] != ranks[1::2], "the keys of a trial are drawn apart"


def test_a_process_that_died_before_its_training_started_left_no_trial_that_counts(trained: Path, run: Run) -> None:
    study = open_study(SearchConfig(name="mine"), FOLDER)
    study.enqueue_trial({"data.batch_size": 4})
    study.ask({"data.batch_size": CategoricalDistribution([4])})  # as by a process that was killed then

    grid = ("search=own", "search.name=mine", "search.sampler=grid", "data.batch_size=choice(4)")
    outcome = run("train", *SMALL, *grid, "trainer.max_epochs=1")

    assert outcome.code == 0, outcome.err
    assert [trial.state for trial in trials()] == [TrialState.RUNNING, TrialState.COMPLETE]


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
        (["search=own", "data.batch_size=interval(2,4.5)"], ["data.batch_size is a whole number", "whole ends"]),
        (["search=own", "optimizer.lr=tag(log,interval(0,1))"], ["a logarithmic interval begins above 0"]),
        (["search=own", "optimizer.lr=interval(1e-2,1e-3)"], ["interval(1e-2,1e-3)", "ends above its start"]),
        (["search=own", "search.name=a/b", "seed=1,2"], ["search.name=a/b must be letters"]),
        (["search=lr", "search.storage=sqlite:////no/such/folder/x.db"], ["search.storage=", "cannot be reached"]),
        (["search=lr", "search.storage='sqlite:///:memory:'"], ["sqlite:///:memory: is in the memory", "search.db"]),
        (["search=lr", "search.storage='sqlite:///'"], ["search.storage=sqlite:/// is in the memory"]),
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
    sizes, depths = CategoricalDistribution([4, 8]), IntDistribution(1, 3)
    ranges = {"data.batch_size": str(sizes), "model.depth": str(depths)}
    study.set_user_attr("begun", json.dumps({"fixed": ["data=shenzhen"], "ranges": ranges}))
    outcome = run("train", *FIXED, "search=lr")
    assert outcome.code == 2
    before, now = outcome.err.splitlines()[0].split(", now ")
    assert before.endswith(
        "begun with other settings: data.batch_size=choice(4,8), data=shenzhen, model.depth=interval(1,3)"
    )
    assert "optimizer.lr=tag(log,interval(0.0001,0.03))" in now
    assert "search.name=<name>" in outcome.err
