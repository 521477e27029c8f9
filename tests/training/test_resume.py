"""A training resumes with the settings, samples and end that it began with, or not at all."""

import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lung_seg.training.lightning_module import LungSegmenter
from tests.conftest import SMALL, Run, fork
from tests.test_pipeline import table
from tests.training.test_killed import at_call

LAST = Path("runs/first/checkpoints/last.ckpt")


@pytest.mark.parametrize(
    ("given", "differences"),
    [
        ("optimizer.lr=1e-7", ["optimizer.lr=1e-07, but it began with 0.01", "scheduler.max_lr=1e-07"]),
        ("~optimizer.weight_decay", ["no optimizer.weight_decay, but it began with 0.01"]),
        ("+optimizer.amsgrad=true", ["optimizer.amsgrad=true, but it began without it"]),
        ("scheduler=none", ["no scheduler.max_lr, but it began with 0.01", "scheduler._target_=torch.optim"]),
        (
            "augmentation=strong",
            ["augmentation.elastic=", "but it began with 0", "more", "augmentation.rotation_deg=10"],
        ),
        ("loss.dice_weight=1", ["loss.dice_weight=1.0, but it began with 0.0"]),
        ("patience_epochs=3", ["patience_epochs=3, but it began with 50"]),
        ("trainer.gradient_clip_val=1", ["trainer.gradient_clip_val=1.0, but it began with null"]),
        ("trainer.precision=16-mixed", ["trainer.precision=16-mixed, but it began with"]),
        ("data.synthetic_per_epoch=4", ["data.synthetic_per_epoch=4, but it began with 0"]),
        ("init=runs/first", ["init=runs/first, but it began with null"]),
    ],
)
def test_a_resume_with_other_settings_is_refused(given: str, differences: list[str], trained: Path, run: Run) -> None:
    before = LAST.read_bytes()
    outcome = run("train", "resume=runs/first", given)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 2
    assert all(difference in outcome.err for difference in differences), outcome.err
    assert "init=runs/first" in outcome.err
    assert LAST.read_bytes() == before


def remedy(error: str) -> list[str]:
    """The arguments of "Resume it with …, or start"."""
    (arguments,) = re.findall(r"Resume it with (.*), or start", error)
    return shlex.split(arguments)


def test_an_edit_of_the_settings_does_not_change_a_resumed_training(trained: Path, run: Run) -> None:
    experiment = Path("own/experiment/mine.yaml")
    experiment.parent.mkdir(parents=True)
    experiment.write_text("# @package _global_\naugmentation: {rotation_deg: 10}\nloss: {dice_weight: 0.5}\n")
    short = ("experiment=mine", "trainer.max_epochs=1", "hydra.run.dir=runs/edited")
    assert run("train", "--config-dir=own", *SMALL, *short).code == 0
    experiment.write_text("# @package _global_\naugmentation: {rotation_deg: 90}\n")

    refused = run("train", "--config-dir=own", "resume=runs/edited")

    assert refused.code == 2
    assert "augmentation.rotation_deg=90.0, but it began with 10.0" in refused.err
    assert "loss.dice_weight=0.0, but it began with 0.5" in refused.err
    assert run("train", "--config-dir=own", "resume=runs/edited", *remedy(refused.err)).code == 0


def test_a_training_of_an_earlier_version_resumes_with_a_remark(trained: Path, run: Run) -> None:
    checkpoint = torch.load(LAST, weights_only=True)
    del checkpoint["lung_seg"]["recipe"]
    checkpoint["planned_steps"] = checkpoint.pop("plan")["steps"]
    (loader,) = checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    loader["batches"] = loader.pop("samples") // 4
    torch.save(checkpoint, LAST)
    with Path("runs/first/.hydra/overrides.yaml").open("a") as overrides:
        overrides.write("- data.phantoms_beside=0\n")

    outcome = run("train", "resume=runs/first")

    assert outcome.code == 0, outcome.err
    assert "runs/first was begun by an earlier version" in outcome.out
    refused = run("train", "resume=runs/first", "seed=3")
    assert "seed=3, but it began with 0" in refused.err

    with Path("runs/first/.hydra/overrides.yaml").open("a") as overrides:
        overrides.write("- model.dropout=0.1\n")
    refused = run("train", "resume=runs/first")
    assert refused.code == 2
    assert "runs/first began with model.dropout=0.1, a key that this version of lung_seg no longer has" in refused.err


def test_other_cases_than_those_of_the_first_part_are_refused(trained: Path, run: Run) -> None:
    (trained / "raw/MontgomerySet/CXR_png/MCUCXR_0001_0.png").unlink()
    shutil.rmtree("data/segmentation")
    refused = run("train", "resume=runs/first")
    assert refused.code == 2
    assert "cases of" in refused.err
    assert "not those that the training began with" in refused.err


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[tuple[int, int]]]:
    """Epoch and manifest row of each sample trained on so far."""
    samples: list[tuple[int, int]] = []
    step = LungSegmenter.training_step

    def recorded(self: LungSegmenter, batch: Any) -> Any:
        samples.extend((self.current_epoch, row) for row in batch.row.tolist())
        return step(self, batch)

    monkeypatch.setattr(LungSegmenter, "training_step", recorded)
    return lambda: samples


@pytest.mark.parametrize(("first", "second"), [((4, 1), (2, 2)), ((2, 2), (4, 1))], ids=["smaller", "larger"])
def test_other_batches_after_a_stop_in_an_epoch_repeat_no_sample(
    first: tuple[int, int], second: tuple[int, int], trained: Path, run: Run, seen: Any
) -> None:
    """Batches of half the size, two of them for a step, and the other way round."""

    def batches(size: int, count: int) -> tuple[str, ...]:
        return f"data.batch_size={size}", f"trainer.accumulate_grad_batches={count}"

    at_call(5 * first[1], LungSegmenter, "training_step", partial(os.kill, os.getpid(), signal.SIGTERM))
    assert run("train", *SMALL, *batches(*first), "hydra.run.dir=runs/stopped").code == 130
    assert torch.load("runs/stopped/checkpoints/last.ckpt", weights_only=True)["global_step"] == 5
    outcome = run("train", "resume=runs/stopped", *batches(*second))
    assert outcome.code == 0, outcome.err
    assert torch.load("runs/stopped/checkpoints/last.ckpt", weights_only=True)["global_step"] == 9
    assert len(seen()) == len(set(seen())) == 3 * 12
    longer = run("train", "resume=runs/stopped", "data.batch_size=4", "trainer.accumulate_grad_batches=3")
    assert longer.code == 2
    assert "data.batch_size*devices*accumulate_grad_batches=12, but it began with 4" in longer.err


def test_a_training_that_stopped_early_stays_stopped(trained: Path, run: Run) -> None:
    still = ("optimizer.lr=1e-12", "model.normalization=group", "patience_epochs=1", "hydra.run.dir=runs/early")
    assert run("train", *SMALL, *still).code == 0
    rows = table(Path("runs/early/metrics.csv"))
    assert len(rows) == 2
    assert run("train", "resume=runs/early").code == 0
    assert table(Path("runs/early/metrics.csv")) == rows


def test_a_run_directory_is_kept_for_the_process_that_trains_in_it(trained: Path, run: Run) -> None:
    def train() -> None:
        at_call(5, LungSegmenter, "training_step", signal.pause)
        run("train", *SMALL, "data.workers=1", "hydra.run.dir=runs/busy")

    child = fork(train)
    for _ in range(600):
        if Path("runs/busy/checkpoints/last.ckpt").exists():
            break
        time.sleep(0.1)
    settings = Path("runs/busy/.hydra/overrides.yaml").read_bytes()
    for arguments in (["resume=runs/busy"], [*SMALL, "seed=7", "hydra.run.dir=runs/busy"]):
        refused = run("train", *arguments)
        assert refused.code == 2
        assert "runs/busy is in use by another process" in refused.err
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert Path("runs/busy/.hydra/overrides.yaml").read_bytes() == settings
    assert run("train", "resume=runs/busy").code == 0  # though the process that loaded its cases may still live


@pytest.fixture
def stopped(trained: Path, run: Run, seen: Any) -> dict[str, Any]:
    """The checkpoint of a training in runs/stopped that was stopped in its second epoch."""
    at_call(5, LungSegmenter, "training_step", partial(os.kill, os.getpid(), signal.SIGTERM))
    assert run("train", *SMALL, "hydra.run.dir=runs/stopped").code == 130
    checkpoint: dict[str, Any] = torch.load("runs/stopped/checkpoints/last.ckpt", weights_only=True)
    return checkpoint


def test_paths_in_a_checkpoint_are_not_removed(stopped: dict[str, Any], run: Run) -> None:
    """After a better epoch the file of the best one before is removed; ".." is the run directory."""
    states = [state for state in stopped["callbacks"].values() if "best_k_models" in state]
    assert len(states) == 2
    for state in states:
        state |= {name: "a/.." for name in state if name.endswith("_path")}
        state["best_k_models"] = {"a/..": torch.tensor(-1.0)}
    torch.save(stopped, "runs/stopped/checkpoints/last.ckpt")
    outcome = run("train", "resume=runs/stopped")
    assert outcome.code == 0, outcome.err
    assert {path.name for path in Path("runs/stopped/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert Path("runs/stopped/.hydra/overrides.yaml").is_file()


def test_a_checkpoint_of_other_parts_is_refused_by_name(stopped: dict[str, Any], run: Run) -> None:
    last = Path("runs/stopped/checkpoints/last.ckpt")
    changes = ({"loops": 3}, {"optimizer_states": [{"state": {}, "param_groups": []}]}, {"LungDataModule": {}})
    for change in changes:
        torch.save(stopped | change, last)
        outcome = run("train", "resume=runs/stopped")
        assert (outcome.code, outcome.err) == (2, f"{last} is no whole checkpoint of a training.\nStart a new one.\n")


def test_a_finished_training_without_its_table_is_scored_by_another_command(trained: Path, run: Run) -> None:
    for content in (None, "precious\n"):
        Path("runs/first/metrics.csv").unlink()
        if content:
            Path("runs/first/metrics.csv").write_text(content)
        outcome = run("train", "resume=runs/first")
        assert outcome.code == 2
        assert "runs/first/metrics.csv has no epoch of this training, which has ended." in outcome.err
        assert "python evaluate.py checkpoint=runs/first" in outcome.err
        Path("runs/first/metrics.csv").touch()


def test_that_command_names_a_place_outside_the_current_folder(trained: Path, run: Run) -> None:
    elsewhere = trained.parent / "else where"
    Path("data/segmentation").rename(elsewhere)
    Path("runs/first/metrics.csv").unlink()
    outcome = run("train", "resume=runs/first", f"data.prepared_dir={elsewhere}")
    _, script, *arguments = shlex.split(outcome.err.partition("only score: ")[2])
    assert script == "evaluate.py"
    assert run("evaluate", *arguments).code == 0


def test_values_in_a_checkpoint_command_no_terminal(trained: Path, run: Run) -> None:
    checkpoint = torch.load(LAST, weights_only=True)
    checkpoint["lung_seg"]["recipe"]["seed"] = "\x1b]0;title\x07\r"
    torch.save(checkpoint, LAST)
    outcome = run("train", "resume=runs/first")
    assert outcome.code == 2
    assert "it began with \\x1b]0;title\\x07\\r" in outcome.err
    assert "\x1b" not in outcome.err
