"""The commands of README.md and docs/ run on small data; those for other hardware compose."""

import math
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from lung_seg.cli.schema import register, settings
from lung_seg.config import PredictConfig, ServeConfig, TrainConfig, TuberculosisConfig
from lung_seg.prediction.predictor import Prediction
from lung_seg.raw.radiograph import read_radiograph
from tests.conftest import Run
from tests.layouts import draw_chest, write_dicom, write_folder, write_image, write_montgomery, write_shenzhen

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
TEXT = "\n".join(PAGES.values())
SCRIPTS = ("train", "evaluate", "prepare_data", "predict", "export", "tuberculosis", "serve")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def as_script(line: str) -> str:
    """A command as the script that does the same: lung-seg predict xray.png as python predict.py input=xray.png."""
    line = re.sub(r"^lung-seg (\w+)", r"python \1.py", line)
    return re.sub(r"^python predict\.py ([^\s=]+)$", r"python predict.py input=\1", line)


# Each command once, however many pages show it.
COMMANDS = list(
    dict.fromkeys(
        as_script(command)
        for block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if (command := " ".join(line.split("#")[0].split()))
    )
)
# Commands within a sentence or a table; an ellipsis stands for arguments that are left out.
INLINE = [
    " ".join(command.split()) for command in re.findall(r"`(python train\.py [^`]*)`", TEXT) if "…" not in command
]

# What makes a command small; the command's own words stand before, so that they are the ones that are tested.
SMALLER = ("trainer.max_epochs=1", "trainer.enable_progress_bar=false", "model.base_channels=2", "model.depth=2")
SMALL_DATA = ("data.image_size_px=16", "data.test_cases=4", "data.batch_size=2", "data.phantom.cases=16")
OTHER_HARDWARE = ("trainer=gpu", "trainer=mps", "trainer=ddp ", "trainer=slurm", "launcher=submitit_slurm", "CUDA_")
TIME = "runs/train/<time>"


def needs_other_hardware(line: str) -> bool:
    return any(word in f"{line} " for word in OTHER_HARDWARE)


def scripts(name: str) -> list[str]:
    """Commands of one script that this machine can run."""
    return [line for line in COMMANDS if line.startswith(f"python {name}.py") and not needs_other_hardware(line)]


TWO_PROCESSES = "python train.py trainer=ddp_cpu trainer.devices=2"  # tests/test_pipeline.py runs these
CORRECTIONS = (  # tests/page/test_learning.py runs it
    "python train.py experiment=corrections data.raw_dir=runs/serve/corrections init=lung_seg/weights/lungs.safetensors"
)
ADDITIONAL = (  # tests/raw/test_partly_known.py has the two sets that it needs
    "python train.py data=montgomery data.additional=data/segmentation/films-512 data.additional_repeats=4 "
    "loss.outside_weight=3"
)
EXPORT = "python export.py checkpoint=runs/train/<time> format=all"  # tests/prediction/test_export.py runs it
ALL_FOLDS = "python evaluate.py checkpoints=runs/multirun/<time>"
BENCHMARK = "python benchmarks/throughput.py"
# The two lines of set-up, .ci/run; the wheel, tests/test_package.py; the image, tests/test_docker.py.
NOT_SCRIPTS = ("pip install ", "docker ", "tensorboard ", "[ $? -eq 130 ]", BENCHMARK)

ELSEWHERE = (TWO_PROCESSES, CORRECTIONS, ADDITIONAL)
TRAININGS = [
    line for line in scripts("train") if "<time>" not in line and "search=" not in line and line not in ELSEWHERE
]
SEARCHES = [line for line in scripts("train") if "search=" in line]


@pytest.fixture
def data(workplace: Path) -> Path:
    write_montgomery(workplace / "data" / "raw", cases=16)
    write_shenzhen(workplace / "data" / "raw", cases=16)
    write_folder(workplace / "my_radiographs", cases=16)
    write_folder(workplace / "COVID-QU-Ex/Train/Normal", cases=16)
    write_folder(workplace / "films", cases=16)
    shutil.copytree(workplace / "films" / "masks", workplace / "films" / "outlines")
    (workplace / "films" / "masks").rename(workplace / "films" / "lungs")
    covid = workplace / "COVID-QU-Ex/Train/Normal"
    (covid / "masks").rename(covid / "lung masks")
    for mask in (covid / "lung masks").iterdir():
        mask.rename(mask.with_stem(mask.stem.removesuffix("_mask")))
    for mask in [*(workplace / "my_radiographs" / "masks").iterdir(), *(workplace / "films" / "lungs").iterdir()]:
        mask.rename(mask.with_stem(f"{mask.stem.removesuffix('_mask')}_mask"))
    return workplace


def test_the_readme_is_short_and_complete() -> None:
    assert len(README.splitlines()) <= 150
    assert "pip install -r requirements.txt && python train.py" in README.splitlines()
    assert "pip install -r requirements-dev.txt && pytest" in README.splitlines()
    assert "Not a medical device" in README
    assert "**What Dice means here.** Per case 2|P∩T| / (|P|+|T|) on the thresholded mask" in README
    assert "read the figures as a little optimistic" in " ".join(README.split())
    assert (ROOT / "docs" / "example.png").is_file()
    assert len(COMMANDS) > 30


def test_every_command_has_a_test() -> None:
    run = [line for name in SCRIPTS for line in scripts(name)]
    untested = [line for line in COMMANDS if not line.startswith(NOT_SCRIPTS) and not needs_other_hardware(line)]
    assert [line for line in untested if line not in run] == []


def test_every_link_leads_somewhere() -> None:
    for name, text in PAGES.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        targets = re.findall(r"\]\(((?!https?:)[^)#]+)[^)]*\)", text)
        assert not [target for target in targets if not (folder / target).exists()], name


def test_every_page_is_linked() -> None:
    assert not [name for name in PAGES if name != "README.md" and not re.search(rf"\]\((docs/)?{name}[)#]", TEXT)]


def test_the_map_names_every_room() -> None:
    (section,) = re.findall(r"\n    lung_seg/\n(.*?)\n    \w", README, re.DOTALL)
    mapped = {line.split("/")[0].strip() for line in section.splitlines()}
    rooms = {path.name for path in (ROOT / "lung_seg").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert mapped == rooms


def test_every_extra_that_is_named_exists() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {extra for extras in re.findall(r"(?:lung_seg|\.)\[([\w,]+)\]\"", TEXT) for extra in extras.split(",")}
    assert {"dicom", "onnx", "search", "cluster"} <= named
    assert named <= package["optional-dependencies"].keys()


def test_the_commands_that_other_tests_run_are_still_there() -> None:
    assert TWO_PROCESSES in scripts("train")
    assert CORRECTIONS in scripts("train")
    assert ADDITIONAL in scripts("train")
    assert ALL_FOLDS in scripts("evaluate")
    assert scripts("export") == [EXPORT]


@pytest.mark.parametrize("command", scripts("prepare_data"))
def test_preparing_and_checking(data: Path, run: Run, command: str) -> None:
    *words, last = shlex.split(command)[2:]
    checking, sharing = last == "check=true", last == "shard=1/2"
    settings = [*words, "data.test_cases=4"] if checking or sharing else [*words, last, "data.test_cases=4"]
    if sharing:
        assert "Shard 1/2: 8 cases" in run("prepare_data", *settings, last).out
    outcome = run("prepare_data", *settings)
    assert outcome.code == 0, outcome.err
    assert "Prepared 16 cases" in outcome.out
    if checking:
        assert "nothing wrong" in run("prepare_data", *settings, last).out


@pytest.mark.parametrize("command", TRAININGS)
def test_training(data: Path, run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("lung_seg.raw.download.download", lambda source, _: fetched.append(source))
    words = shlex.split(command)[2:]
    kept = [word for word in SMALL_DATA if word.split("=")[0] not in command]
    few = ["data.synthetic_per_epoch=2"] if "synthetic_per_epoch" in command else []
    arguments = [*words, *SMALLER, *kept, "data.image_size_px=16", *few]
    outcome = run("train", *arguments)
    assert outcome.code == 0, outcome.err
    if "--multirun" in words:
        assert "These radiographs were generated" not in outcome.out, "once is enough"
    jobs = math.prod(word.count(",") + 1 for word in words if "--multirun" in words)
    assert len(list((data / "runs").rglob("report.html"))) == jobs
    assert fetched == (["montgomery"] if "data.download=true" in words else [])


@pytest.mark.parametrize("command", SEARCHES)
def test_searching(data: Path, run: Run, command: str) -> None:
    words = shlex.split(command)[2:]
    outcome = run("train", *words, *SMALLER, *SMALL_DATA, "search.trials=2")
    assert outcome.code == 0, outcome.err
    (name,) = {"mine"} & {word.partition("search.name=")[2] for word in words} or {"lr_batch"}
    assert len(list((data / "runs/search" / name).rglob("report.html"))) == 2
    assert (data / "runs/search" / name / "search.html").is_file()


def test_evaluating_and_resuming(data: Path, run: Run) -> None:
    assert run("train", "data=montgomery", *SMALLER, *SMALL_DATA).code == 0
    (first,) = (run_dir for run_dir in (data / "runs" / "train").iterdir() if not run_dir.is_symlink())
    one = [line for line in scripts("evaluate") if "checkpoint=" in line]
    for command in one:
        words = shlex.split(command.replace(TIME, str(first)))[2:]
        words += ["data.test_cases=4"] if "data=shenzhen" in words else []
        outcome = run("evaluate", *words)
        if "data=shenzhen" in words:
            _, script, *remedy = shlex.split(outcome.err.partition("Prepare it: ")[2])
            assert run(script.removesuffix(".py"), *remedy).code == 0
            outcome = run("evaluate", *words)
        assert outcome.code == 0, outcome.err
        assert "report.html" in outcome.out
    assert len(list((data / "runs" / "evaluate").glob("*/cases.csv"))) == len(one) == 3
    resuming, tuning = (line for line in scripts("train") if "<time>" in line)
    outcome = run("train", *shlex.split(resuming.replace(TIME, str(first)))[2:])
    assert outcome.code == 0, outcome.err
    assert sorted((data / "runs" / "train").iterdir()) == [first, first.with_name("latest")]
    outcome = run("train", *shlex.split(tuning.replace(TIME, str(first)))[2:], *SMALLER, *SMALL_DATA)
    assert outcome.code == 0, outcome.err


def write_inputs(folder: Path) -> None:
    """What the commands and examples of predicting name."""
    write_image(folder / "xray.png", draw_chest(1, 60, 50)[0])
    write_image(folder / "radiographs" / "ward" / "1.png", draw_chest(2, 60, 50)[0])
    write_image(folder / "films" / "images" / "1.png", draw_chest(9, 60, 50)[0])
    write_dicom(folder / "scan.dcm", draw_chest(3, 60, 50)[0])
    write_dicom(folder / "studies" / "1.dcm", draw_chest(4, 60, 50)[0])
    write_image(folder / "NIH/images_001/images/00000001_000.png", draw_chest(5, 60, 50)[0])
    study = folder / "CheXpert-v1.0-small/train/patient00001/study1"
    write_image(study / "view1_frontal.jpg", draw_chest(6, 60, 50)[0])
    write_image(study / "view2_lateral.jpg", draw_chest(7, 60, 50)[0])
    write_dicom(folder / "vindr/train/0108949daa13dc94634a7d650a05c0bb.dicom", draw_chest(8, 60, 50)[0])


def test_predicting(trained: Path, run: Run) -> None:
    write_inputs(trained)
    for command in scripts("predict"):
        outcome = run("predict", *shlex.split(command.replace(TIME, "runs/first"))[2:])
        assert outcome.code == 0, outcome.err
        assert "Predicted 1 radiograph:" in outcome.out
    assert (trained / "masks" / "1_lungs.png").is_file()
    assert (trained / "lungs" / "1_seg.dcm").is_file()


@pytest.mark.parametrize("example", list(dict.fromkeys(blocks("python"))), ids=range(len(set(blocks("python")))))
def test_examples_in_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str) -> None:
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    (prediction,) = (value for value in names.values() if isinstance(value, Prediction))
    assert prediction.mask.shape == read_radiograph(Path("xray.png")).shape
    assert prediction.mask.any()


def test_looking_for_tuberculosis() -> None:
    for command in scripts("tuberculosis"):  # tests/second_step/test_command.py runs the command
        register()
        overrides = composed("tuberculosis", command)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            assert settings(compose("tuberculosis", overrides), TuberculosisConfig).second_step.encoder in command


def test_serving() -> None:
    for command in scripts("serve"):  # tests/page runs the command
        register()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            assert settings(compose("serve", composed("serve", f"{command} ")), ServeConfig).port == 8765


def test_the_benchmark_is_shown() -> None:
    assert BENCHMARK in COMMANDS  # tests/test_benchmarks.py runs it


def test_tensorboard_reads_what_runs_leave(trained: Path) -> None:
    (command,) = (line for line in COMMANDS if line.startswith("tensorboard"))
    looked = subprocess.run([*shlex.split(command), "--inspect"], capture_output=True, text=True, check=False)
    assert "validation/dice" in looked.stdout, looked.stderr


def composed(script: str, text: str) -> list[str]:
    """The overrides of a script in a line of shell; of a swept key its first value."""
    (arguments,) = re.findall(rf"{script}\.py ([^&;]*)", text)
    words = shlex.split(arguments.replace("<folder>", "folder"))
    return [re.sub(r",.*", "", word) if "--multirun" in words else word for word in words if word[:2] != "--"]


@pytest.mark.parametrize("command", sorted({line for line in COMMANDS + INLINE if needs_other_hardware(line)}))
def test_commands_for_other_hardware_compose(command: str) -> None:
    register()
    overrides = composed("train", command)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides, return_hydra_config=True)
    with open_dict(config):
        del config["hydra"]
    accelerator = settings(config, TrainConfig).trainer.accelerator
    assert accelerator in (("gpu", "mps") if re.search(r"trainer=(?!cpu)", command) else ("auto", "cpu"))


@pytest.mark.parametrize("command", sorted({line for line in INLINE if not needs_other_hardware(line)}))
def test_commands_within_a_sentence_compose(command: str) -> None:
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings(compose("train", composed("train", command)), TrainConfig)


def test_the_container_is_given_settings_of_predict() -> None:
    register()
    (command,) = (line for line in COMMANDS if line.startswith("docker run") and "--entrypoint" not in line)
    overrides = command.partition(" lung_seg ")[2].split()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert settings(compose("predict", overrides), PredictConfig).input == "/radiographs"
