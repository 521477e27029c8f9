"""Files of weights from strangers: what they ask for is checked before it is built."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lung_seg import Predictor
from lung_seg.errors import UserError
from lung_seg.model import DESCRIPTION_KEY
from lung_seg.model.checkpoint import load_training
from lung_seg.model.description import check_description
from lung_seg.prediction.predictor import SHIPPED


def included() -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and description of the included network."""
    with safe_open(SHIPPED, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return weights, json.loads(file.metadata()[DESCRIPTION_KEY])


CHANGES: list[dict[str, Any]] = [
    {"network": {"depth": 60}},
    {"network": {"depth": 4.0}},
    {"network": {"base_channels": 256, "max_channels": 30000}},  # 32 GB
    {"network": {"base_channels": True}},
    {"network": {"normalization": "none"}},
    {"network": {"layers": 3}},
    {"network": []},
    {"data": {"image_size_px": -5}},
    {"data": {"image_size_px": 60000}},
    {"data": {"image_size_px": 250}},
    {"data": {"image_size_px": "256"}},
    {"data": {"resize": "crop"}},
    {"data": None},
    {"ranges": {"area": [0.0, float("inf")]}},
    {"ranges": {"area": 1.0}},
    {"ranges": {"area": ["low", "high"]}},
    {"ranges": None},
]


def test_the_value_out_of_range_is_named(tmp_path: Path) -> None:
    weights, description = included()
    description["data"]["image_size_px"] = -5
    path = tmp_path / "weights.safetensors"
    save_file(weights, path, {DESCRIPTION_KEY: json.dumps(description)})
    with pytest.raises(UserError, match=r"its data\.image_size_px=-5 must be at least 16, at most 4096"):
        Predictor(path)


@pytest.mark.parametrize("change", CHANGES, ids=json.dumps)
def test_a_description_out_of_range_is_refused_before_a_network_is_built(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    weights, description = included()
    for part, values in change.items():
        description[part] = description[part] | values if values and isinstance(values, dict) else values
    path = tmp_path / "weights.safetensors"
    save_file(weights, path, {DESCRIPTION_KEY: json.dumps(description)})
    with pytest.raises(UserError) as refused:
        Predictor(path)
    assert len(str(refused.value).splitlines()) == 2
    assert str(path) in str(refused.value)


def test_the_included_description_passes() -> None:
    check_description(included()[1])


def test_a_checkpoint_that_unpacks_without_bound_is_refused(trained: Path) -> None:
    usual = Path("runs/first/checkpoints/best.ckpt")
    Predictor(usual)
    with zipfile.ZipFile(usual) as file, zipfile.ZipFile("bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in file.infolist():
            bomb.writestr(entry.filename, file.read(entry))
        bomb.writestr("archive/data/bomb", bytes(50_000_000))
    assert Path("bomb.ckpt").stat().st_size < 1_000_000
    for opening in (Predictor, load_training):
        with pytest.raises(UserError, match=r"bomb.ckpt is no whole checkpoint"):
            opening(Path("bomb.ckpt"))


def nested(levels: int) -> list[Any]:
    """A list of two references to a list of two references ...: small in a file, 2 to the power of levels long."""
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


SHAPE = (4, 1, 3, 3)  # of the first weight
ODD: dict[str, Any] = {
    "one number seen many times": torch.zeros(1).expand(2**10, 2**20),  # 4 GB
    "the same in half precision": torch.zeros(1, dtype=torch.half).expand(2**10, 2**20),
    "sparse": torch.zeros(SHAPE).to_sparse(),
    "without numbers": torch.empty(SHAPE, device="meta"),
    "complex": torch.zeros(SHAPE, dtype=torch.complex64),
    "whole numbers": torch.zeros(SHAPE, dtype=torch.int64),
    "a list": nested(50),
}


@pytest.mark.parametrize("kind", ODD)
def test_weights_that_are_no_stored_numbers_are_refused(trained: Path, kind: str) -> None:
    checkpoint = torch.load("runs/first/checkpoints/best.ckpt", weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    assert checkpoint["state_dict"][name].shape == SHAPE
    checkpoint["state_dict"][name] = ODD[kind]
    torch.save(checkpoint, "odd.ckpt")
    with pytest.raises(UserError, match=r"^odd.ckpt is no whole checkpoint of this project.*\n.+$"):
        Predictor("odd.ckpt")
