"""The Dockerfile, as far as it can be checked without Docker: what it copies, installs and starts."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from tests.layouts import draw_chest, write_dicom, write_image

ROOT = Path(__file__).parents[1]
PINS = dict(
    line.split("==")
    for name in ("requirements.txt", "requirements-dev.txt")
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    if re.match(r"\w", line)
)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Runs lung-seg where the distributions in the first argument cannot be imported.
WITHOUT = """
import importlib.metadata, re, sys
missing, sys.argv = set(sys.argv[1].split()), ["lung-seg", *sys.argv[2:]]
for module, distributions in importlib.metadata.packages_distributions().items():
    if missing.issuperset(re.sub(r"[-_.]+", "-", name).lower() for name in distributions):
        sys.modules[module] = None
from lung_seg.cli.main import main
main()
"""


def instructions(word: str) -> list[list[str]]:
    """The words after each instruction of one kind."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{word} ")]


def copied() -> list[str]:
    return [source for words in instructions("COPY") for source in words[:-1]]


def distribution(requirement: str) -> str:
    return re.split(r"[\[<>=~! ]", requirement)[0]


def pip_commands() -> list[list[str]]:
    commands = [command.split() for words in instructions("RUN") for command in " ".join(words).split("&&")]
    return [command for command in commands if command[0] == "pip"]


def installed() -> set[str]:
    """Names of the distributions that the pip commands install, those that the package requires included."""
    named = {word for _, _, *words in pip_commands() for word in words if not word.startswith("-")}
    assert ".[dicom,page]" in named
    extras = (PROJECT["optional-dependencies"][extra] for extra in ("dicom", "page"))
    requirements = PROJECT["dependencies"] + [requirement for extra in extras for requirement in extra]
    return named - {".[dicom,page]"} | {distribution(requirement) for requirement in requirements}


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path from the build: of the patterns that fit it or a folder it is in, the last."""
    places = [path, *map(str, PurePosixPath(path).parents)]
    ignored = False
    for pattern in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if any(fnmatch(place, pattern.lstrip("!")) for place in places):
            ignored = not pattern.startswith("!")
    return ignored


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_is_there_and_reaches_the_build(source: str) -> None:
    assert (ROOT / source).exists()
    assert not is_ignored(source)


def test_the_build_gets_the_weights_and_nothing_else() -> None:
    assert not is_ignored("lung_seg/weights/lungs.safetensors")
    assert is_ignored("lung_seg/raw/__pycache__")
    assert {path.name for path in ROOT.iterdir() if not is_ignored(path.name)} == set(copied())


def test_it_starts_predict_as_an_ordinary_user() -> None:
    *_, films = instructions("WORKDIR")
    assert films == ["/films"]
    (entry,) = re.findall(r"^ENTRYPOINT (.+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert json.loads(entry) == ["lung-seg", "predict"]
    assert "lung-seg" in PROJECT["scripts"]
    assert instructions("USER") == [["1000"]]


def test_what_the_package_is_built_from_is_copied() -> None:
    sources = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "lung_seg", "hydra_plugins", "conf"}
    assert sources < set(copied())


def test_what_is_installed_has_a_version() -> None:
    words = [word for line in instructions("RUN") for word in line]
    assert {"requirements.txt", "requirements-dev.txt"} < set(words)
    for command in pip_commands():
        assert {"install", "--no-cache-dir", "--constraint=pins.txt"} < set(command)
    assert installed() < PINS.keys()
    assert {"torch", "pydicom", "fastapi", "uvicorn"} < installed()


def test_predicting_needs_no_more_than_is_installed(tmp_path: Path) -> None:
    image = draw_chest(1, 80, 64)[0]
    write_image(tmp_path / "films" / "one.png", image)
    write_dicom(tmp_path / "films" / "two.dcm", image.astype(np.uint16))
    missing = " ".join(name.lower() for name in PINS.keys() - installed())
    assert "pytorch-lightning" in missing
    command = [sys.executable, "-c", WITHOUT, missing, "predict", str(tmp_path / "films"), f"output={tmp_path / 'out'}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("HOME", None)  # with --user there may be none
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Predicted 2 radiographs" in done.stdout
    assert not (tmp_path / "runs").exists()
