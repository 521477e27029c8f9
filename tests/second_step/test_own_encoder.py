"""A network of the user's as second_step.encoder=module:function, what it is refused for, and its classifier."""

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lung_seg.errors import UserError
from lung_seg.second_step.analysis import read_labels
from lung_seg.second_step.own_encoder import own_encoder
from tests.conftest import Run
from tests.second_step.radiographs import few_fits, write_two_hospitals

NUMBERS = itertools.count()  # of the modules: Python imports each name once
BUILD = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d({channels}, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(4))
"""
RETURNS = """
import torch
from torch import nn

class Network(nn.Module):
    def forward(self, image):
        return {value}

def build():
    return Network()
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def write_module(code: str) -> str:
    name = f"encoder_of_a_user_{next(NUMBERS)}"
    Path(f"{name}.py").write_text(code)
    return name


def returned(value: str) -> str:
    return f"{write_module(RETURNS.format(value=value))}:build"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_maps_are_those_of_the_network_with_the_channels_that_it_takes(channels: int) -> None:
    module = write_module(BUILD.format(channels=channels))
    encoder = own_encoder(f"{module}:build")
    image = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    (level,) = encoder.maps(image)
    network = sys.modules[module].build()
    with torch.no_grad():
        expected = network(torch.from_numpy(image).expand(1, channels, -1, -1))[0].numpy()
    np.testing.assert_allclose(level, expected, atol=1e-6)


@pytest.mark.parametrize(
    "value", ["[image[:, :2], image[:, :, ::2, ::2]]", "(image[:, :2], image[:, :, ::2, ::2])",
              "{'a': image[:, :2], 'b': image[:, :, ::2, ::2].double()}"],
)  # fmt: skip
def test_several_levels_come_in_a_list_a_tuple_or_a_mapping(value: str) -> None:
    levels = own_encoder(returned(value)).maps(np.zeros((64, 64), np.float32))
    assert [(level.shape, level.dtype) for level in levels] == [((2, 64, 64), "float32"), ((3, 32, 32), "float32")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("image.mean((2, 3))", "returns a tensor (1, 3), not feature maps (1, channels, height, width)"),
        ("image.mean((2, 3), keepdim=True)", "returns a tensor (1, 3, 1, 1), not feature maps"),
        ("image[:, :, :32]", "returns a tensor (1, 3, 32, 64), not feature maps"),
        ("image.repeat(1, 1, 2, 2)", "returns a tensor (1, 3, 128, 128), not feature maps"),
        ("[image, 'a']", "returns str, not feature maps"),
        ("[]", "returns list, not feature maps"),
        ("None", "returns NoneType, not feature maps"),
        ("image / 0", "returns values that are not finite"),
        ("image @ image[:, :, :32]", "fails with an image (1, 3, 64, 64): "),
    ],
)
def test_a_network_without_feature_maps_is_refused_in_two_lines(value: str, message: str) -> None:
    name = returned(value)
    with pytest.raises(UserError) as refused:
        own_encoder(name).maps(np.zeros((64, 64), np.float32))
    first, second = str(refused.value).splitlines()
    assert first.startswith(f"The encoder {name} {message}")
    assert second == "Return a network without its pooling and classifier, such as a backbone that returns its stages."


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "has no attribute 'build'"),
        ("def build(): return 3", "it returns int, not a torch.nn.Module"),
        ("def build(): raise OSError('no weights\\nhere.')", "no weights."),
        ("def build(size): ...", "missing 1 required positional argument: 'size'"),
        ("def build(:", "invalid syntax"),
        ("build = 3", "'int' object is not callable"),
        ("import a_package_that_is_not_there", "No module named 'a_package_that_is_not_there'"),
    ],
)
def test_a_function_that_makes_no_network_is_refused_in_two_lines(code: str, message: str) -> None:
    name = f"{write_module(code)}:build"
    with pytest.raises(UserError) as refused:
        own_encoder(name)
    first, second = str(refused.value).splitlines()
    assert first.startswith(f"The encoder {name} cannot be made: ")
    assert message in first
    assert second.startswith("Name a function without arguments that returns a torch.nn.Module")


def test_other_weights_or_code_have_another_digest() -> None:
    code = BUILD.format(channels=1)
    names = [write_module(text) for text in (code, code, code + "\n# changed\n", code.replace("seed(0)", "seed(1)"))]
    digests = [own_encoder(f"{name}:build").digest for name in names]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_study_with_ones_own_encoder_and_its_classifier(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    few_fits(monkeypatch)
    monkeypatch.setitem(read_labels.__globals__, "MIN_PATIENTS", 6)
    monkeypatch.setattr("lung_seg.second_step.scores.RESAMPLES", 20)
    write_two_hospitals(Path("raw"))
    small = (
        "data.raw_dir=raw",
        "data.image_size_px=64",
        "data.test_cases=4",
        "hydra.run.dir=run",
        "second_step.seeds=1",
    )
    without_maps = returned("image.mean((2, 3))")
    refused = run("tuberculosis", *small, f"second_step.encoder={without_maps}")
    assert refused.code == 2
    assert refused.err.splitlines()[-2].startswith(f"The encoder {without_maps} returns a tensor (1, 3), not feature")

    name = f"{write_module(BUILD.format(channels=3))}:build"
    outcome = run("tuberculosis", *small, f"second_step.encoder={name}")
    assert outcome.code == 0, outcome.err
    between = [trial for trial in json.loads(Path("run/summary.json").read_text())["trials"] if "→" in trial["name"]]
    assert all(trial["scores"]["lungs"]["auc"] > 0.8 for trial in between)
    classifier = json.loads(Path("run/classifier.json").read_text())
    assert (classifier["encoder"], len(classifier["classifier"]["weights"])) == (name, 6)

    film = next(Path("raw/MontgomerySet/CXR_png").glob("*_1.png"))
    predict = ("predict", f"input={film}", "output=out", "tuberculosis=run")
    refused = run(*predict)
    assert refused.code == 2
    assert refused.err.splitlines() == [
        f"run/classifier.json was fitted on other code, {name}; none is run because a file names it.",
        f"If that is code of yours, name it: tuberculosis_encoder={name}",
    ]
    other = f"{write_module(BUILD.format(channels=1))}:build"
    refused = run(*predict, f"tuberculosis_encoder={other}")
    assert refused.err.splitlines()[0] == f"run/classifier.json was fitted on other weights or code than {other}."
    assert len(refused.err.splitlines()) == 2
    outcome = run(*predict, f"tuberculosis_encoder={name}")
    assert outcome.code == 0, outcome.err
    with Path("out/predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["tb_score"] or row["tb_text"].startswith("Not assessed: ")


@pytest.mark.parametrize("name", ["resnet", "a:b:c", "a b:c", "../a:b", ":build", "a:"])
def test_what_is_no_name_is_refused_in_two_lines(run: Run, name: str) -> None:
    refused = run("tuberculosis", "data.raw_dir=raw", f"second_step.encoder='{name}'")
    assert refused.code == 2
    first, second = refused.err.splitlines()
    assert first == f"second_step.encoder={name} must be one of unet | efficientnet | both | module:function."
    assert second
