"""Every command of the README does what it says, on small data; those for other hardware compose."""

import math
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from lung_seg.cli.schema import register, settings
from lung_seg.config import TrainConfig
from lung_seg.search import report as search_report
from tests.conftest import Run
from tests.layouts import draw_chest, write_folder, write_image, write_montgomery, write_shenzhen

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
IN_TABLES = re.findall(r"`(python [^`]*)`", README)

# What makes a command small; the command's own words stand before, so that they are the ones that are tested.
SMALLER = ("trainer.max_epochs=1", "trainer.enable_progress_bar=false", "model.base_channels=2", "model.depth=2")
SMALL_DATA = ("data.image_size_px=16", "data.test_cases=4", "data.batch_size=2", "data.phantom.cases=16")
OTHER_HARDWARE = ("trainer=gpu", "trainer=mps", "trainer=ddp ", "trainer=slurm")


def scripts(name: str) -> list[str]:
    """Commands of one script that this machine can run."""
    found = [line for line in COMMANDS if line.startswith(f"python {name}.py")]
    return [line for line in found if not any(word in f"{line} " for word in OTHER_HARDWARE)]


@pytest.fixture
def data(workplace: Path) -> Path:
    write_montgomery(workplace / "data" / "raw", cases=16)
    write_shenzhen(workplace / "data" / "raw", cases=16)
    write_folder(workplace / "my_films", cases=16)
    for mask in (workplace / "my_films" / "masks").iterdir():
        mask.rename(mask.with_stem(f"{mask.stem.removesuffix('_mask')}_mask"))
    return workplace


def test_the_readme_is_short_and_complete() -> None:
    assert len(README.splitlines()) <= 250
    assert "pip install -r requirements.txt && python train.py" in COMMANDS
    assert "pip install -r requirements-dev.txt && pytest" in COMMANDS
    assert "Not a medical device" in README
    assert (ROOT / "docs" / "example.png").is_file()
    assert len(COMMANDS) > 15


def test_the_map_names_every_module() -> None:
    missing = [
        path.name
        for path in (ROOT / "lung_seg").rglob("*.py")
        if path.parent.name != "sources" and path.stem not in ("__init__",) and path.name not in README
    ]
    assert not missing


@pytest.mark.parametrize("command", scripts("prepare_data"))
def test_preparing_and_checking(data: Path, run: Run, command: str) -> None:
    *words, last = shlex.split(command, comments=True)[2:]
    checking, sharing = last == "check=true", last == "shard=1/2"
    settings = [*words, "data.test_cases=4"] if checking or sharing else [*words, last, "data.test_cases=4"]
    if sharing:
        assert "Shard 1/2: 8 cases" in run("prepare_data", *settings, last).out
    outcome = run("prepare_data", *settings)
    assert outcome.code == 0, outcome.err
    assert "Prepared 16 cases" in outcome.out
    if checking:
        assert "nothing wrong" in run("prepare_data", *settings, last).out


TWO_PROCESSES = "python train.py trainer=ddp_cpu trainer.devices=2"  # tests/test_pipeline.py runs these
ALL_FOLDS = "python evaluate.py checkpoints=runs/multirun/<time>"
MEASURE = "python benchmark.py"  # tests/test_benchmark.py


def test_the_commands_that_other_tests_run_are_still_there() -> None:
    assert TWO_PROCESSES in scripts("train")
    assert MEASURE in scripts("benchmark")
    assert any(line.startswith(ALL_FOLDS) for line in scripts("evaluate"))


@pytest.mark.parametrize(
    "command",
    [line for line in scripts("train") if "<time>" not in line and "search=" not in line and line != TWO_PROCESSES],
)
def test_training(data: Path, run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("lung_seg.prepared.prepare.download", lambda source, _: fetched.append(source))
    words = shlex.split(command)[2:]
    kept = [word for word in SMALL_DATA if word.split("=")[0] not in command]
    few = ["data.synthetic_per_epoch=2"] if "synthetic_per_epoch" in command else []
    arguments = [*words, *SMALLER, *kept, "data.image_size_px=16", *few]
    outcome = run("train", *arguments)
    assert outcome.code == 0, outcome.err
    jobs = math.prod(word.count(",") + 1 for word in words if "--multirun" in words)
    assert len(list((data / "runs").rglob("report.html"))) == jobs
    assert fetched == (["montgomery"] if "data.download=true" in words else [])


def test_searching(data: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_report, "CONF_DIR", data / "conf")
    (command,) = (line for line in scripts("train") if "search=" in line)
    words = shlex.split(command, comments=True)[2:]
    outcome = run("train", *words, *SMALLER, *SMALL_DATA, "data.image_size_px=16", "search.trials=2")
    assert outcome.code == 0, outcome.err
    assert len(list((data / "runs/search/lr_batch").rglob("report.html"))) == 2


def test_evaluating_and_resuming(data: Path, run: Run) -> None:
    assert run("train", "data=montgomery", *SMALLER, *SMALL_DATA).code == 0
    (first,) = (data / "runs" / "train").iterdir()
    one = [line for line in scripts("evaluate") if "checkpoint=" in line]
    for command in one:
        words = shlex.split(command.replace("runs/train/<time>", str(first)))[2:]
        outcome = run("evaluate", *words, *(["data.test_cases=4"] if "data=shenzhen" in words else []))
        assert outcome.code == 0, outcome.err
        assert "report.html" in outcome.out
    assert len(list((data / "runs" / "evaluate").glob("*/cases.csv"))) == len(one) == 2
    command, tuning = (line for line in scripts("train") if "<time>" in line)
    outcome = run("train", *shlex.split(command.replace("runs/train/<time>", str(first)))[2:])
    assert outcome.code == 0, outcome.err
    assert list((data / "runs" / "train").iterdir()) == [first]
    outcome = run("train", *shlex.split(tuning.replace("runs/train/<time>", str(first)))[2:], *SMALLER, *SMALL_DATA)
    assert outcome.code == 0, outcome.err


def test_predicting(trained: Path, run: Run) -> None:
    write_image(trained / "xray.png", draw_chest(1, 60, 50)[0])
    write_image(trained / "films" / "ward" / "1.png", draw_chest(2, 60, 50)[0])
    for command in scripts("predict"):
        words = shlex.split(command.replace("runs/train/<time>", "runs/first"))[2:]
        outcome = run("predict", *words)
        assert outcome.code == 0, outcome.err
        assert "Predicted 1 radiograph:" in outcome.out


def test_exporting(trained: Path, run: Run) -> None:
    (command,) = scripts("export")
    outcome = run("export", *shlex.split(command.replace("runs/train/<time>", "runs/first"))[2:])
    assert outcome.code == 0, outcome.err
    assert len(list((trained / "runs" / "export").glob("*/*"))) == 4


def test_tensorboard_reads_what_runs_leave(trained: Path) -> None:
    (command,) = (line for line in COMMANDS if line.startswith("tensorboard"))
    looked = subprocess.run([*shlex.split(command), "--inspect"], capture_output=True, text=True, check=False)
    assert "validation/dice" in looked.stdout, looked.stderr


@pytest.mark.parametrize(
    "command", sorted({line for line in COMMANDS + IN_TABLES if any(word in f"{line} " for word in OTHER_HARDWARE)})
)
def test_commands_for_other_hardware_compose(command: str) -> None:
    register()
    overrides = command.partition("train.py")[2].split()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert settings(compose("train", overrides), TrainConfig).trainer.accelerator in ("gpu", "mps")
