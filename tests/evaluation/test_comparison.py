"""Two evaluations of the same cases, compared; the numbers against scipy's paired tests, worked out apart."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.conftest import Run

CASES = [f"case_{number}" for number in range(24)]


def write_evaluation(folder: Path, dice: np.ndarray) -> None:
    folder.mkdir(parents=True)
    scores = ("dice", "delivered_dice", "iou", "bce", "hd95_px")
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", *scores])
        writer.writerows([case, *[value] * len(scores)] for case, value in zip(CASES, dice, strict=True))
    (folder / "summary.json").write_text(json.dumps({"title": folder.name}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    dice = generator.uniform(0.8, 0.95, len(CASES))
    write_evaluation(tmp_path / "a", dice)
    write_evaluation(tmp_path / "b", dice + generator.normal(0.01, 0.01, len(CASES)))
    return tmp_path


def column(path: Path) -> np.ndarray:
    with (path / "cases.csv").open(newline="") as file:
        return np.array([float(row["dice"]) for row in csv.DictReader(file)])


def test_paired_differences_with_interval_and_p(folder: Path, run: Run) -> None:
    outcome = run("evaluate", "compare=[a,b]", "hydra.run.dir=out")
    assert outcome.code == 0, outcome.err
    with (folder / "out/comparison.csv").open(newline="") as file:
        rows = {(row["run"], row["score"]): row for row in csv.DictReader(file)}
    row, difference = rows["b", "dice"], column(folder / "b") - column(folder / "a")
    assert float(row["difference"]) == pytest.approx(difference.mean())
    assert float(row["p"]) == pytest.approx(stats.wilcoxon(column(folder / "b"), column(folder / "a")).pvalue)
    half = stats.sem(difference) * 1.96  # of the normal approximation, close to a bootstrap of 24 cases
    assert float(row["difference_low"]) == pytest.approx(difference.mean() - half, abs=half / 4)
    assert float(row["difference_high"]) == pytest.approx(difference.mean() + half, abs=half / 4)
    assert rows["a", "dice"]["difference"] == ""
    assert f"b minus the first: {difference.mean():+.4f}" in outcome.out
    page = (folder / "out/comparison.html").read_text(encoding="utf-8")
    assert f"A higher Dice than the first in {(difference > 0).sum()} cases" in page
    assert CASES[int(np.abs(difference).argmax())] in page
    assert "<svg" in page
    table = (folder / "out/comparison.tex").read_text()
    assert rf"\verb|b| & {column(folder / 'b').mean():.4f} &" in table


def test_the_interval_and_p_are_of_patients(folder: Path, run: Run) -> None:
    """Of twelve patients with two cases each: those of scipy for the twelve means."""
    for name in ("a", "b"):
        table = folder / name / "cases.csv"
        head, *lines = table.read_text().splitlines()
        lines = [f"folder,p{number // 2},{line}" for number, line in enumerate(lines)]
        table.write_text("\n".join([f"source,patient_id,{head}", *lines]))
    assert run("evaluate", "compare=[a,b]", "hydra.run.dir=out").code == 0
    with (folder / "out/comparison.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if (row["run"], row["score"]) == ("b", "dice"))
    means = (column(folder / "b") - column(folder / "a")).reshape(12, 2).mean(axis=1)
    interval = stats.bootstrap((means,), np.mean, n_resamples=50_000, method="percentile", rng=1).confidence_interval
    assert float(row["difference"]) == pytest.approx(means.mean())
    assert float(row["difference_low"]) == pytest.approx(interval.low, abs=3e-4)
    assert float(row["difference_high"]) == pytest.approx(interval.high, abs=3e-4)
    assert float(row["p"]) == pytest.approx(stats.wilcoxon(means).pvalue)


def test_a_distance_that_is_not_known_leaves_its_case_out(folder: Path, run: Run) -> None:
    for name in ("a", "b"):
        table = folder / name / "cases.csv"
        head, first, *lines = table.read_text().splitlines()
        table.write_text("\n".join([head, first.rpartition(",")[0] + ",", *lines]))
    assert run("evaluate", "compare=[a,b]", "hydra.run.dir=out").code == 0
    with (folder / "out/comparison.csv").open(newline="") as file:
        rows = {row["score"]: row for row in csv.DictReader(file) if row["run"] == "b"}
    assert (rows["dice"]["cases"], rows["hd95_px"]["cases"]) == ("24", "23")
    difference = (column(folder / "b") - column(folder / "a"))[1:]
    assert float(rows["hd95_px"]["difference"]) == pytest.approx(difference.mean())


def test_an_evaluation_does_not_differ_from_itself(folder: Path, run: Run) -> None:
    assert "a minus the first: +0.0000 (0.0000 to 0.0000), p 1" in run("evaluate", "compare=[a,a]").out


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("compare=[a]", "needs two or more evaluations"),
        ("compare=[a,nowhere]", "nowhere holds no evaluation (summary.json and cases.csv)"),
        ("compare=[a,c]", "a and c have no case in common"),
    ],
)
def test_what_cannot_be_compared(folder: Path, run: Run, argument: str, words: str) -> None:
    write_evaluation(folder / "c", np.full(len(CASES), 0.5))
    table = folder / "c/cases.csv"
    table.write_text(re.sub(r"case_(\d)", r"other_\1", table.read_text()))
    refused = run("evaluate", argument)
    assert refused.code == 2
    assert words in refused.err
    assert not (folder / "runs").exists()


def test_real_evaluations_are_compared(trained: Path, run: Run) -> None:
    assert run("evaluate", "checkpoint=runs/first", "augmentation.noise=0.2", "hydra.run.dir=runs/noisy").code == 0
    outcome = run("evaluate", "compare=[runs/first,runs/noisy]", "hydra.run.dir=runs/compared")
    assert outcome.code == 0, outcome.err
    assert "Dice of 5 cases" in outcome.out
