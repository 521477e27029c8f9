"""The first hour: what is refused, and that each remedy that is printed works as printed."""

import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from lung_seg.training.lightning_module import LungSegmenter
from tests.conftest import SMALL, Outcome, Run
from tests.layouts import draw_chest, write_image, write_montgomery
from tests.training.test_killed import assert_as_if_never_stopped, at_call

PREPARE = ("data=montgomery", "data.image_size_px=32", "data.test_cases=5")


def follow(run: Run, text: str) -> Outcome:
    """Run the command that a message prints, as a shell would take it apart."""
    (command,) = re.findall(r"python \w+\.py .*", text)
    _, script, *arguments = shlex.split(command.partition(", or ")[0])
    return run(script.removesuffix(".py"), *arguments)


def test_ctrl_c_in_the_first_epoch_saves_and_the_printed_command_resumes(
    trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LungSegmenter, "training_step", LungSegmenter.training_step)  # put back afterwards
        at_call(2, LungSegmenter, "training_step", lambda: os.kill(os.getpid(), signal.SIGINT))
        stopped = run("train", *SMALL, "hydra.run.dir=runs/my run (2)")
    assert stopped.code == 130
    resumed = follow(run, stopped.err)
    assert resumed.code == 0, resumed.err
    assert_as_if_never_stopped(trained / "runs/first", trained / "runs/my run (2)")


def test_ctrl_c_before_the_first_step_says_that_nothing_was_saved(workplace: Path, run: Run) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LungSegmenter, "configure_optimizers", lambda _: os.kill(os.getpid(), signal.SIGINT))
        stopped = run("train", *SMALL)
    assert stopped.code == 130
    assert stopped.err == "Stopped; run the same command again: no step of the training was saved.\n"


def test_a_training_is_extended_by_the_printed_command(trained: Path, run: Run) -> None:
    refused = run("train", "resume=runs/first", "trainer.max_epochs=4")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 2
    assert follow(run, refused.err).code == 0
    (run_dir,) = (path for path in (trained / "runs/train").iterdir() if not path.is_symlink())
    assert len((run_dir / "metrics.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize("given", ["runs", "runs/first/checkpoints/last.ckpt"])
def test_resume_says_what_to_give_instead(trained: Path, run: Run, given: str) -> None:
    refused = run("train", f"resume={given}")
    assert refused.code == 2
    assert follow(run, refused.err).code == 0


@pytest.mark.parametrize("given", ["runs", "exported"])
def test_a_checkpoint_is_found_or_named(trained: Path, run: Run, given: str) -> None:
    assert run("export", "checkpoint=runs/first", "format=safetensors", "output=exported").code == 0
    outcome = run("evaluate", f"checkpoint={given}")
    if given == "runs":
        assert outcome.code == 2
        (remedy,) = shlex.split(outcome.err.partition("the latest: ")[2])
        outcome = run("evaluate", remedy)
    assert outcome.code == 0, outcome.err


def test_a_missing_onnx_file_is_created_by_the_printed_command(trained: Path, run: Run) -> None:
    write_image(trained / "films/0.png", draw_chest(1, 60, 50)[0])
    refused = run("predict", "input=films", "checkpoint=nowhere.onnx")
    assert refused.code == 2
    assert follow(run, refused.err).code == 0
    (made,) = (trained / "runs/export").rglob("lungs.onnx")
    assert run("predict", "input=films", f"checkpoint={made}", "output=masks").code == 0


def test_a_training_without_an_epoch_is_no_checkpoint(trained: Path, run: Run) -> None:
    (trained / "runs/first/checkpoints/best.ckpt").unlink()
    refused = run("evaluate", "checkpoint=runs/first")
    assert refused.code == 2
    assert "has not finished an epoch" in refused.err
    assert "resume=runs/first" in refused.err


def test_the_latest_training_is_scored_exported_and_resumed(trained: Path, run: Run) -> None:
    (trained / "runs/train/latest").unlink()
    assert "the included weights" in run("export", "format=safetensors").out
    assert run("train", *SMALL, "trainer.max_epochs=1", "hydra.run.dir=runs/mine").code == 0
    assert (trained / "runs/train/latest").resolve() == trained / "runs/mine"
    assert "Scoring runs/mine, the latest training." in run("evaluate").out
    assert "Exporting runs/mine, the latest training." in run("export", "format=safetensors").out
    again = run("train", "resume=runs/train/latest")
    assert again.code == 0, again.err
    assert "runs/mine has finished" in again.out
    assert "Report: runs/mine/report.html" in again.out
    several = run("evaluate", "checkpoint=runs/train")
    assert "checkpoint=runs/train is a folder without a checkpoint" in several.err


def test_a_refused_training_is_not_the_latest(trained: Path, run: Run) -> None:
    refused = ("data=montgomery", "data.raw_dir=nowhere", "data.name=other")
    before = (trained / "runs/train/latest").resolve()
    assert run("train", *refused).code == 2
    assert (trained / "runs/train/latest").resolve() == before
    shutil.rmtree(trained / "runs")
    assert run("train", *refused).code == 2
    assert not (trained / "runs").exists()


def test_several_values_without_multirun(trained: Path, run: Run) -> None:
    refused = run("train", *SMALL[:-1], "optimizer.lr=1e-2,1e-3")
    assert refused.code == 2
    assert refused.err.splitlines()[0] == "optimizer.lr=1e-2,1e-3 gives optimizer.lr several values."
    (option,) = re.findall(r"--\w+", refused.err)
    assert run("train", *SMALL[:-1], "trainer.max_epochs=1", "optimizer.lr=1e-2,1e-3", option).code == 0


@pytest.mark.parametrize(
    ("script", "argument"),
    [
        *[("train", "resume="), ("train", "init="), ("evaluate", "checkpoint="), ("train", "data.raw_dir=")],
        *[("predict", "output="), ("train", "hydra.run.dir=")],
    ],
)
def test_an_empty_value_is_refused(workplace: Path, run: Run, script: str, argument: str) -> None:
    refused = run(script, *(PREPARE if script == "train" else ()), argument)
    assert refused.code == 2
    assert f"{argument} is empty" in refused.err
    assert [path.name for path in workplace.iterdir()] == ["raw"], "a refused command leaves no folder"


def test_the_folder_of_other_runs_and_of_the_user_stays(trained: Path, run: Run) -> None:
    assert run("evaluate", "checkpoint=nowhere").code == 2
    assert not (trained / "runs/evaluate").exists()
    (trained / "mine").mkdir()
    assert run("predict", "input=nowhere", "output=mine").code == 2
    assert (trained / "mine").is_dir()
    assert (trained / "runs/first/report.html").is_file()


def test_one_name_for_two_folders_of_radiographs(workplace: Path, run: Run) -> None:
    assert run("prepare_data", *PREPARE, "data.raw_dir=raw").code == 0
    shutil.copytree(workplace / "raw", workplace / "moved")  # with other times of the files
    for path in (workplace / "moved").rglob("*.png"):
        os.utime(path, (1, 1))
    assert run("prepare_data", *PREPARE, "data.raw_dir=moved").code == 0
    write_montgomery(workplace / "other", cases=20, height_px=90)
    before = (workplace / "data/segmentation/montgomery-32/manifest.csv").read_bytes()
    refused = run("prepare_data", *PREPARE, "data.raw_dir=other")
    assert refused.code == 2
    assert "data.raw_dir=other has 20 other radiographs than data.raw_dir=moved" in refused.err
    absent = run("prepare_data", *PREPARE, "data.raw_dir=nowhere")
    assert absent.code == 2
    assert "was prepared from data.raw_dir=moved" in absent.err
    assert (workplace / "data/segmentation/montgomery-32/manifest.csv").read_bytes() == before
    assert run("prepare_data", *PREPARE).code == 0, "without data.raw_dir the set is used unchanged"


def test_a_dangling_link_is_skipped_by_name(workplace: Path, run: Run) -> None:
    (path, *_) = sorted((workplace / "raw/MontgomerySet/CXR_png").iterdir())
    path.unlink()
    path.symlink_to("gone.png")
    outcome = run("prepare_data", *PREPARE, "data.raw_dir=raw")
    assert outcome.code == 0, outcome.err
    assert (
        f"1 corrupt cases were skipped; dataset.json lists them. The first: {path.relative_to(workplace)}"
        in outcome.out
    )


def test_comments_in_a_list_and_a_stopped_prediction(trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_image(trained / f"films/{number}.png", draw_chest(number, 60, 50)[0])
    (trained / "list.txt").write_text("# of Monday\nfilms/0.png\n\nfilms/1.png\nfilms/2.png\n")
    with monkeypatch.context() as patch:
        patch.setattr("lung_seg.prediction.batch._predict_all", stop_after_one)
        stopped = run("predict", "input=list.txt", "output=my masks")
    assert stopped.code == 130
    continued = follow(run, stopped.err)
    assert continued.code == 0, continued.err
    assert len(list((trained / "my masks").glob("*_mask.png"))) == 3
    assert "Predicted 3 radiographs" in continued.out


def stop_after_one(*_: object) -> object:
    raise KeyboardInterrupt


def test_a_folder_that_is_input_and_output(trained: Path, run: Run) -> None:
    write_image(trained / "films/0.png", draw_chest(1, 60, 50)[0])
    for _ in range(2):
        outcome = run("predict", "input=films", "output=films")
        assert outcome.code == 0, outcome.err
        assert "Predicted 1 radiograph:" in outcome.out
