"""The U-Net of Ronneberger, Fischer and Brox 2015 (doi:10.1007/978-3-319-24574-4_28), in plain PyTorch.

Differences from the paper, all usual today: convolutions are padded, so that the logits are as large as the image;
each is followed by a normalisation; and the image is standardised inside, so that no caller can forget it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP_CHANNELS = 8  # channels a group normalisation averages over, at least


class UNet(nn.Module):
    """Logits of lung for each pixel.

    Args:
        base_channels: channels of the first level; each level down doubles them.
        max_channels: where the doubling ends, so that a deep network stays small (Isensee et al. 2021,
            doi:10.1038/s41592-020-01008-z).
        depth: how often the resolution is halved; the image's sides must be multiples of 2**depth.
        normalization: "batch", "instance" or "group".
    """

    def __init__(
        self,
        base_channels: int = 64,
        depth: int = 4,
        max_channels: int = 1024,
        normalization: str = "batch",
    ):
        super().__init__()
        channels = [min(base_channels * 2**level, max_channels) for level in range(depth + 1)]
        way_up = list(zip(channels[:0:-1], channels[-2::-1], strict=True))  # channels below and after each step
        self.encoders = nn.ModuleList(
            _two_convolutions(before, after, normalization)
            for before, after in zip([1, *channels], channels, strict=False)
        )
        self.upsamplers = nn.ModuleList(
            nn.ConvTranspose2d(below, width, kernel_size=2, stride=2) for below, width in way_up
        )
        self.decoders = nn.ModuleList(_two_convolutions(2 * width, width, normalization) for _, width in way_up)
        self.head = nn.Conv2d(channels[0], 1, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, 1, H, W) of grey images (N, 1, H, W) of any numeric type and scale."""
        features = standardise(image)
        skipped: list[Tensor] = []
        for level, encoder in enumerate(self.encoders):
            features = encoder(features if level == 0 else F.max_pool2d(features, 2))
            skipped.append(features)
        features = skipped.pop()
        for upsampler, decoder in zip(self.upsamplers, self.decoders, strict=True):
            features = decoder(torch.cat([skipped.pop(), upsampler(features)], dim=1))
        logits: Tensor = self.head(features)
        return logits


def standardise(image: Tensor) -> Tensor:
    """Each image with mean 0 and standard deviation 1, float32: exposure and scale no longer matter."""
    values = image.float()
    deviation, mean = torch.std_mean(values, dim=(1, 2, 3), keepdim=True)
    return (values - mean) / deviation.clamp_min(1e-3)


def _two_convolutions(before: int, after: int, normalization: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [
            nn.Conv2d(channels, after, kernel_size=3, padding=1, bias=False),
            _normalise(after, normalization),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _normalise(channels: int, normalization: str) -> nn.Module:
    match normalization:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "group":
            groups = range(max(1, channels // GROUP_CHANNELS), 0, -1)
            return nn.GroupNorm(next(count for count in groups if channels % count == 0), channels)
        case _:
            raise ValueError(f"normalization={normalization!r} must be batch, instance or group.")
