"""Checkpoints of earlier versions."""

from pathlib import Path

import pytest
import torch

from lung_seg.errors import UserError
from lung_seg.model.checkpoint import load_network, start_from, write_safetensors
from lung_seg.model.unet import UNet

ARGUMENTS = {"base_channels": 4, "depth": 2, "max_channels": 1024, "normalization": "batch"}


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(**ARGUMENTS).eval()


def write_checkpoint(network: UNet, path: Path, **arguments: object) -> None:
    description = {"network": ARGUMENTS | arguments, "seed": 0, "seen_before": ["a"]}
    description["data"] = {"image_size_px": 16, "resize": "stretch"}
    if path.suffix == ".safetensors":
        write_safetensors(network, description | {"ranges": {}}, path, half=False)
        return
    weights = {f"network.{name}": weight for name, weight in network.state_dict().items()}
    data = {"train": ["b"], "validation": ["c"], "test": ["d"], "ranges": {}}
    if not path.stem.startswith("old"):
        data["identities"] = {"train": ["e", "f"], "validation": ["g"], "test": ["h"]}
    torch.save({"state_dict": weights, "lung_seg": description, "LungDataModule": data}, path)


@pytest.mark.parametrize("name", ["old.ckpt", "old.safetensors"])
def test_settings_that_change_no_prediction_are_dropped(network: UNet, name: str, tmp_path: Path) -> None:
    write_checkpoint(network, tmp_path / name, dropout=0.1, upsampling="transposed")
    loaded, description = load_network(tmp_path / name)
    image = torch.randint(0, 256, (1, 1, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(loaded(image), network(image))
    assert description["network"] == ARGUMENTS


@pytest.mark.parametrize("name", ["old.ckpt", "old.safetensors"])
def test_a_network_that_can_no_longer_be_built_is_refused(network: UNet, name: str, tmp_path: Path) -> None:
    write_checkpoint(network, tmp_path / name, dropout=0.0, upsampling="interpolated")
    with pytest.raises(
        UserError, match=r"upsampling=interpolated.*no longer supported\.\nTrain the network"
    ) as refused:
        load_network(tmp_path / name)
    assert len(str(refused.value).splitlines()) == 2


def test_a_checkpoint_lists_the_cases_its_network_has_seen(network: UNet, tmp_path: Path) -> None:
    write_checkpoint(network, tmp_path / "new.ckpt")
    description = load_network(tmp_path / "new.ckpt")[1]
    assert description["cases"] == {"train": ["b"], "validation": ["c"], "test": ["d"]}
    assert description["seen"] == {"training": ["a", "e", "f"], "validation": ["g"]}


@pytest.mark.parametrize("name", ["old.ckpt", "old.safetensors"])
def test_what_an_earlier_version_saw_is_unknown_not_nothing(network: UNet, name: str, tmp_path: Path) -> None:
    write_checkpoint(network, tmp_path / name)
    assert load_network(tmp_path / name)[1]["seen"] is None
    assert start_from(tmp_path / name, ARGUMENTS)[1] is None


def test_a_network_to_train_further_has_seen_what_it_was_trained_and_validated_on(
    network: UNet, tmp_path: Path
) -> None:
    for name, seen in (("new.ckpt", ["a", "e", "f", "g"]), ("old.ckpt", None)):
        write_checkpoint(network, tmp_path / name)
        assert start_from(tmp_path / name, ARGUMENTS)[1] == seen
