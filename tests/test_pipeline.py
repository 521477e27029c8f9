"""The whole way, through the scripts: raw radiographs, training, scores, report, resuming, sweeping, devices."""

import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lung_seg.cli.resume import resumed_arguments
from lung_seg.model.checkpoint import load_network
from lung_seg.training import callbacks
from tests.conftest import SMALL, Run
from tests.layouts import write_montgomery

ROOT = Path(__file__).parents[1]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def events(run_dir: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    return accumulator.Reload()


def test_a_training_leaves_every_file_it_promises(trained: Path) -> None:
    run_dir = trained / "runs" / "first"
    left = {path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file()}
    expected = {".hydra/config.yaml", ".hydra/overrides.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    assert expected | {"metrics.csv", "cases.csv", "summary.json", "report.html"} <= left
    assert any(name.startswith("tensorboard/events") for name in left)


def test_synthetic_radiographs_are_trained_on_and_not_scored(workplace: Path, run: Run) -> None:
    synthetic = ("data.synthetic_per_epoch=8", "data.phantom.cases=10", "data.prepared_dir=prepared")
    assert run("train", *SMALL, "trainer.max_epochs=1", "hydra.run.dir=run", *synthetic).code == 0
    summary = json.loads((workplace / "run" / "summary.json").read_text())
    assert summary["training"]["steps"] == (12 + 8) // 4
    assert summary["data"]["cases"] == {"train": 12, "validation": 3, "test": 5}
    assert len(summary["scores"]["source"]) == 1
    (drawn,) = (workplace / "prepared").glob("synthetic-*")
    drawn.rename(workplace / "gone")
    assert run("evaluate", "checkpoint=run", "trainer=cpu").code == 0
    assert not drawn.exists()


def test_the_summary_says_how_to_repeat_the_run(trained: Path) -> None:
    summary = json.loads((trained / "runs/first/summary.json").read_text())
    assert summary["seed"] == 0
    assert summary["versions"]["torch"] == torch.__version__
    assert summary["config"]["optimizer"]["lr"] == 0.01
    assert summary["data"]["cases"] == {"train": 12, "validation": 3, "test": 5}
    assert len(summary["data"]["manifest_sha256"]) == 64
    assert summary["command"].startswith("python train.py data=montgomery")
    assert summary["training"]["epochs"] == 3
    assert summary["training"]["steps"] == 9
    assert summary["config"]["trainer"]["precision"] == "auto"
    assert summary["training"]["precision"] in ("bf16-mixed", "32-true"), "the one that this machine chose"


def test_cases_csv_has_a_row_for_each_test_case_and_the_summary_is_their_mean(trained: Path) -> None:
    cases = table(trained / "runs/first/cases.csv")
    manifest = table(trained / "data/segmentation/montgomery-32/manifest.csv")
    own = ["accuracy", "dice", "iou", "precision", "recall", "bce"]
    delivered = ["delivered_dice", "hd95_px", "assd_px", "hd95_mm", "assd_mm"]
    assert list(cases[0]) == ["case_id", "source", "patient_id", "tb_label", *own, *delivered]
    assert [case["case_id"] for case in cases] == [row["case_id"] for row in manifest if row["split"] == "test"]
    scores = json.loads((trained / "runs/first/summary.json").read_text())["scores"]
    for name in ("accuracy", "dice", "bce", "hd95_px"):
        mean = np.mean([float(case[name]) for case in cases])
        assert scores["all"][name]["mean"] == pytest.approx(mean)
        assert scores["all"][name]["low"] <= mean <= scores["all"][name]["high"]
    assert scores["all"]["cases"] == scores["source"]["montgomery"]["cases"] == 5
    assert sum(group["cases"] for group in scores["tb_label"].values()) == 5


def test_paths_of_any_characters_can_be_typed_as_they_are(trained: Path, run: Run) -> None:
    places = (f"data.raw_dir={trained}/raw", f"data.prepared_dir={trained}/prepared")
    for script, arguments in {
        "prepare_data": [*(key for key in SMALL if "data" in key and "batch" not in key), *places],
        "train": [f"resume={trained}/runs/first", *places],
    }.items():
        outcome = run(script, *arguments)
        assert outcome.code == 0, outcome.err
    assert (trained / "prepared/montgomery-32/manifest.csv").is_file()


def test_metrics_csv_has_one_row_per_epoch(trained: Path) -> None:
    rows = table(trained / "runs/first/metrics.csv")
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for name in ("train/loss", "validation/loss", "train/dice", "validation/dice", "train/images_per_s"):
        assert all(float(row[name]) > 0 for row in rows)
    assert float(rows[-1]["train/learning_rate"]) < float(rows[0]["train/learning_rate"])
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"])


def test_the_best_epoch_is_one_that_was_validated(workplace: Path, run: Run) -> None:
    outcome = run("train", *SMALL, "trainer.check_val_every_n_epoch=2", "hydra.run.dir=runs/one")

    assert outcome.code == 0, outcome.err
    assert [bool(row["validation/dice"]) for row in table(workplace / "runs/one/metrics.csv")] == [False, True, False]
    assert torch.load(workplace / "runs/one/checkpoints/best.ckpt", weights_only=True)["epoch"] == 1


def test_tensorboard_shows_curves_the_same_cases_each_epoch_and_hyperparameters(trained: Path) -> None:
    log = events(trained / "runs/first")
    assert {"loss", "train/dice", "validation/dice", "train/learning_rate"} <= set(log.Tags()["scalars"])
    assert [event.step for event in log.Scalars("validation/dice")] == [2, 5, 8]
    with (trained / "data/segmentation/montgomery-32/manifest.csv").open(newline="") as file:
        cases = [row["case_id"] for row in csv.DictReader(file) if row["split"] == "validation"]
    assert log.Tags()["images"] == [f"radiograph, truth, prediction/{case_id}" for case_id in cases]
    panels = log.Images(log.Tags()["images"][0])
    assert [panel.step for panel in panels] == [2, 5, 8], "as the scores of the epochs"
    assert (panels[0].width, panels[0].height) == (3 * 32, 32)
    assert "_hparams_/session_start_info" in log.summary_metadata
    final = json.loads((trained / "runs/first/summary.json").read_text())["scores"]["all"]["dice"]["mean"]
    assert log.Scalars("result/test_dice")[0].value == pytest.approx(final)


def test_the_report_opens_offline_and_names_the_worst_case(trained: Path) -> None:
    page = (trained / "runs/first/report.html").read_text()
    worst = min(table(trained / "runs/first/cases.csv"), key=lambda case: float(case["dice"]))
    assert worst["case_id"] in page
    assert "<script src" not in page
    assert 'href="http' not in page


def test_the_checkpoint_opens_safely_and_rebuilds_the_network(trained: Path) -> None:
    checkpoint = torch.load(trained / "runs/first/checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["lung_seg"]["network"]["base_channels"] == 4
    data = checkpoint["LungDataModule"]
    assert [len(data[split]) for split in ("train", "validation", "test")] == [12, 3, 5]
    low, high = data["ranges"]["gap"]  # between the drawn lungs' centres: columns 0.28 and 0.72
    assert low <= 0.44 <= high
    assert high - low < 0.2


def test_evaluate_scores_what_training_scored(trained: Path, run: Run) -> None:
    outcome = run("evaluate", "checkpoint=runs/first", "trainer=cpu", "hydra.run.dir=runs/again")
    assert outcome.code == 0, outcome.err
    assert "Beware" not in outcome.out
    first, again = table(trained / "runs/first/cases.csv"), table(trained / "runs/again/cases.csv")
    assert again == first
    assert (trained / "runs/again/report.html").is_file()
    for path in (trained / "runs/again/overlays").iterdir():
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((512, 512), "RGB"), "a multiple of the network's 32 px"
    assert len(list((trained / "runs/again/overlays").iterdir())) == 5


def test_evaluate_may_corrupt_the_cases_for_a_robustness_test(trained: Path, run: Run) -> None:
    for name in ("once", "twice"):
        outcome = run("evaluate", "checkpoint=runs/first", "augmentation.invert=1", f"hydra.run.dir=runs/{name}")
        assert outcome.code == 0, outcome.err
        assert "on test of montgomery, corrupted (invert 1)" in outcome.out
    as_they_are, inverted, again = (table(trained / f"runs/{name}/cases.csv") for name in ("first", "once", "twice"))
    assert [case["case_id"] for case in inverted] == [case["case_id"] for case in as_they_are]
    assert inverted == again
    means = [sum(float(case["dice"]) for case in cases) for cases in (inverted, as_they_are)]
    assert means[0] < 0.5 * means[1]  # it has seen no inverted film


def test_evaluate_tells_of_cases_that_training_saw(trained: Path, run: Run) -> None:
    outcome = run("evaluate", "checkpoint=runs/first", "split=all", "trainer=cpu", "hydra.run.dir=runs/all")
    assert len(table(trained / "runs/all/cases.csv")) == 20
    assert "15 of these cases were in the networks' training or validation data" in outcome.out


def test_evaluate_takes_other_data_at_the_size_the_network_knows(trained: Path, run: Run) -> None:
    arguments = ["data=montgomery", "data.name=other", "data.raw_dir=raw", "data.test_cases=7", "trainer=cpu"]
    refused = run("evaluate", "checkpoint=runs/first", *arguments, "hydra.run.dir=runs/other")
    assert refused.code == 2
    assert not (trained / "data/segmentation/other-32").exists()
    assert "evaluation prepares none" in refused.err
    _, script, *remedy = shlex.split(refused.err.splitlines()[1].partition(": ")[2])
    assert run(script.removesuffix(".py"), *remedy).code == 0
    outcome = run("evaluate", "checkpoint=runs/first", *arguments, "hydra.run.dir=runs/other")
    assert outcome.code == 0, outcome.err
    summary = json.loads((trained / "runs/other/summary.json").read_text())
    assert (summary["config"]["data"]["name"], summary["config"]["data"]["image_size_px"]) == ("other", 32)
    assert summary["seen_in_training"] > 0
    assert len(table(trained / "runs/other/cases.csv")) == 7


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained: Path, run: Run) -> None:
    assert run("train", *SMALL, "hydra.run.dir=runs/second").code == 0
    assert run("train", *SMALL, "seed=1", "hydra.run.dir=runs/third").code == 0
    first, second, third = (
        weights(trained / f"runs/{name}/checkpoints/last.ckpt") for name in ("first", "second", "third")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_the_number_of_workers_does_not_change_the_training(trained: Path, run: Run) -> None:
    assert run("train", *SMALL, "data.workers=2", "hydra.run.dir=runs/workers").code == 0
    first, second = (weights(trained / f"runs/{name}/checkpoints/last.ckpt") for name in ("first", "workers"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@contextmanager
def ctrl_c_before_epoch(epoch: int) -> Iterator[None]:
    """A training within the block is interrupted when an epoch starts."""
    starts = callbacks.Throughput.on_train_epoch_start

    def start_or_stop(self: Any, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        starts(self, trainer, module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.Throughput, "on_train_epoch_start", start_or_stop)
        yield


def test_a_resumed_training_ends_as_one_that_never_stopped(trained: Path, run: Run) -> None:
    with ctrl_c_before_epoch(2):
        stopped = run("train", *SMALL, "hydra.run.dir=runs/stopped")
    assert stopped.code == 130
    assert "resume=runs/stopped" in stopped.err
    outcome = run("train", "resume=runs/stopped")
    assert outcome.code == 0, outcome.err
    whole, resumed = (torch.load(trained / f"runs/{name}/checkpoints/last.ckpt") for name in ("first", "stopped"))
    assert all(torch.equal(whole["state_dict"][name], weight) for name, weight in resumed["state_dict"].items())
    assert whole["lr_schedulers"] == resumed["lr_schedulers"]
    assert [row["epoch"] for row in table(trained / "runs/stopped/metrics.csv")] == ["0", "1", "2"]
    assert table(trained / "runs/stopped/cases.csv") == table(trained / "runs/first/cases.csv")


def test_a_run_that_was_moved_still_knows_its_best_epoch(workplace: Path, run: Run) -> None:
    with ctrl_c_before_epoch(1):
        assert run("train", *SMALL, "hydra.run.dir=runs/here").code == 130
    path = workplace / "runs/here/checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    # Under the name of earlier revisions, so that their runs resume too.
    (best_state,) = (
        state for name, state in checkpoint["callbacks"].items() if name.startswith("MovableCheckpoint{'monitor': 'val")
    )
    best_state["best_model_score"] = torch.tensor(2.0)  # no later epoch can be better
    best_state["best_k_models"] = dict.fromkeys(best_state["best_k_models"], torch.tensor(2.0))
    best_state["kth_value"] = torch.tensor(2.0)
    torch.save(checkpoint, path)
    first_best = (workplace / "runs/here/checkpoints/best.ckpt").read_bytes()
    (workplace / "runs/here").rename(workplace / "runs/there")
    assert run("train", "resume=runs/there").code == 0
    assert (workplace / "runs/there/checkpoints/best.ckpt").read_bytes() == first_best


def test_a_resumed_run_keeps_the_keys_that_were_deleted(trained: Path, run: Run) -> None:
    arguments = resumed_arguments(["resume=runs/first"])
    assert set(SMALL) <= set(arguments)
    (trained / "runs/first/.hydra/overrides.yaml").write_text("[~optimizer.weight_decay, +optimizer.amsgrad=true]")
    arguments = resumed_arguments(["resume=runs/first", "optimizer.amsgrad=false"])
    assert "~optimizer.weight_decay" in arguments
    assert "optimizer.amsgrad=false" in arguments
    assert "+optimizer.amsgrad=true" not in arguments


def test_folds_validate_every_case_once(workplace: Path, run: Run) -> None:
    folds = ("data.folds=3", "data.fold=0,1,2", "trainer.max_epochs=1")
    outcome = run("train", "--multirun", *SMALL, *folds, "hydra.sweep.dir=runs/folds")
    assert outcome.code == 0, outcome.err
    summaries = [json.loads(path.read_text()) for path in sorted(workplace.glob("runs/folds/*/summary.json"))]
    assert [summary["data"]["cases"] for summary in summaries] == [{"train": 10, "validation": 5, "test": 5}] * 3

    several = run("evaluate", "checkpoints=runs/folds", "hydra.run.dir=runs/several")

    assert several.code == 0, several.err
    assert "Dice of the folds: " in several.out
    out_of_fold, ensemble = (
        table(workplace / f"runs/several/{name}/cases.csv") for name in ("out_of_fold", "ensemble")
    )
    cases = {row["case_id"]: row["split"] for row in table(workplace / "data/segmentation/montgomery-32/manifest.csv")}
    assert {case["case_id"] for case in ensemble} == {case for case, split in cases.items() if split == "test"}
    assert sorted(case["case_id"] for case in [*out_of_fold, *ensemble]) == sorted(cases)
    assert run("evaluate", "checkpoint=runs/folds/1", "split=validation", "hydra.run.dir=runs/alone").code == 0
    alone = {case["case_id"]: case["dice"] for case in table(workplace / "runs/alone/cases.csv")}
    assert {case["case_id"]: case["dice"] for case in out_of_fold if case["case_id"] in alone} == alone
    summary = json.loads((workplace / "runs/several/out_of_fold/summary.json").read_text())
    assert summary["seen_in_training"] == 0

    write_montgomery(workplace / "raw", cases=26)
    assert run("evaluate", "checkpoints=runs/folds", "hydra.run.dir=runs/unchanged").code == 0
    assert table(workplace / "runs/unchanged/out_of_fold/cases.csv") == out_of_fold
    assert run("prepare_data", *[key for key in SMALL if key.startswith("data") and "batch" not in key]).code == 0
    grown = run("evaluate", "checkpoints=runs/folds")  # the folds of a set that grew are dealt anew
    assert grown.code == 2
    assert "The validation cases of data/segmentation/montgomery-32 are not those that the training" in grown.err

    missing = run("evaluate", "checkpoints=[runs/folds/0,runs/folds/2]")
    assert missing.code == 2
    assert "Of 3 folds the checkpoints are those of 0, 2." in missing.err
    assert run("evaluate", "checkpoints=raw").code == run("evaluate").code == 2
    for nothing in ("[]", "3"):
        refused = run("evaluate", f"checkpoints={nothing}")
        assert (refused.code, len(refused.err.splitlines())) == (2, 2)
        assert f"checkpoints={nothing} names no checkpoint" in refused.err


def test_a_sweep_leaves_a_directory_per_job_and_a_table_best_first(workplace: Path, run: Run) -> None:
    arguments = ("--multirun", "optimizer.lr=1e-2,1e-9", "trainer.max_epochs=1", "hydra.sweep.dir=runs/sweep")
    outcome = run("train", *SMALL, *arguments)
    assert outcome.code == 0, outcome.err
    jobs = table(workplace / "runs/sweep/sweep.csv")
    assert [job["job"] for job in jobs] == ["0", "1"]
    assert "optimizer.lr=0.01" in jobs[0]["overrides"]
    assert float(jobs[0]["validation_dice"]) > float(jobs[1]["validation_dice"])
    assert "\nJobs by validation Dice" in outcome.out
    assert "HYDRA" not in outcome.out
    assert outcome.out.count("12 radiographs, 1 epoch in ") == 2
    assert (workplace / "runs/sweep/1/report.html").is_file()


def test_a_job_that_fails_does_not_stop_the_others(workplace: Path, run: Run) -> None:
    outcome = run("train", "--multirun", *SMALL, "data.batch_size=99,4", "hydra.sweep.dir=runs/sweep")
    assert outcome.code == 2
    assert "data.batch_size=99" in outcome.err
    assert "data.batch_size=99" in (workplace / "runs/sweep/0/error.txt").read_text()
    assert [job["job"] for job in table(workplace / "runs/sweep/sweep.csv")] == ["1"]


def in_a_process_of_its_own(script: str, *arguments: str) -> str:
    """What a script prints; it may start further processes."""
    command = [sys.executable, str(ROOT / f"{script}.py"), *arguments]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def assert_same_scores(one: Path, several: Path) -> None:
    """Each case once, in the same order, with the same scores."""
    ours, theirs = table(one / "cases.csv"), table(several / "cases.csv")
    assert [case["case_id"] for case in ours] == [case["case_id"] for case in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for name in ("dice", "bce", "accuracy", "hd95_px", "assd_px"):
            assert float(our[name]) == pytest.approx(float(their[name]), abs=1e-6)


def test_two_processes_train_one_network_and_score_it_as_one_does_in_a_sweep_too(workplace: Path, run: Run) -> None:
    outcome = run("train", "--multirun", *SMALL, "trainer=ddp_cpu", "seed=0", "hydra.sweep.dir=runs/ddp")
    assert outcome.out.count("test cases: Dice") == 1
    assert len(table(workplace / "runs/ddp/0/metrics.csv")) == 3
    assert [path.name for path in (workplace / "runs").iterdir()] == ["ddp"]
    assert sorted(path.name for path in (workplace / "runs/ddp").iterdir()) == ["0", "multirun.yaml", "sweep.csv"]
    assert [job["job"] for job in table(workplace / "runs/ddp/sweep.csv")] == ["0"]
    assert run("evaluate", "checkpoint=runs/ddp/0", "trainer=cpu", "hydra.run.dir=runs/one").code == 0
    assert_same_scores(workplace / "runs/one", workplace / "runs/ddp/0")


def test_three_processes_score_as_one(trained: Path) -> None:
    # Five cases on three devices in batches of two: neither divides evenly, and the sampler repeats a case.
    several = ("trainer=ddp_cpu", "trainer.devices=3", "data.batch_size=2", "hydra.run.dir=runs/three")
    assert in_a_process_of_its_own("evaluate", "checkpoint=runs/first", *several).count("Report: ") == 1
    assert_same_scores(trained / "runs/first", trained / "runs/three")


def test_a_training_may_start_from_another_networks_weights(trained: Path, run: Run) -> None:
    still = ("optimizer.lr=1e-9", "trainer.max_epochs=1", "hydra.run.dir=runs/tuned", "augmentation=none")
    write_montgomery(trained / "other", cases=30)
    outcome = run("train", *SMALL, *still, "init=runs/first", "data.raw_dir=other", "data.name=other")
    assert outcome.code == 0, outcome.err
    first, tuned = (load_network(trained / "runs" / name / "checkpoints/best.ckpt") for name in ("first", "tuned"))
    weights, tuned_weights = (network.state_dict() for network, _ in (first, tuned))
    for name in weights:
        if name.endswith(".weight"):
            torch.testing.assert_close(tuned_weights[name], weights[name], atol=1e-6, rtol=0)
    seen = [set(description["seen"]["training"]) for _, description in (first, tuned)]
    assert seen[0] | set(first[1]["seen"]["validation"]) < seen[1]


def test_a_network_of_another_shape_is_no_start(trained: Path, run: Run) -> None:
    outcome = run("train", *SMALL, "init=runs/first", "model.base_channels=8", "hydra.run.dir=runs/tuned")
    assert outcome.code == 2
    assert "init=runs/first" in outcome.err
    assert "add: model.base_channels=4" in outcome.err
