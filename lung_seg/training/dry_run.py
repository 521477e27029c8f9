"""What a training would do: the data it finds, its steps, an estimate of its time and memory, what it would write."""

import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from lung_seg.config import TrainConfig
from lung_seg.model.losses import SegmentationLoss
from lung_seg.model.precision import autocast, choose_precision
from lung_seg.model.unet import UNet
from lung_seg.prepared.dry_run import count_cases, describe_data
from lung_seg.prepared.store import prepared_folder
from lung_seg.templates import counted
from lung_seg.training.epoch_table import duration_text

TIMED_STEPS = 3  # after a first one, which allocates


def describe_training(config: TrainConfig, run_dir: Path) -> Iterator[str]:
    """Lines for the user; nothing is written.

    Raises:
        UserError: no radiographs are found.
    """
    cases, where = count_cases(config.data)
    trainer, batch_size = config.trainer, config.data.batch_size
    devices = trainer.devices if isinstance(trainer.devices, int) else 1
    batches = math.ceil((cases["train"] + config.data.synthetic_per_epoch) / (batch_size * devices * trainer.num_nodes))
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs
    network = UNet(**dataclasses.asdict(config.model))
    device, seconds, memory_bytes = _measure_step(network, config)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    yield describe_data(cases, where)
    yield f"Network: U-Net, {parameters / 1e6:.2f} million parameters, {config.data.image_size_px} px input"
    yield f"Steps: {steps} in {counted(trainer.max_epochs, 'epoch')}, of {batch_size} radiographs per batch and device"
    # A validation case takes a forward pass, a third of a training step's work.
    total = trainer.max_epochs * seconds * (batches + cases["validation"] / batch_size / devices / 3)
    measured = f"{1000 * seconds:.0f} ms per step measured on {device}"
    yield f"Time: about {duration_text(total)} ({measured}), without preparing"
    yield f"Memory: about {memory_bytes / 1e9:.1f} GB on {device}"
    yield f"Would write: {run_dir} and, if it is not up to date, {prepared_folder(config.data)}"


def _measure_step(network: nn.Module, config: TrainConfig) -> tuple[str, float, float]:
    """Device, seconds of a training step on random pixels, and bytes that it needs."""
    accelerator = config.trainer.accelerator
    wants_cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    wants_mps = accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available()
    device = "cuda" if wants_cuda else "mps" if wants_mps else "cpu"
    precision = choose_precision(config.trainer.precision, accelerator)
    loss = SegmentationLoss(**dataclasses.asdict(config.loss)).to(device)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters())
    shape = (config.data.batch_size, 1, config.data.image_size_px, config.data.image_size_px)
    image = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    for step in range(TIMED_STEPS + 1):
        if step == 1:
            started = time.perf_counter()
        with autocast(device, precision):
            value = loss(network(image), image > 127).mean()
        value.backward()
        optimizer.step()
        value.item()  # waits for a GPU
    seconds = (time.perf_counter() - started) / TIMED_STEPS
    if device == "cuda":
        return torch.cuda.get_device_name(), seconds, torch.cuda.max_memory_allocated()
    return ("the CPU" if device == "cpu" else "the Apple GPU"), seconds, _peak_bytes()


def _peak_bytes() -> float:
    """Most memory that this process has used."""
    if sys.platform == "win32":
        return math.nan
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
