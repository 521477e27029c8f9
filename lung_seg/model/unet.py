"""The U-Net of Ronneberger, Fischer and Brox 2015 (doi:10.1007/978-3-319-24574-4_28), in plain PyTorch.

Differences from the paper, all usual today: convolutions are padded, so that the logits are as large as the image;
each is followed by a normalisation; and the image is standardised inside, so that no caller can forget it.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS_PER_GROUP = 8  # of a group normalisation, at least


class UNet(nn.Module):
    """Logits of lung for each pixel.

    Args:
        base_channels: channels of the first level; each level down doubles them.
        depth: how often the resolution is halved; the image's sides must be multiples of 2**depth.
        max_channels: where the doubling ends, so that a deep network stays small (Isensee et al. 2021,
            doi:10.1038/s41592-020-01008-z).
        normalization: "batch", "instance" or "group".
    """

    def __init__(self, base_channels: int = 64, depth: int = 4, max_channels: int = 1024, normalization: str = "batch"):
        super().__init__()
        channels = [min(base_channels * 2**level, max_channels) for level in range(depth + 1)]
        down, up = list(pairwise([1, *channels])), list(pairwise(reversed(channels)))
        self.step_px = 2**depth  # the image's sides are multiples of it
        self.encoders = nn.ModuleList(_double_convolution(before, after, normalization) for before, after in down)
        self.upsamplers = nn.ModuleList(nn.ConvTranspose2d(below, here, kernel_size=2, stride=2) for below, here in up)
        self.decoders = nn.ModuleList(_double_convolution(2 * here, here, normalization) for _, here in up)
        self.head = nn.Conv2d(channels[0], 1, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, 1, H, W) of grey images (N, 1, H, W) of any numeric type and scale."""
        features = self.encoders[0](standardise(image))
        skips: list[Tensor] = []
        for encoder in self.encoders[1:]:
            skips.append(features)
            features = encoder(F.max_pool2d(features, kernel_size=2))
        for upsampler, decoder in zip(self.upsamplers, self.decoders, strict=True):
            features = decoder(torch.cat([skips.pop(), upsampler(features)], dim=1))
        logits: Tensor = self.head(features)
        return logits


def standardise(image: Tensor) -> Tensor:
    """Each image with mean 0 and standard deviation 1, float32: exposure and scale no longer matter."""
    values = image.float()
    deviation, mean = torch.std_mean(values, dim=(1, 2, 3), keepdim=True)
    return (values - mean) / deviation.clamp_min(1e-3)


def _double_convolution(in_channels: int, out_channels: int, normalization: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, kernel_size=3, padding=1, bias=False))
        layers += [_normalization(out_channels, normalization), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _normalization(channels: int, kind: str) -> nn.Module:
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "group":
            counts = range(1, max(1, channels // CHANNELS_PER_GROUP) + 1)
            return nn.GroupNorm(max(count for count in counts if channels % count == 0), channels)
    raise ValueError(f"normalization={kind!r} must be batch, instance or group.")
