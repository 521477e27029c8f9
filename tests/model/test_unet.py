"""The U-Net: sizes, presets, independence of exposure."""

from itertools import product
from pathlib import Path

import pytest
import torch
import yaml

from lung_seg.model.unet import UNet, standardise

CONF = Path(__file__).parents[2] / "conf" / "model"


@pytest.mark.parametrize(("normalization", "depth"), list(product(("batch", "instance", "group"), (1, 3))))
def test_logits_are_as_large_as_the_image(normalization: str, depth: int) -> None:
    network = UNet(4, depth, normalization=normalization)
    image = torch.randint(0, 256, (2, 1, 32, 48), dtype=torch.uint8)
    logits = network(image)
    assert logits.shape == (2, 1, 32, 48)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("preset", "fewest", "most"), [("unet", 30.5e6, 31.5e6), ("unet_small", 1.8e6, 2.1e6), ("unet_tiny", 0.1e6, 0.6e6)]
)
def test_presets_have_the_parameters_they_promise(preset: str, fewest: float, most: float) -> None:
    settings = yaml.safe_load((CONF / f"{preset}.yaml").read_text())
    with torch.device("meta"):
        network = UNet(**settings)
    assert fewest < sum(weights.numel() for weights in network.parameters()) < most


def test_exposure_and_scale_of_the_image_do_not_matter() -> None:
    torch.manual_seed(0)
    network = UNet(4, 2).eval()
    image = torch.rand(1, 1, 16, 16)
    brighter = image * 3.5 + 40
    torch.testing.assert_close(network(image), network(brighter), atol=1e-4, rtol=1e-4)


def test_images_of_a_batch_are_standardised_apart() -> None:
    dark, bright = torch.rand(1, 1, 8, 8), 200 + 50 * torch.rand(1, 1, 8, 8)
    together = standardise(torch.cat([dark, bright]))
    torch.testing.assert_close(together, torch.cat([standardise(dark), standardise(bright)]))
    torch.testing.assert_close(together.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(together.std(dim=(1, 2, 3)), torch.ones(2), atol=1e-4, rtol=0)


def test_a_blank_image_gives_finite_logits() -> None:
    assert UNet(4, 2)(torch.zeros(2, 1, 16, 16, dtype=torch.uint8)).isfinite().all()


def test_an_unknown_normalization_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="normalization='other'"):
        UNet(4, 2, normalization="other")


def test_channels_double_up_to_the_most_allowed() -> None:
    network = UNet(4, depth=4, max_channels=8)
    widths = [encoder[0].weight.shape[0] for encoder in network.encoders]
    assert widths == [4, 8, 8, 8, 8]
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("normalization", ["batch", "instance", "group"])
@pytest.mark.parametrize(("base_channels", "max_channels"), [(1, 1), (3, 20), (12, 1024), (20, 1024), (16, 8)])
def test_any_number_of_channels_makes_a_network(base_channels: int, max_channels: int, normalization: str) -> None:
    network = UNet(base_channels, 2, max_channels, normalization)
    assert network(torch.zeros(1, 1, 16, 16)).shape == (1, 1, 16, 16)


def test_groups_are_of_eight_channels_where_they_divide() -> None:
    network = UNet(16, 1, normalization="group")
    assert [encoder[1].num_groups for encoder in network.encoders] == [2, 4]
    assert [encoder[1].num_groups for encoder in UNet(4, 2, normalization="group").encoders] == [1, 1, 2]


@pytest.mark.parametrize("normalization", ["batch", "instance", "group"])
def test_every_normalisation_learns_a_scale_and_a_shift(normalization: str) -> None:
    layer = UNet(8, 1, normalization=normalization).encoders[0][1]
    assert (layer.weight.shape, layer.bias.shape) == ((8,), (8,))
