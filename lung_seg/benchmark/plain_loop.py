"""Training as it is usually written, to compare with: PNG files decoded anew each epoch, float32.

Nothing is slowed down on purpose: it is what a careful user has without this project.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lung_seg.data.augment import Augment
from lung_seg.data.manifest import Row
from lung_seg.model.unet import UNet


class PngFolder(Dataset[tuple[Tensor, Tensor]]):
    """Radiographs and masks in two folders, read whenever they are asked for."""

    def __init__(self, folder: Path, rows: list[Row], augment: Augment):
        self.folder = folder
        self.names = [f"{row.case_id}.png" for row in rows if row.split == "train"]
        self.augment = augment

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = np.array(Image.open(self.folder / "images" / self.names[index]))
        mask = np.array(Image.open(self.folder / "masks" / self.names[index]))
        image, mask = self.augment(image, mask, seed=tuple(torch.randint(2**31, (2,)).tolist()))
        return torch.from_numpy(image)[None].float() / 255, torch.from_numpy(mask)[None].float() / 255


def plain_steps(
    shape: dict[str, Any], cases: Dataset[tuple[Tensor, Tensor]], batch_size: int, workers: int, device: torch.device
) -> Iterator[float]:
    """Train a U-Net of some shape for ever; yields the loss of each step."""
    loader = DataLoader(cases, batch_size, shuffle=True, num_workers=workers, drop_last=True)
    criterion = nn.BCEWithLogitsLoss()
    network = UNet(**shape).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    while True:
        for image, mask in loader:
            optimizer.zero_grad()
            loss = criterion(network(image.to(device)), mask.to(device))
            loss.backward()
            optimizer.step()
            yield loss.item()
