"""A training killed at any moment goes on as if nothing had happened, and leaves no half a file."""

import importlib
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
import torch

from lung_seg.training import epoch_table
from lung_seg.training.lightning_module import LungSegmenter
from tests.conftest import SMALL, Run, fork
from tests.test_pipeline import events, table

PATIENCE_S = 120
KILLS = int(os.environ.get("LUNG_SEG_KILLS", "2"))
Moment = Callable[[], None]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number: int, owner: Any, name: str, action: Moment = die) -> None:
    """From now on the function does something else at its ``number``-th call."""
    original, calls = getattr(owner, name), [0]

    @wraps(original)  # Lightning looks at a step's signature
    def counted(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            action()
        return original(*arguments, **named)

    setattr(owner, name, counted)


def at_checkpoint(number: int) -> None:
    """Die when half of a checkpoint is written; best and last are written in turn, best only if it is."""
    write_bytes, calls = Path.write_bytes, [0]

    def half(path: Path, content: Any) -> int:
        calls[0] += path.suffix == ".ckpt"
        if calls[0] == number:
            write_bytes(path, content[: len(content) // 2])
            die()
        return write_bytes(path, content)

    Path.write_bytes = half  # type: ignore[assignment, method-assign]


# SMALL has three epochs of three steps, and validates after each. There is nothing to resume before a checkpoint is.
EVERY_STEP = ("checkpoint_every_n_steps=1", "data.workers=1")
MOMENTS: dict[str, tuple[Moment, bool, tuple[str, ...]]] = {
    "writing the first last": (partial(at_checkpoint, 2), False, ()),
    "in an epoch": (partial(at_call, 5, LungSegmenter, "training_step"), True, ()),
    "in an epoch, each step being saved": (partial(at_call, 6, LungSegmenter, "training_step"), True, EVERY_STEP),
    "in a validation": (partial(at_call, 2, LungSegmenter, "validation_step"), True, ()),
    "writing the table": (partial(at_call, 2, epoch_table, "write_csv"), True, ()),
    "writing a checkpoint": (partial(at_checkpoint, 3), True, ()),
}


def train_and_die(moment: Moment, *arguments: str) -> bool:
    """Run train.py in a process of its own, and tell whether it was killed."""

    def train() -> None:
        moment()
        sys.argv = ["train.py", *arguments]
        importlib.import_module("train").main()

    child = fork(train)
    for _ in range(10 * PATIENCE_S):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            time.sleep(1 - time.time() % 1)  # TensorBoard's files are read in the order of their names: whole seconds
            code = os.waitstatus_to_exitcode(status)
            assert code in (0, -signal.SIGKILL)
            return code != 0
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the training hangs")


def assert_as_if_never_stopped(whole: Path, resumed: Path) -> None:
    for name in ("best", "last"):
        ours, theirs = (torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True) for run in (whole, resumed))
        assert ours["state_dict"].keys() == theirs["state_dict"].keys()
        assert all(torch.equal(weight, theirs["state_dict"][name]) for name, weight in ours["state_dict"].items())
        moments, others = (state["optimizer_states"][0]["state"] for state in (ours, theirs))
        assert all(torch.equal(moments[i]["exp_avg_sq"], others[i]["exp_avg_sq"]) for i in moments)
        assert ours["lr_schedulers"] == theirs["lr_schedulers"]
    logs = [events(run) for run in (whole, resumed)]
    for tag in ("loss", "train/dice", "validation/dice", "train/learning_rate"):
        drawn = [[(point.step, point.value) for point in log.Scalars(tag)] for log in logs]
        assert drawn[0] == drawn[1], f"the curve {tag}: none twice, none missing"
    panels = [
        [(panel.step, panel.encoded_image_string) for panel in log.Images(log.Tags()["images"][0])] for log in logs
    ]
    assert panels[0] == panels[1]
    scores = ("epoch", "step", "train/loss", "train/dice", "validation/dice")
    rows = [[[row[name] for name in scores] for row in table(run / "metrics.csv")] for run in (whole, resumed)]
    assert rows[0] == rows[1]
    assert table(whole / "cases.csv") == table(resumed / "cases.csv")
    assert sorted(path.name for path in (resumed / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize("starter", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_command_that_is_started_again_goes_on_by_itself(
    starter: str, trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*SMALL, "hydra.run.dir=runs/killed")
    assert train_and_die(partial(at_call, 5, LungSegmenter, "training_step"), *command)
    assert run("train", *command).code == 2
    monkeypatch.setenv(starter, "1")
    assert run("train", *command).code == 0
    assert_as_if_never_stopped(trained / "runs/first", trained / "runs/killed")


@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_training_goes_on_as_if_it_had_never_stopped(name: str, trained: Path, run: Run) -> None:
    moment, resumable, saving = MOMENTS[name]
    assert train_and_die(moment, *SMALL, *saving, "hydra.run.dir=runs/killed")

    again = ["resume=runs/killed"] if resumable else [*SMALL, "hydra.run.dir=runs/killed"]
    if not resumable:
        assert "holds no training to resume" in run("train", "resume=runs/killed").err
    outcome = run("train", *again)

    assert outcome.code == 0, outcome.err
    assert_as_if_never_stopped(trained / "runs/first", trained / "runs/killed")


def test_a_training_killed_again_and_again_at_random_moments_ends_as_if_it_had_never_stopped(
    trained: Path, run: Run
) -> None:
    """LUNG_SEG_KILLS=20 kills it twenty times."""
    rng = random.Random(0)
    saved = Path("runs/killed/checkpoints/last.ckpt")

    def arguments() -> list[str]:
        return ["resume=runs/killed"] if saved.is_file() else [*SMALL, *EVERY_STEP, "hydra.run.dir=runs/killed"]

    killed = 0
    while killed < KILLS:
        if train_and_die(threading.Timer(rng.uniform(0.05, 0.8), die).start, *arguments()):
            killed += 1
        else:  # it came to its end before: the next one anew
            assert_as_if_never_stopped(trained / "runs/first", trained / "runs/killed")
            shutil.rmtree("runs/killed")
    assert run("train", *arguments()).code == 0
    assert_as_if_never_stopped(trained / "runs/first", trained / "runs/killed")


@pytest.mark.parametrize(
    ("name", "during", "steps_saved"), [("SIGTERM", "training_step", 5), ("SIGUSR1", "validation_step", 3)]
)
def test_a_training_asked_to_end_saves_and_says_how_to_go_on(
    name: str, during: str, steps_saved: int, trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As clusters and shutdowns ask: within an epoch it ends after the step, and else after the epoch."""
    monkeypatch.setattr(LungSegmenter, during, getattr(LungSegmenter, during))  # put back afterwards
    at_call(
        5 if during == "training_step" else 1,
        LungSegmenter,
        during,
        partial(os.kill, os.getpid(), getattr(signal, name)),
    )
    stopped = run("train", *SMALL, "hydra.run.dir=runs/stopped")

    assert stopped.code == 130
    assert "resume=runs/stopped" in stopped.err
    assert torch.load("runs/stopped/checkpoints/last.ckpt", weights_only=True)["global_step"] == steps_saved
    assert run("train", "resume=runs/stopped").code == 0
    assert_as_if_never_stopped(trained / "runs/first", trained / "runs/stopped")


def test_a_checkpoint_is_written_on_the_disk_it_belongs_to(trained: Path, run: Run) -> None:
    """By way of the system's temporary folder, often another disk, it would be copied to its place bit by bit."""
    opened: list[Path] = []
    write_bytes = Path.write_bytes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", lambda path, content: opened.append(path) or write_bytes(path, content))
        assert run("train", *SMALL, "trainer.max_epochs=1", "hydra.run.dir=runs/watched").code == 0

    written = {path.parent for path in opened if path.suffix == ".ckpt"}
    assert written == {Path("runs/watched/checkpoints")} or written == {trained / "runs/watched/checkpoints"}
