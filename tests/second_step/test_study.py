"""What is found within a source and at another one, and which labels are refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lung_seg.errors import UserError
from lung_seg.second_step.analysis import summarise_trial
from lung_seg.second_step.features import CONTROLS, LUNGS, OUTSIDE, Features
from lung_seg.second_step.fitting import fit, on_all_cores, patient_folds
from lung_seg.second_step.report import verdict
from lung_seg.second_step.study import labelled, run_study
from tests.second_step.radiographs import drawn_features, few_fits, row


@pytest.fixture(autouse=True)
def _few_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    few_fits(monkeypatch)


def trials(signal: dict[str, float]) -> dict[str, dict[str, Any]]:
    features, labels = drawn_features(signal)
    return {trial.name: summarise_trial(trial, features) for trial in run_study(features, labels, seeds=1).trials}


def test_a_sign_in_the_lungs_is_found_within_and_between_sources() -> None:
    found = trials({LUNGS: 4.0})
    within_and_between = {"within one", "within two", "one → two", "two → one"}
    assert set(found) == within_and_between | {"all sources → one", "all sources → two"}
    for trial in found.values():
        assert trial["scores"][LUNGS]["auc"] > 0.9
        assert trial["controls_as_good"] == []
        assert "comes from inside the lungs" in verdict(trial, "tuberculosis")


def test_a_result_whose_control_is_as_good_is_called_worthless() -> None:
    for trial in trials({LUNGS: 4.0, OUTSIDE: 4.0}).values():
        assert trial["controls_as_good"] == [OUTSIDE]
        assert f"is worthless as evidence of tuberculosis in the lungs: the control “{OUTSIDE}”" in verdict(
            trial, "tuberculosis"
        )


def test_without_a_sign_nothing_is_found_but_the_source_is() -> None:
    features, labels = drawn_features({})
    features.values[LUNGS][60:, 1] += 4  # of the second source
    study = run_study(features, labels, seeds=1)
    found = [summarise_trial(trial, features) for trial in study.trials]
    assert np.mean([trial["scores"][LUNGS]["auc"] for trial in found]) == pytest.approx(0.5, abs=0.12)
    assert all("no sign of gout was found" in verdict(trial, "gout") for trial in found)
    (source,) = study.source_trials
    assert source.name == "one or two"
    assert summarise_trial(source, features)["scores"][LUNGS]["auc"] > 0.9


def test_probabilities_worse_than_a_coin_are_reported() -> None:
    score = {"auc": 0.9, "low": 0.8, "high": 0.95, "brier": 0.3}
    trial = {"scores": {LUNGS: score, OUTSIDE: score | {"auc": 0.6}}, "controls_as_good": []}
    assert verdict(trial, "gout").endswith(
        "reaches 0.600. Its probabilities do not carry over, only the order of the radiographs."
    )


def test_no_patient_is_fitted_on_and_judged() -> None:
    patients = [str(number // 3) for number in range(60)]
    for fitted, judged in patient_folds(np.arange(60) // 3 % 2, patients, seed=0):
        assert not {patients[n] for n in fitted} & {patients[n] for n in judged}


def test_fitting_on_several_cores_gives_what_one_core_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    patients, labels = [str(number) for number in range(20)], np.arange(20) % 2
    tasks = [(np.random.default_rng(seed).normal(size=(20, 3)), [3], labels, patients, seed) for seed in range(3)]
    monkeypatch.undo()  # processes of their own do not know of fewer fits
    monkeypatch.setattr("lung_seg.second_step.fitting.usable_cores", lambda: 2)
    for classifier, task in zip(on_all_cores(fit, tasks), tasks, strict=True):
        np.testing.assert_allclose(classifier.weights, fit(*task).weights, rtol=1e-9)


def test_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(600, 3)), rng.integers(0, 2, 600)
    values[:, 0] += labels
    classifier = fit(values[:300], [3], labels[:300], [str(number) for number in range(300)], seed=0)
    probability = 1 / (1 + np.exp(-classifier.logits(values[300:])))
    upper, lower = (
        labels[300:][chosen].mean() - probability[chosen].mean() for chosen in (probability > 0.5, probability <= 0.5)
    )
    assert (upper, lower) == (pytest.approx(0, abs=0.1), pytest.approx(0, abs=0.1))


def relabelled(labels: list[int | None]) -> Features:
    rows = [row(number, label=label) for number, label in enumerate(labels)]
    return Features(rows, {kind: np.zeros((len(rows), 4)) for kind in (LUNGS, *CONTROLS)}, [2, 2], [])


@pytest.mark.parametrize(
    ("labels", "column", "message"),
    [
        ([0] * 30, "tb_label", "one has 0 patients with tb_label=1 and 30 with tb_label=0; cross-validation needs 10"),
        ([0, 1] * 5, "tb_label", "one has 5 patients with tb_label=1 and 5 with tb_label=0"),
        ([None] * 30, "tb_label", "No radiograph of this set has a label in the column tb_label."),
        ([0, 1, 2] * 10, "tb_label", "second_step.label=tb_label holds 2."),
        ([0, 1] * 15, "sex", "second_step.label=sex holds F."),
        ([0, 1] * 15, "age_years", "second_step.label=age_years holds 40."),
        ([0, 1] * 15, "nodule", "second_step.label=nodule is no column of manifest.csv."),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused_in_two_lines(
    labels: list[int | None], column: str, message: str
) -> None:
    with pytest.raises(UserError) as refused:
        labelled(relabelled(labels), column)
    first, second = str(refused.value).splitlines()
    assert first.startswith(message)
    assert second


def test_several_radiographs_of_a_patient_are_one_patient() -> None:
    features = relabelled([0, 1] * 15)
    rows = [
        dataclasses.replace(radiograph, patient_id=str(number % 6)) for number, radiograph in enumerate(features.rows)
    ]
    with pytest.raises(UserError, match="one has 3 patients with tb_label=1"):
        labelled(dataclasses.replace(features, rows=rows), "tb_label")


def write_table(path: Path, *lines: str) -> Path:
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")  # as a spreadsheet writes it
    return path


def test_a_table_joins_labels_by_case_or_file_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    features = relabelled([None] * 32)
    table = write_table(
        tmp_path / "labels.csv",
        *("film,note,gout", "elsewhere.png,not in the set,1"),
        *(f"one{number}{'.png' if number % 3 else ''},x,{number % 2}" for number in range(30)),
        "one30.png,unknown,",
    )
    found, labels = labelled(features, "gout", table)
    assert [radiograph.case_id for radiograph in found.rows] == [f"one{number}" for number in range(30)]
    assert labels.tolist() == [number % 2 for number in range(30)]
    assert "has no label of 1 of the 32 radiographs" in caplog.text  # one31: no line; one30 is known to be unknown


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "labels.csv has the columns ."),
        (["film,nodule", "one1,1"], "labels.csv has the columns film, nodule."),
        (["name,gout", "one1,1"], "labels.csv has the columns name, gout."),
        (["film,gout", "a,1", "b,0"], "labels.csv names none of the 30 radiographs of this set."),
        (["film,gout", "one1,1", "one1.png,0"], "labels.csv has two labels of one1.png: 1 and 0."),
        (["film,gout", *(f"one{number},{number % 3}" for number in range(30))], "second_step.label=gout holds 2."),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_two_lines(tmp_path: Path, lines: list[str], message: str) -> None:
    table = write_table(tmp_path / "labels.csv", *lines)
    with pytest.raises(UserError) as refused:
        labelled(relabelled([None] * 30), "gout", table)
    first, second = str(refused.value).splitlines()
    assert message in first
    assert second
    with pytest.raises(UserError, match="cannot be read: No such file"):
        labelled(relabelled([None] * 30), "gout", tmp_path / "nothing.csv")


def test_radiographs_without_a_label_are_left_out() -> None:
    features, labels = labelled(relabelled([0, 1, None] * 12), "tb_label")
    assert len(features.rows) == len(labels) == len(features.values[LUNGS]) == 24
