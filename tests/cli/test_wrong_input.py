"""User mistakes: at most two lines, exit code 2, and existing files stay unchanged."""

import os
import random
from pathlib import Path

import pytest
import torch

from lung_seg.cli.schema import key_names
from lung_seg.config import EvaluateConfig
from tests.conftest import SMALL, Run
from tests.layouts import write_folder, write_montgomery

ALWAYS = "hydra.run.dir=runs/one"


def assert_refused(outcome: object, *words: str) -> None:
    code, _, error = outcome  # type: ignore[misc]
    assert code == 2, error
    lines = error.strip().splitlines()
    assert 1 <= len(lines) <= 2, error
    assert "Traceback" not in error
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data.nme=x"], ["data.nme", "Did you mean data.name?"]),
        (["modle=unet"], ["modle"]),
        (["+data.colour=red"], ["data.colour", "--help"]),
        (["optimizer.lrr=1"], ["optimizer.lrr"]),
        (["model=unet_huge"], ["conf/model/unet_huge.yaml does not exist", "unet_small"]),
        (["model.depth=nine"], ["model.depth", "nine"]),
        (["model.depth=0"], ["model.depth=0", "at least 1"]),
        (["data.batch_size=0"], ["data.batch_size=0", "at least 1"]),
        (["data.resize=crop"], ["data.resize=crop", "stretch | letterbox"]),
        (["data.validation_fraction=1"], ["data.validation_fraction=1", "below 1"]),
        (["data.test_cases=2.5"], ["data.test_cases=2.5", "whole number"]),
        (["data.folds=1"], ["data.folds=1"]),
        (["data.test_cases=0"], ["data.test_cases=0", "above 0"]),
        (["data.test_cases=inf"], ["data.test_cases=inf", "whole number"]),
        (["data.name=../elsewhere"], ["data.name=../elsewhere", "letters"]),
        (["data.name=''"], ["data.name="]),
        (["optimizer=null"], ["Config group", "optimizer=sgd"]),
        (["trainer.precision=7"], ["trainer.precision=7", "bf16-mixed"]),
        (["trainer.strategy=nonsense"], ["trainer.strategy=nonsense", "ddp"]),
        (["trainer.max_epochs=2", "trainer.check_val_every_n_epoch=5"], ["check_val_every_n_epoch=5", "max_epochs=2"]),
        ([*SMALL, "trainer.devices=abc"], ["trainer.devices=abc must be a number of devices", "the CPU is used"]),
        ([*SMALL, "trainer.devices=0"], ["trainer.devices=0 must be a number of devices"]),
        ([*SMALL, "trainer.devices=[0,1]"], ["trainer.devices=[0,1] must be", "[0,2]", "the CPU is used"]),
        ([*SMALL, "scheduler=none", "scheduler._target_=builtins.dict"], ["scheduler", "no LRScheduler"]),
        (
            [*SMALL, "optimizer.lr=1e30"],
            ["loss is", "in step", "epoch 0", "MCUCXR_00", "diverged", "Lower optimizer.lr"],
        ),
        (
            [*SMALL, "model.normalization=instance", "model.depth=5"],
            ["model.normalization=instance", "model.depth=5 halves data.image_size_px=32 to 1", "Lower model.depth"],
        ),
        ([*SMALL, "data.batch_size=1", "model.depth=5"], ["model.normalization=batch", "one value"]),
        (
            [*SMALL, "scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"],
            ["scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "follows a score", "scheduler=cosine"],
        ),
        (
            [*SMALL, "scheduler=none", "~optimizer.weight_decay", "optimizer._target_=torch.optim.SparseAdam"],
            ["torch.optim.SparseAdam with torch.optim.lr_scheduler.ConstantLR cannot take a step"],
        ),
        ([*SMALL, "scheduler.total_steps=5"], ["scheduler: OneCycleLR ends before the training's 9 steps", "null"]),
        (["data.folds=5", "data.fold=5"], ["data.fold=5", "below data.folds=5"]),
        (
            ["data.synthetic_per_epoch=20"],
            ["data.synthetic_per_epoch=20", "for real radiographs", "data.phantom.cases"],
        ),
        (
            ["data=montgomery", "data.synthetic_per_epoch=2000"],
            ["data.synthetic_per_epoch=2000", "at most data.phantom.cases=1600"],
        ),
        (["data.image_size_px=100"], ["data.image_size_px=100", "multiple of 16", "96"]),
        (["data=folder"], ["data.name", "not set"]),
        (["data.batch_size=["], ["data.batch_size='['", "must be a whole number"]),
        (["trainer.max_epochs=abc"], ["trainer.max_epochs=abc must be a whole number"]),
        (["trainer.max_epochs=null"], ["trainer.max_epochs=null must be another value than null"]),
        (["model.depth=1.5"], ["model.depth=1.5 must be a whole number"]),
        (["loss.dice_weight=much"], ["loss.dice_weight=much must be a number"]),
        (["compile=maybe"], ["compile=maybe must be true or false"]),
        (["data.folder.lung_labels=1"], ["data.folder.lung_labels=1 must be a list such as [1,2]"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0 must be at least 1", "Passes over the training cases"]),
        (["epochs=0"], ["epochs is no key", "Did you mean data.epochs?"]),
        (["data.epochs=0"], ["data.epochs=0 must be at least 1", "Passes over this set"]),
        (["--epochs", "5"], ["--epochs is no option", "no dashes: data.epochs=value"]),
        (["--data=montgomery"], ["--data is no option", "no dashes: data=value"]),
        (["-x", "data=montgomery"], ["-x is no option", "key=value"]),
        (["data.name=two\nlines"], [r"data.name=two\nlines", "one line"]),
        (["montgomerry"], ["data/montgomerry", "montgomery"]),
        (["data batch_size=1"], ["data batch_size", "key=value", "--help"]),
        (["resume=runs/nowhere"], ["resume=runs/nowhere"]),
        (["data=as_trained"], ["as_trained", "evaluate.py"]),
        (["data=montgomery", "data.raw_dir=nowhere"], ["data.raw_dir=nowhere", "data.download=true"]),
        (["data=montgomery", "data.raw_dir=raw", "data.test_cases=20"], ["data.test_cases=20", "20 cases"]),
        ([*SMALL, "data.batch_size=64"], ["data.batch_size=64", "12 training cases"]),
        ([*SMALL, "init=nowhere"], ["init=nowhere does not exist"]),
        ([*SMALL, "optimizer._target_=torch.optim.NoSuch"], ["optimizer", "torch.optim.NoSuch"]),
        ([*SMALL, "optimizer.lr=-1"], ["optimizer", "learning rate"]),
        ([*SMALL, "optimizer.lr=fast"], ["torch.optim.AdamW cannot be made: optimizer.lr=fast is no number"]),
        ([*SMALL, "data.folds=50"], ["data.folds=50", "15 patients"]),
    ],
    ids=lambda value: " ".join(value[-1:]) if isinstance(value, list) else "",
)
def test_train_refuses(workplace: Path, run: Run, arguments: list[str], words: list[str]) -> None:
    assert_refused(run("train", *arguments, ALWAYS), *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU whose absence is tested")
@pytest.mark.parametrize("trainer", ["gpu", "ddp", "slurm", "mps"])
def test_a_requested_gpu_that_is_missing(workplace: Path, run: Run, trainer: str) -> None:
    if trainer == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has an Apple GPU")
    words = {"mps": "trainer.accelerator=mps needs an Apple GPU", "gpu": "trainer.accelerator=gpu needs a GPU"}
    finds = "and torch finds none on this machine"
    outcome = run("train", *SMALL, f"trainer={trainer}", ALWAYS)
    assert_refused(outcome, words.get(trainer, words["gpu"]), finds, "Use trainer=cpu, or trainer=auto")
    assert not (workplace / "data").exists()


def test_three_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    write_montgomery(tmp_path / "raw", cases=3)
    monkeypatch.chdir(tmp_path)
    assert_refused(run("train", *SMALL, "data.test_cases=0.15", ALWAYS), "data.batch_size=4", "1 training cases")
    assert_refused(run("train", *SMALL, "data.name=other", "data.test_cases=50", ALWAYS), "test_cases=50", "3 cases")


def test_no_mask_matches(workplace: Path, run: Run) -> None:
    for mask in (workplace / "raw" / "MontgomerySet" / "ManualMask").rglob("*.png"):
        mask.rename(mask.with_stem(f"other_{mask.stem}"))
    assert_refused(run("prepare_data", "data=montgomery", "data.raw_dir=raw"), "None of the 20 radiographs")
    assert not (workplace / "data").exists()


def test_evaluate_refuses_what_is_no_checkpoint(workplace: Path, run: Run) -> None:
    (workplace / "text.ckpt").write_text("not a checkpoint")
    torch.save({"state_dict": {"layer.weight": torch.zeros(3)}}, workplace / "other.ckpt")
    assert_refused(run("evaluate", ALWAYS), "checkpoint=None needs a checkpoint")
    assert_refused(run("evaluate", "checkpoint=nowhere", ALWAYS), "checkpoint=nowhere")
    assert_refused(run("evaluate", "checkpoint=text.ckpt", ALWAYS), "text.ckpt is no whole checkpoint of this project")
    assert_refused(
        run("evaluate", "checkpoint=other.ckpt", ALWAYS), "other.ckpt is no whole checkpoint of this project"
    )


def test_a_hostile_checkpoint_is_not_executed(workplace: Path, run: Run) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path("executed"),)  # type: ignore[return-value]

    torch.save({"state_dict": {}, "lung_seg": Hostile()}, workplace / "hostile.ckpt")
    assert_refused(run("evaluate", "checkpoint=hostile.ckpt", ALWAYS), "hostile.ckpt")
    assert not (workplace / "executed").exists()


def test_resuming_with_another_network_or_length_is_refused_and_the_run_kept(trained: Path, run: Run) -> None:
    before = (trained / "runs/first/checkpoints/last.ckpt").read_bytes()
    outcome = run("train", "resume=runs/first", "model.base_channels=8")
    assert_refused(outcome, "model.base_channels=8", "with 4")
    assert "has finished" not in outcome.out
    assert_refused(run("train", "resume=runs/first", "seed=3"), "seed=3", "with 0")
    assert_refused(run("train", "resume=runs/first", "data.folds=5"), "data.folds=5, but it began with 0")
    other_split = ("data.name=other", "data.split_seed=5")
    words = ("data.name=other, but it began with montgomery", "data.split_seed=5, but it began with 0")
    assert_refused(run("train", "resume=runs/first", *other_split), *words)
    assert not list(trained.glob("data/segmentation/other-*"))
    words = ("trainer.max_epochs=9, but it began with 3", "python train.py data=montgomery", "init=runs/first")
    assert_refused(run("train", "resume=runs/first", "trainer.max_epochs=9"), *words)
    words = ("for 9 optimizer steps, now for 18", "accumulate_grad_batches=2, but it began with 4")
    assert_refused(run("train", "resume=runs/first", "data.batch_size=2"), *words)
    assert (trained / "runs/first/checkpoints/last.ckpt").read_bytes() == before


def test_corrupt_cases_are_skipped_by_name_or_stop(workplace: Path, run: Run) -> None:
    broken = workplace / "raw" / "MontgomerySet" / "CXR_png" / "MCUCXR_0002_1.png"
    assert broken.is_file()
    broken.write_bytes(broken.read_bytes()[:100])
    data = ("data=montgomery", "data.raw_dir=raw", "data.image_size_px=32", "data.test_cases=5")
    assert_refused(run("prepare_data", *data, "data.on_error=stop"), str(broken.name), "data.on_error=skip")
    outcome = run("prepare_data", *data)
    assert outcome.code == 0
    assert "1 corrupt cases were skipped" in outcome.out
    assert broken.name in outcome.out


def test_a_file_where_a_folder_should_be(workplace: Path, run: Run) -> None:
    (workplace / "data").write_text("a file where the folder should be")
    assert_refused(run("train", *SMALL, ALWAYS), "data/segmentation")


def test_a_second_training_in_the_same_directory_is_refused(trained: Path, run: Run) -> None:
    files = [trained / "runs/first" / name for name in ("metrics.csv", ".hydra/overrides.yaml", ".hydra/config.yaml")]
    before = [path.read_bytes() for path in files]
    second = ("optimizer.lr=1e-7", "hydra.run.dir=runs/first")
    assert_refused(run("train", *SMALL, *second), "runs/first holds a training", "resume=runs/first")
    assert [path.read_bytes() for path in files] == before


def test_a_setting_without_effect_on_an_evaluation_is_refused(trained: Path, run: Run) -> None:
    assert_refused(run("evaluate", "checkpoint=runs/first", "data.image_size_px=64", ALWAYS), "data.image_size_px")


def test_a_checkpoint_cut_short_is_refused(trained: Path, run: Run) -> None:
    best = trained / "runs/first/checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:20_000])
    assert_refused(run("evaluate", "checkpoint=runs/first", ALWAYS), "best.ckpt is no whole checkpoint")


def test_a_broken_record_of_a_prepared_set_is_refused(trained: Path, run: Run) -> None:
    (trained / "data/segmentation/montgomery-32/dataset.json").write_text('{"na')
    assert_refused(run("evaluate", "checkpoint=runs/first", ALWAYS), "dataset.json is broken", "Delete")


def test_other_patients_for_a_prepared_set_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    write_folder(tmp_path / "mine", cases=12)
    monkeypatch.chdir(tmp_path)
    data = ("data=folder", "data.name=mine", "data.raw_dir=mine", "data.image_size_px=32")
    assert run("prepare_data", *data).code == 0
    patients = "data.folder.patient_pattern='^(p[0-9]+)_'"
    assert_refused(run("prepare_data", *data, patients), "data.folder", "another data.name")


def test_overrides_of_any_characters_are_refused_in_two_lines(workplace: Path, run: Run) -> None:
    """Made of characters that mean something in Hydra's grammar or YAML; all refused, as the checkpoint is missing."""
    rng = random.Random(0)
    keys = [*key_names(EvaluateConfig), "data", "trainer", "hydra.run.dir", "", "+new.key", "~data", "a b", "é"]
    pieces = ["1", "-1e999", "nan", "null", "true", "x", "é", " ", "\n", "'", '"', "\\", "[", "]", "{", "}", "${", ":"]
    pieces += [
        ",",
        "=",
        "#",
        "&",
        "*",
        "!!python/object:os.system",
        "${oc.env:HOME}",
        "../..",
        "\0",
        "%",
        "@",
        "~",
        "+",
    ]
    pieces += ["..."]
    for _ in range(8 * int(os.environ.get("LUNG_SEG_FUZZ", "1"))):
        override = f"{rng.choice(keys)}={''.join(rng.choices(pieces, k=rng.randint(0, 4)))}"
        assert_refused(run("evaluate", "checkpoint=nowhere", override))
