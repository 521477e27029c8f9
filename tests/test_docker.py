"""The Dockerfile, as far as can be told without an engine: what it copies, installs and starts."""

import json
import os
import re
import shlex
import subprocess
import sys
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

# Runs predict.py where the distributions named first cannot be imported.
WITHOUT = """
import importlib.metadata, re, sys
lacking, sys.argv = set(sys.argv[1].split()), ["predict.py", *sys.argv[2:]]
for module, distributions in importlib.metadata.packages_distributions().items():
    if lacking.issuperset(re.sub(r"[-_.]+", "-", name).lower() for name in distributions):
        sys.modules[module] = None
import predict
predict.main()
"""


def instructions(word: str) -> list[list[str]]:
    """The words after each instruction of one kind."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{word} ")]


def copied() -> list[str]:
    return [source for words in instructions("COPY") for source in words[:-1]]


def installed() -> set[str]:
    """Names of the distributions that the pip commands ask for."""
    (words,) = instructions("RUN")
    commands = [command.split() for command in " ".join(words).split("&&")]
    return {word for first, *rest in commands if first == "pip" for word in rest[1:] if not word.startswith("-")}


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
    assert is_ignored("lung_seg/data/__pycache__")
    assert {path.name for path in ROOT.iterdir() if not is_ignored(path.name)} == set(copied())


def test_it_starts_predict_as_an_ordinary_user() -> None:
    (app,), (films,) = instructions("WORKDIR")
    assert "predict.py" in copied()
    assert films == "/films"
    (entry,) = re.findall(r"^ENTRYPOINT (.+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert json.loads(entry) == ["python", f"{app}/predict.py"]
    assert instructions("USER") == [["1000"]]


def test_what_is_installed_has_a_version() -> None:
    (words,) = instructions("RUN")
    assert {"requirements.txt", "requirements-dev.txt"} < set(words)
    assert words.count("--constraint=pins.txt") == words.count("--no-cache-dir") == words.count("install")
    assert installed() < PINS.keys()
    assert {"torch", "pydicom"} < installed()


def test_predicting_needs_no_more_than_is_installed(tmp_path: Path) -> None:
    image = draw_chest(1, 80, 64)[0]
    write_image(tmp_path / "films" / "one.png", image)
    write_dicom(tmp_path / "films" / "two.dcm", image.astype(np.uint16))
    lacking = " ".join(name.lower() for name in PINS.keys() - installed())
    assert "pytorch-lightning" in lacking
    command = [sys.executable, "-c", WITHOUT, lacking, f"input={tmp_path / 'films'}", f"output={tmp_path / 'out'}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("HOME", None)  # with --user there may be none
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Predicted 2 radiographs" in done.stdout
    assert not (tmp_path / "runs").exists()
