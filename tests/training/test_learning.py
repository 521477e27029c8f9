"""The network learns: it overfits two cases, and phantoms teach it phantoms."""

from functools import partial
from pathlib import Path

import pytest
import torch

from lung_seg.model.losses import SegmentationLoss
from lung_seg.model.metrics import overlap_counts, overlap_scores
from lung_seg.model.unet import UNet
from lung_seg.raw.phantom.draw_phantom import draw_phantom
from tests.conftest import Run


def test_two_cases_are_overfitted() -> None:
    torch.manual_seed(0)
    phantoms = [draw_phantom(seed, 32, 32) for seed in (1, 2)]
    images = torch.stack([torch.from_numpy(phantom.image)[None] for phantom in phantoms])
    masks = torch.stack([torch.from_numpy(phantom.left_mask | phantom.right_mask)[None] for phantom in phantoms])
    network, loss = UNet(8, 2), SegmentationLoss(dice_weight=1.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss(network(images), masks).mean().backward()
        optimizer.step()
    dice = overlap_scores(overlap_counts(network(images), masks))["dice"]
    assert dice.min().item() > 0.97


@pytest.mark.slow
def test_phantoms_teach_a_small_network_to_find_the_lungs_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    phantoms = ("data.phantom.cases=120", "data.phantom.size_px=48", "data.image_size_px=48", "data.test_cases=20")
    training = ("model.base_channels=8", "model.depth=3", "trainer=cpu", "trainer.max_epochs=8", "optimizer.lr=5e-3")
    outcome = run("train", *phantoms, *training, "trainer.enable_progress_bar=false", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    evaluate = partial(run, "evaluate", "checkpoint=run", "trainer=cpu", "hydra.run.dir=scored")
    dice = float(evaluate().out.split("\nall ")[1].split()[1])
    assert dice > 0.75
