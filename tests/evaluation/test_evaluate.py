"""What evaluate.py scores: delivered masks, surface distances, intervals over patients, cases seen in training."""

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from PIL import Image

import lung_seg
from lung_seg.evaluation.statistics import mean_with_interval
from tests.conftest import SMALL, Run
from tests.layouts import draw_chest, write_jsrt, write_mask, write_montgomery

SCORE = ("evaluate", "checkpoint=runs/first", "trainer=cpu", "hydra.run.dir=runs/again")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def summary(run_dir: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run_dir, "summary.json").read_text())
    return found


def hausdorff(one: np.ndarray, other: np.ndarray, spacing: float) -> float:
    """MONAI's 95th percentile, with a margin of background as MONAI needs it."""
    masks = (torch.from_numpy(np.pad(mask, 1))[None, None] for mask in (one, other))
    return float(compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=[spacing] * 2))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 0


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")  # MONAI calls it that way itself
def test_the_delivered_scores_are_those_of_the_masks_that_predict_writes(trained: Path, run: Run) -> None:
    raw = Path("raw/MontgomerySet")
    outcome = run("predict", "input=raw/MontgomerySet/CXR_png", "output=masks", "checkpoint=runs/first", "device=cpu")
    assert outcome.code == 0, outcome.err
    cases = table(trained / "runs/first/cases.csv")
    assert len(cases) == 5
    for case in cases:
        name = case["case_id"]
        left, right = (pixels(raw / "ManualMask" / side / f"{name}.png") for side in ("leftMask", "rightMask"))
        delivered, truth = pixels(Path("masks") / f"{name}_mask.png"), left | right
        dice = 2 * (delivered & truth).sum() / (delivered.sum() + truth.sum())
        assert float(case["delivered_dice"]) == pytest.approx(dice, abs=1e-6)
        assert float(case["hd95_px"]) == pytest.approx(hausdorff(delivered, truth, 1.0), abs=1e-4)
        assert case["hd95_mm"] == case["assd_mm"] == ""  # a PNG has no spacing
    assert summary("runs/first")["scores"]["all"]["hd95_mm"] is None


def test_distances_are_in_mm_where_the_spacing_is_known(workplace: Path, run: Run) -> None:
    write_jsrt(workplace / "films", cases=8, size_px=128)
    small = [*SMALL, "data=jsrt", "data.raw_dir=films", "data.test_cases=3", "data.batch_size=2"]
    assert run("train", *small, "trainer.max_epochs=1", "hydra.run.dir=runs/jsrt").code == 0
    cases = table(workplace / "runs/jsrt/cases.csv")
    for case in cases:
        for name in ("hd95", "assd"):
            assert float(case[f"{name}_mm"]) == pytest.approx(float(case[f"{name}_px"]) * 2048 * 0.175 / 128, rel=1e-5)
    scores = summary("runs/jsrt")["scores"]["all"]
    assert scores["cases_with_spacing"] == 3
    assert scores["hd95_mm"]["mean"] == pytest.approx(np.mean([float(case["hd95_mm"]) for case in cases]))
    assert "HD95<br>mm" in (workplace / "runs/jsrt/report.html").read_text()


def test_a_set_that_grew_is_not_the_checkpoints(trained: Path, run: Run) -> None:
    write_montgomery(trained / "raw", cases=26)
    before = {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")}
    outcome = run(*SCORE)  # the set is still as it was prepared, and evaluation leaves it so
    assert outcome.code == 0, outcome.err
    assert {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")} == before
    assert run("prepare_data", *[key for key in SMALL if key.startswith("data") and "batch" not in key]).code == 0
    outcome = run(*SCORE, "split=train")
    assert outcome.code == 2
    assert "train cases of data/segmentation/montgomery-32 are not those that the training began with" in outcome.err
    assert "data=montgomery" in outcome.err


def test_masks_that_were_drawn_anew_are_not_those_of_the_training(trained: Path, run: Run) -> None:
    for path in Path("raw/MontgomerySet/ManualMask/leftMask").iterdir():
        write_mask(path, np.roll(pixels(path), 4, axis=0))
    assert run("prepare_data", *[key for key in SMALL if key.startswith("data") and "batch" not in key]).code == 0
    for refused in (run(*SCORE), run("train", "resume=runs/first")):
        assert refused.code == 2
        assert "montgomery-32 are not those that the training began with" in refused.err


@pytest.mark.parametrize("change", [(), ("data.image_size_px=48",)])
def test_a_network_that_began_with_anothers_weights_knows_what_that_one_saw(
    trained: Path, run: Run, change: tuple[str, ...]
) -> None:
    start = ("init=runs/first", "data.name=b", "data.split_seed=1", "trainer.max_epochs=1", "hydra.run.dir=runs/b")
    outcome = run("train", *SMALL, *start, *change)
    assert outcome.code == 0, outcome.err
    first = {row["case_id"]: row["split"] for row in table(trained / "data/segmentation/montgomery-32/manifest.csv")}
    tested = [case["case_id"] for case in table(trained / "runs/b/cases.csv")]
    both = sum(first[case_id] != "test" for case_id in tested)
    assert 0 < both <= 5
    assert summary("runs/b")["seen_in_training"] == both
    assert f"of which {both} were used in training" in (trained / "runs/b/report.html").read_text()
    outcome = run("evaluate", "checkpoint=runs/b", "trainer=cpu", "hydra.run.dir=runs/again")
    assert f"{both} of these cases were in the networks' training or validation data" in outcome.out


def test_what_an_earlier_version_was_trained_on_is_said_to_be_unknown(trained: Path, run: Run) -> None:
    path = trained / "runs/first/checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["LungDataModule"]["identities"]
    torch.save(checkpoint, path)
    outcome = run(*SCORE)
    assert outcome.code == 0, outcome.err
    assert "not known which cases it was trained on" in outcome.out
    assert summary("runs/again")["seen_in_training"] is None
    assert "it is not known which of them were used in training" in (trained / "runs/again/report.html").read_text()


def test_exported_weights_know_their_cases_and_what_they_saw(trained: Path, run: Run) -> None:
    assert run("export", "checkpoint=runs/first", "format=safetensors", "output=out").code == 0
    outcome = run("evaluate", "checkpoint=out/lungs.safetensors", "trainer=cpu", "hydra.run.dir=runs/exported")
    assert outcome.code == 0, outcome.err
    assert summary("runs/exported")["seen_in_training"] == 0
    named = ("data=montgomery", "data.raw_dir=raw", "data.test_cases=5", "split=all")
    outcome = run("evaluate", "checkpoint=out/lungs.safetensors", *named, "trainer=cpu", "hydra.run.dir=runs/all")
    assert outcome.code == 0, outcome.err
    assert summary("runs/all")["seen_in_training"] == 15


def test_where_the_cases_are_is_the_users_word_alone(trained: Path, run: Run) -> None:
    """A checkpoint may be a stranger's, and a set that is read gets a cache."""
    best = Path("runs/first/checkpoints/best.ckpt")
    checkpoint = torch.load(best, weights_only=True)
    elsewhere = trained.parent / "else where"
    Path("data/segmentation").rename(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    checkpoint["lung_seg"]["data"]["prepared_dir"] = str(elsewhere)
    torch.save(checkpoint, best)
    outcome = run(*SCORE)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 2)
    assert f"were in data.prepared_dir={elsewhere}, outside the current folder" in outcome.err
    assert sorted(elsewhere.rglob("*")) == before
    remedy = outcome.err.partition("add ")[2].partition("; or")[0]
    assert run(*SCORE, *shlex.split(remedy)).code == 0


def test_settings_of_the_data_that_are_none_are_refused_by_name(trained: Path, run: Run) -> None:
    best = Path("runs/first/checkpoints/best.ckpt")
    checkpoint = torch.load(best, weights_only=True)
    data = checkpoint["lung_seg"]["data"]
    for change in ({"unknown": 1}, {"folder": 3}, {"test_cases": "x"}, {"name": "../../x"}):
        torch.save(checkpoint | {"lung_seg": checkpoint["lung_seg"] | {"data": data | change}}, best)
        outcome = run(*SCORE)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 2)
        assert outcome.err.startswith(f"{best} does not hold the settings of the data that it was trained on.")


def test_a_size_that_the_network_does_not_take_is_refused(trained: Path, run: Run) -> None:
    named = ("data=montgomery", "data.raw_dir=raw", "data.test_cases=5", "data.image_size_px=64")
    outcome = run(*SCORE, *named)
    assert outcome.code == 2
    assert "data.image_size_px has no effect" in outcome.err


def test_patients_not_cases_are_resampled(workplace: Path, run: Run) -> None:
    write_pairs(workplace / "films", patients=12)
    small = [*SMALL, "data=folder", "data.name=pairs", "data.raw_dir=films", "data.test_cases=12", "data.batch_size=2"]
    pattern = "data.folder.patient_pattern='(.+)_'"
    assert run("train", *small, pattern, "trainer.max_epochs=1", "hydra.run.dir=runs/pairs").code == 0
    scores = summary("runs/pairs")["scores"]["all"]
    assert (scores["cases"], scores["patients"]) == (12, 4)
    assert "bootstrap intervals over 4 patients" in (workplace / "runs/pairs/report.html").read_text()


def write_pairs(folder: Path, patients: int) -> None:
    """Three radiographs of each patient."""
    for number in range(3 * patients):
        image, right, left = draw_chest(number, 64, 64)
        stem = f"p{number // 3:02d}_{number % 3}"
        write_mask(folder / "masks" / f"{stem}.png", right | left)
        Path(folder / "images").mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / "images" / f"{stem}.png")


def test_an_interval_covers_the_truth_as_often_as_it_says_where_patients_have_several_cases() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{number}" for number in range(20) for _ in range(5)]
    covered = 0
    for _ in range(150):
        values = (rng.normal(0, 1, (20, 1)) + rng.normal(0, 0.3, (20, 5))).ravel()  # the true mean is 0
        interval = mean_with_interval(values.tolist(), patients)
        low, high = interval["low"], interval["high"]
        assert low is not None
        assert high is not None
        covered += low <= 0 <= high
    assert 0.89 <= covered / 150 <= 0.99  # resampled cases cover it in 63 of 100


def test_one_patient_has_no_interval() -> None:
    assert mean_with_interval([0.5, 0.7], ["p", "p"]) == {"mean": pytest.approx(0.6), "low": None, "high": None}


def test_the_included_weights_name_no_folder_of_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run("evaluate", f"checkpoint={Path(lung_seg.__file__).parent / 'weights/lungs.safetensors'}")
    assert refused.code == 2
    assert refused.err.startswith("data/segmentation/montgomery_shenzhen-256 is no prepared set")
    assert "_dir=" not in refused.err, "the default folders, which need not be given"
