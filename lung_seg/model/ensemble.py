"""Several networks as one."""

import torch
from torch import Tensor, nn

from lung_seg.model.unet import UNet


class Ensemble(nn.Module):
    """Mean probability of several networks, as logits."""

    def __init__(self, networks: list[UNet]):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.step_px = max(network.step_px for network in networks)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, 1, S, S) of images (N, 1, S, S)."""
        probability = torch.stack([network(image).float().sigmoid() for network in self.networks]).mean(0)
        return probability.logit(eps=1e-7)  # closer to 1 float32 has no more values
