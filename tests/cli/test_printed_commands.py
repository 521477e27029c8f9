"""Every command and package that a message of the package names, whether or not another test runs it."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lung_seg.cli.schema import SCHEMAS, key_names
from lung_seg.environment import CONF_DIR

ROOT = Path(__file__).parents[2]
ANY = "…"  # in place of an f-string's value


def texts() -> Iterator[str]:
    """All strings of the package, those of f-strings with their values left out."""
    for path in sorted((ROOT / "lung_seg").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else ANY for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


TEXTS = sorted(set(texts()))
COMMANDS = sorted(
    {found for text in TEXTS for found in re.findall(r"python \w+\.py(?: [\w.]+=[^\s,;:)]+)*", text) if " " in found}
)
INSTALLED = sorted({found for text in TEXTS for found in re.findall(r'pip install "lung_seg\[([\w,]+)\]"', text)})


def test_commands_and_packages_are_found() -> None:
    assert "python export.py format=onnx" in COMMANDS
    assert len(COMMANDS) > 8
    assert {"train", "onnx", "dicom", "page", "second_step", "cluster"} <= set(INSTALLED)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_a_script_and_keys_that_exist(command: str) -> None:
    _, script, *arguments = shlex.split(command)
    assert (ROOT / script).is_file()
    groups = {path.name for path in CONF_DIR.iterdir() if path.is_dir()}
    for key in (argument.partition("=")[0] for argument in arguments):
        assert key in {*key_names(SCHEMAS[script.removesuffix(".py")]), *groups}


@pytest.mark.parametrize("extra", INSTALLED)
def test_an_extra_is_one_of_the_package(extra: str) -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extra.split(",")) <= package["optional-dependencies"].keys()
