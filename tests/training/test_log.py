"""What a training leaves in a log: a line per epoch, and no progress bars; and its loggers."""

import contextlib
import csv
import json
import re
import sqlite3
import warnings
from pathlib import Path

import pytest

from tests.conftest import SMALL, Run


def test_a_log_has_a_line_per_epoch_and_no_bar(trained: Path, run: Run) -> None:
    bars = [argument for argument in SMALL if "progress_bar" not in argument]
    outcome = run("train", *bars, "hydra.run.dir=runs/logged", "logger=csv")
    assert outcome.code == 0, outcome.err
    assert "\r" not in outcome.out + outcome.err
    lines = [line for line in outcome.out.splitlines() if line.startswith("Epoch ")]
    with (trained / "runs/logged/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(lines) == len(rows) == 3
    best = 0.0
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), 1):
        assert line.startswith(f"Epoch {number}/3: loss {float(row['train/loss']):.4f}, ")
        dice = float(row["validation/dice"])
        assert f"validation Dice {dice:.4f} (best " in line
        assert ("best so far" in line) == (dice > best)
        best = max(best, dice)
        assert ("left" in line) == (number < 3)
    number = lines.index(next(line for line in reversed(lines) if "so far" in line)) + 1
    assert re.search(rf"Best Dice on 3 validation cases: {best:.4f} \(epoch {number}\)", outcome.out)
    (table,) = (trained / "runs/logged/csv").rglob("metrics.csv")
    assert "validation/dice" in table.read_text()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_named_before_anything_is_prepared(
    workplace: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("lung_seg.training.loggers.find_spec", lambda _: None)
    refused = run("train", *SMALL, f"logger={name}")
    assert refused.code == 2
    assert f"logger={name} needs {name}, which is not installed." in refused.err
    assert f"pip install {name}" in refused.err
    assert not (workplace / "data").exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_curves_are_logged_to_it(name: str, trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of these packages
        outcome = run("train", *SMALL, "hydra.run.dir=runs/logged", f"logger={name}")
    assert outcome.code == 0, outcome.err
    if name == "wandb":
        assert list((trained / "runs/logged/wandb").glob("offline-run-*/*.wandb"))
        return
    with contextlib.closing(sqlite3.connect(trained / "mlflow.db")) as database:
        logged = dict(database.execute("SELECT key, value FROM latest_metrics"))
    scores = json.loads((trained / "runs/logged/summary.json").read_text(encoding="utf-8"))
    assert logged["result/test_dice"] == pytest.approx(scores["scores"]["all"]["dice"]["mean"])
    assert "validation/dice" in logged


@pytest.mark.parametrize(
    ("name", "logger", "remedy"), [("wandb", "WandbLogger", "wandb login"), ("mlflow", "MLFlowLogger", "mlflow.db")]
)
def test_a_logger_that_cannot_start_is_named_before_anything_is_prepared(
    name: str, logger: str, remedy: str, workplace: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("No API key configured.\nMore lines")

    monkeypatch.setattr("lung_seg.training.loggers.find_spec", lambda _: True)
    monkeypatch.setattr(f"lung_seg.training.loggers.{logger}", fail)
    refused = run("train", *SMALL, f"logger={name}")
    assert refused.code == 2
    first, second = refused.err.splitlines()
    assert first == f"logger={name} cannot start: No API key configured."
    assert remedy in second
    assert not (workplace / "data").exists()
