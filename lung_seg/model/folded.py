"""A network for predicting on a CPU."""

import copy

from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from lung_seg.model.unet import UNet


def folded(network: UNet) -> UNet:
    """A copy for predicting, each batch normalisation folded into the convolution before it: the same but for rounding.

    On a CPU a prediction takes 0.87 of its time in bf16, 0.92 in float32 (docs/performance.md).
    """
    network = copy.deepcopy(network).eval()
    for block in [*network.encoders, *network.decoders]:
        for position, layer in enumerate(block):
            if isinstance(layer, nn.BatchNorm2d):
                block[position - 1] = fuse_conv_bn_eval(block[position - 1], layer)
                block[position] = nn.Identity()
    return network
