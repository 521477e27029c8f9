"""What a run says about its own source."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

from lung_seg import environment


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def revision(package: Path) -> str | None:
    """The revision by a copy of the module in another place."""
    package.mkdir(parents=True)
    shutil.copy(environment.__file__, package / "environment.py")
    spec = importlib.util.spec_from_file_location("copied", package / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.git_revision()


def test_the_revision_is_that_of_the_packages_own_checkout(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project")
    assert revision(tmp_path / ".venv/lib/lung_seg") is None
    assert revision(tmp_path / "lung_seg") is None, "not tracked"
    git(tmp_path, "add", "lung_seg")
    git(tmp_path, "commit", "-q", "-m", "its own")
    shutil.rmtree(tmp_path / "lung_seg")
    assert revision(tmp_path / "lung_seg") == git(tmp_path, "rev-parse", "HEAD")
