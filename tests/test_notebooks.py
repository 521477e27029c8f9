"""The notebooks run from top to bottom on small data and leave the files they describe; no network is needed."""

import base64
import contextlib
import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from tests.layouts import write_kaggle

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = (
    "data.image_size_px=32 data.batch_size=4 model.base_channels=2 model.depth=2 "
    "trainer=cpu trainer.max_epochs=1 trainer.enable_progress_bar=false"
)


def read(name: str) -> NotebookNode:
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def cell(notebook: NotebookNode, cell_id: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == cell_id)


def text(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def pictures(notebook: NotebookNode) -> list[Image.Image]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [Image.open(BytesIO(base64.b64decode(content))) for content in found]


def warned(notebook: NotebookNode) -> list[str]:
    """Warnings that a reader would see, but tqdm's of the package ipywidgets, which the tests can do without."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    lines = [line for output in outputs if output.get("name") == "stderr" for line in output.text.splitlines()]
    return [line for line in lines if "Warning" in line and "IProgress not found" not in line]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder for the notebooks, without access to the package index."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name, value in {
        "LUNG_SEG_WORK": str(folder / "work"),
        "PIP_NO_INDEX": "1",
        "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),  # the kernel of this environment, and no other of this user
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }.items():
        monkeypatch.setenv(name, value)
    return folder


@contextlib.contextmanager
def executed(notebook: NotebookNode, place: Path) -> Iterator[NotebookClient]:
    """Run every cell in ``place``; the kernel stays open."""
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(place)}})
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
        yield client


def commit(folder: Path) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=Test"]):
        subprocess.run([*git, *words], check=True)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository of the working tree, uncommitted changes included."""
    folder = tmp_path / "origin"
    for part in ("lung_seg", "conf"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    commit(folder)
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count]


@pytest.mark.slow
def test_kaggle(place: Path, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_kaggle(tmp_path / "input" / "chest-xray-masks-and-labels", cases=6)
    for name, value in {
        "REPOSITORY": str(origin),
        "INPUT": str(tmp_path / "input"),
        "SCRATCH": str(place / "scratch"),
        "PAUSE_S": "0.1",
        "KAGGLE_USER": "somebody",
        "OVERRIDES": f"{SMALL} data.test_cases=4",
    }.items():
        monkeypatch.setenv(f"LUNG_SEG_{name}", value)
    notebook = read("kaggle.ipynb")
    with executed(notebook, place) as kernel:
        (origin / "lung_seg" / "errors.py").write_text("NEW = True\n")
        commit(origin)
        for source in (cell(notebook, "fetch").source, "from lung_seg.errors import NEW"):
            kernel.execute_cell(nbformat.v4.new_code_cell(source), 0)

    assert text(cell(notebook, "install")) == "Missing: nothing\n"
    assert str(place / "scratch" / "lung_seg" / "lung_seg") in text(cell(notebook, "import"))
    assert "'CXR_png': 14, 'masks': 12, 'test': 2" in text(cell(notebook, "wait"))
    assert "shenzhen" in text(cell(notebook, "evaluate"))
    assert len(pictures(notebook)) == 1
    assert not warned(notebook)

    (run_dir,) = (path for path in (place / "work" / "runs" / "train").iterdir() if not path.is_symlink())
    assert (run_dir / "checkpoints" / "best.ckpt").is_file()
    assert (run_dir / "report.html").is_file()
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["command"].startswith("python train.py data=montgomery_shenzhen data.image_size_px=256")
    assert summary["data"]["cases"] == {"train": 6, "validation": 2, "test": 4}
    with (place / "work" / "runs" / "evaluate" / run_dir.name / "cases.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert {path.name for path in place.iterdir()} == {"scratch", "work"}

    weights = place / "work" / "lung-seg-weights"
    expected = {"lungs.onnx", "lungs.pt2", "lungs.safetensors", "MODEL_CARD.md", "dataset-metadata.json"}
    assert {path.name for path in weights.iterdir()} == expected
    check_metadata(json.loads((weights / "dataset-metadata.json").read_text(encoding="utf-8")))


def check_metadata(metadata: dict[str, Any]) -> None:
    """Kaggle's rules: https://github.com/Kaggle/kaggle-api/blob/main/docs/datasets_metadata.md."""
    assert 6 <= len(metadata["title"]) <= 50
    assert 20 <= len(metadata["subtitle"]) <= 80
    assert re.fullmatch(r"somebody/[a-z0-9-]{3,50}", metadata["id"])
    assert metadata["licenses"] == [{"name": "other"}]
    assert "MIT" in metadata["description"]


@pytest.mark.slow
def test_local(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNG_SEG_OVERRIDES", f"{SMALL} data.phantom.cases=20 data.test_cases=4")
    notebook = read("local.ipynb")
    with executed(notebook, place):
        pass
    (run_dir,) = (path for path in (place / "work" / "runs" / "train").iterdir() if not path.is_symlink())
    assert (run_dir / "checkpoints" / "best.ckpt").is_file()
    assert (run_dir / "report.html").is_file()
    assert len(pictures(notebook)) == 4
    assert re.search(r"right_lung_area_mm2 +\d+\.\d", text(cell(notebook, "measure")))
    assert not warned(notebook)
    assert {path.name for path in place.iterdir()} == {"work"}


def test_missing_packages_are_installed_and_torch_keeps_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        """[project]
        name = "lung_seg"
        dependencies = ["numpy>=999"]
        optional-dependencies = { train = ["torch>=1", "not-on-kaggle"], onnx = ["onnx"] }"""
    )
    commands: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda words, check: commands.append(list(map(str, words))))
    names = {"PROJECT": tmp_path, "SCRATCH": tmp_path, "subprocess": subprocess, "sys": sys}
    exec(cell(read("kaggle.ipynb"), "install").source, names)
    assert capsys.readouterr().out == "Missing: numpy>=999, not-on-kaggle\n"
    (pip,) = commands
    assert pip[-2:] == ["--editable", f"{tmp_path}[train,onnx]"]
    held = Path(pip[pip.index("--constraint") + 1])
    assert held.read_text() == f"torch=={version('torch')}\n"


@pytest.fixture
def waiting(tmp_path: Path) -> dict[str, Any]:
    """The variables of the Kaggle notebook before it waits for its data."""
    write_kaggle(tmp_path, cases=1)
    return {"Path": Path, "INPUT": tmp_path, "PATIENCE_S": 5.0, "PAUSE_S": 0.05}


def test_waiting_for_data_that_do_not_come_ends_in_plain_words(waiting: dict[str, Any]) -> None:
    shutil.rmtree(waiting["INPUT"] / "Lung Segmentation" / "masks")
    with pytest.raises(TimeoutError, match=r"after 0 s; found: \{'CXR_png': 4, 'masks': 0, 'test': 2\}.*\n.*Add Input"):
        exec(cell(read("kaggle.ipynb"), "wait").source, waiting | {"PATIENCE_S": 0.2})


def test_waiting_lasts_until_no_more_files_come(waiting: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    masks = waiting["INPUT"] / "Lung Segmentation" / "masks"
    coming = ["CHNCXR_0002_1_mask.png", "CHNCXR_0003_1_mask.png"]

    def another_arrives(_: float) -> None:
        if coming:
            shutil.copy(masks / "CHNCXR_0001_1_mask.png", masks / coming.pop())

    monkeypatch.setattr("time.sleep", another_arrives)
    names = dict(waiting)
    exec(cell(read("kaggle.ipynb"), "wait").source, names)
    assert names["RAW"] == masks.parent
    assert not coming
