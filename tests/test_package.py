"""The wheel: what it holds, and that its command works without a checkout and without the packages of training."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from setuptools import find_packages

from lung_seg import __version__
from tests.layouts import draw_chest, write_image
from tests.test_docker import PINS, PROJECT, ROOT, WITHOUT, distribution

BASE = {distribution(requirement) for requirement in PROJECT["dependencies"]}
MISSING = " ".join(name.lower() for name in PINS.keys() - BASE)
COMMANDS = ("train", "evaluate", "prepare_data", "predict", "tuberculosis", "export", "serve")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, built from a copy: setuptools writes into the folder it builds."""
    folder = tmp_path_factory.mktemp("package")
    checkout = folder / "checkout"
    for name in ("lung_seg", "hydra_plugins", "conf"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]):
        shutil.copy(ROOT / name, checkout)
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir")
    build = [sys.executable, "-m", "pip", "wheel", *options, f"--wheel-dir={folder}", str(checkout)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def python(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the wheel's content on its path, in another folder."""
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def relative_files(folder: Path, pattern: str = "*") -> set[Path]:
    files = (path.relative_to(folder) for path in folder.rglob(pattern) if path.is_file())
    return {path for path in files if "__pycache__" not in path.parts}


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert set(listed) == {"hydra_plugins", "lung_seg.conf", *find_packages(str(ROOT), include=["lung_seg*"])}


def test_the_wheel_holds_every_file_of_the_package_and_every_setting(site: Path) -> None:
    assert relative_files(ROOT / "lung_seg") <= relative_files(site / "lung_seg")
    assert relative_files(ROOT / "conf", "*.yaml") == relative_files(site / "lung_seg" / "conf")
    assert relative_files(ROOT / "hydra_plugins", "*.py") == relative_files(site / "hydra_plugins")
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    assert "lung-seg = lung_seg.cli.main:main" in entry_points.read_text(encoding="utf-8")


def test_the_installed_package_uses_its_own_settings(site: Path, tmp_path: Path) -> None:
    done = python(site, tmp_path, "-c", "from lung_seg.environment import CONF_DIR; print(CONF_DIR)")
    assert Path(done.stdout.strip()) == site / "lung_seg" / "conf", done.stderr


def test_the_command_reports_its_version_and_its_subcommands(site: Path, tmp_path: Path) -> None:
    assert python(site, tmp_path, "-m", "lung_seg.cli.main", "--version").stdout == f"lung-seg {__version__}\n"
    page = python(site, tmp_path, "-m", "lung_seg.cli.main", "--help").stdout
    assert all(f"  {name} " in page for name in COMMANDS)


def test_an_unknown_subcommand_is_refused(site: Path, tmp_path: Path) -> None:
    done = python(site, tmp_path, "-m", "lung_seg.cli.main", "predcit", "xray.png")
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first == "'predcit' is no command of lung-seg."
    assert second == "Did you mean predict? lung-seg --help lists the commands."


def test_commands_are_printed_as_they_are_installed(site: Path, tmp_path: Path) -> None:
    page = python(site, tmp_path, "-m", "lung_seg.cli.main", "predict", "--help").stdout
    assert "  lung-seg predict [key=value]" in page
    done = python(site, tmp_path, "-m", "lung_seg.cli.main", "predict", "xray.png", "checkpoint=none.onnx")
    assert done.returncode == 2
    assert "python" not in page + done.stderr


def test_it_predicts(site: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "xray.png", draw_chest(1, 80, 64)[0])
    done = python(site, tmp_path, "-m", "lung_seg.cli.main", "predict", "xray.png", "output=masks")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "masks" / "xray_mask.png").is_file()


def test_a_base_install_predicts(site: Path, tmp_path: Path) -> None:
    assert "torch" in MISSING.split()
    write_image(tmp_path / "xray.png", draw_chest(1, 80, 64)[0])
    done = python(site, tmp_path, "-c", WITHOUT, MISSING, "predict", "xray.png", "output=masks")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "masks" / "xray_mask.png").is_file()


def test_a_base_install_names_the_extra_that_the_page_needs(site: Path, tmp_path: Path) -> None:
    done = python(site, tmp_path, "-c", WITHOUT, MISSING, "serve", "browser=false")
    assert done.returncode == 2, done.stderr
    needed, remedy = done.stderr.splitlines()
    assert needed == "serve.py needs uvicorn, which is not installed."
    assert remedy == 'Install it: pip install "lung_seg[page]"'


@pytest.mark.parametrize("arguments", [["train"], ["evaluate", "runs/a"], ["export"]], ids=" ".join)
def test_a_base_install_names_the_package_that_another_command_needs(
    site: Path, tmp_path: Path, arguments: list[str]
) -> None:
    done = python(site, tmp_path, "-c", WITHOUT, MISSING, *arguments, "hydra.run.dir=run")
    assert done.returncode == 2, done.stderr
    needed, remedy = done.stderr.splitlines()
    assert needed.startswith(f"{arguments[0]}.py needs ")
    assert needed.endswith(", which is not installed.")
    assert remedy == 'Install it: pip install "lung_seg[train]"'
