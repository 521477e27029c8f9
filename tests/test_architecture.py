"""Who may know what: the import rules, read from the source."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lung_seg"
HYDRA = {"schema", "cli", "messages", "search", "sweep", "training"}
OMEGACONF = {"schema", "cli", "config", "keys", "messages", "search", "search_report", "sweep"}
LIGHTNING = {
    "benchmark.training",
    "model.segmenter",
    "data.datamodule",
    "callbacks",
    "crossvalidation",
    "hardware",
    "evaluation",
    "saving",
    "study",
    "training",
}
HOMELESS = {name: value for name, value in os.environ.items() if name not in ("HOME", "USERPROFILE")}  # as a service
NO_DUMPING_GROUNDS = {"utils", "util", "common", "base", "helpers", "misc"}


def modules() -> dict[str, Path]:
    """Dotted name below lung_seg, of every module."""
    found = {path.relative_to(PACKAGE).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    return {".".join(part for part in name.parts if part != "__init__"): path for name, path in found.items()}


def imports(path: Path) -> set[str]:
    """Full names of what a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def importers(*packages: str) -> set[str]:
    return {
        name for name, path in modules().items() if any(imported.startswith(packages) for imported in imports(path))
    }


def test_the_walk_sees_imports() -> None:
    assert "pytorch_lightning" in imports(PACKAGE / "training.py")
    assert len(modules()) > 25


def test_data_and_model_never_import_each_other() -> None:
    assert not {name for name in importers("lung_seg.model") if name.startswith("data")}
    assert not {name for name in importers("lung_seg.data") if name.startswith("model")}


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = {f"lung_seg.{name}": imports(path) for name, path in modules().items()}
    needs = {
        name: {found if found in known else found.rpartition(".")[0] for found in names}
        for name, names in known.items()
    }
    assert known.keys() <= set(TopologicalSorter(needs).static_order())  # a circle raises CycleError and names it


def test_only_a_few_know_hydra() -> None:
    assert importers("hydra") == HYDRA
    assert importers("omegaconf") == OMEGACONF


def test_only_a_few_know_lightning() -> None:
    assert importers("pytorch_lightning", "lightning") == LIGHTNING


def test_predicting_and_exporting_need_neither_hydra_nor_lightning() -> None:
    code = (
        "import sys, lung_seg.prediction.export, lung_seg.prediction.predictor; "
        "assert not {'hydra', 'omegaconf', 'pytorch_lightning', 'lightning'} & sys.modules.keys()"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=HOMELESS, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_the_network_is_plain_pytorch() -> None:
    assert all(name.startswith(("torch", "torch.nn")) for name in imports(PACKAGE / "model" / "unet.py"))


def test_the_scripts_are_thin() -> None:
    for script in ("train.py", "evaluate.py", "prepare_data.py", "predict.py", "export.py"):
        assert len((ROOT / script).read_text().splitlines()) <= 60


def test_no_dumping_grounds() -> None:
    assert not {name for name in modules() if name.rpartition(".")[2] in NO_DUMPING_GROUNDS}


def test_the_package_does_not_print() -> None:
    def prints(path: Path) -> bool:
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        return any(getattr(call.func, "id", "") == "print" for call in calls)

    assert not {name for name, path in modules().items() if prints(path)}


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['train.py', '--help']; import train; train.main(); assert 'torch' not in sys.modules"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=HOMELESS, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "  data.image_size_px=512                 Height and width of the network's input" in finished.stdout
    assert "  trainer.max_epochs=data.epochs         Passes over the training cases." in finished.stdout
    assert "model: unet, unet_small, unet_tiny" in finished.stdout
