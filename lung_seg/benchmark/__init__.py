"""How fast this machine prepares, reads, trains and predicts, against what it could; and what holds it back."""

import dataclasses
import json
import logging
import platform
from pathlib import Path
from typing import Any

import torch

from lung_seg.benchmark.growing import measure_growth
from lung_seg.benchmark.predicting import measure_predicting
from lung_seg.benchmark.preparing import measure_preparing, measure_reading
from lung_seg.benchmark.training import measure_training
from lung_seg.benchmark.turns import peak_memory
from lung_seg.config import BenchmarkConfig
from lung_seg.cores import usable_cores
from lung_seg.files import write_text
from lung_seg.hardware import make_trainer
from lung_seg.provenance import git_revision, versions

log = logging.getLogger(__name__)


def benchmark(config: BenchmarkConfig, run_dir: Path) -> dict[str, Any]:
    """Measure everything and leave it in benchmark.json.

    Returns:
        What benchmark.json holds.

    Raises:
        UserError: the machine lacks the hardware asked for, or there are fewer cases than a batch holds.
    """
    device = make_trainer(config.trainer).strategy.root_device
    log.info("Measuring how films of %d px are prepared …", config.film_px)
    figures = measure_preparing(config)
    log.info("Measuring how cases of %d px are read …", config.data.image_size_px)
    figures += measure_reading(config)
    log.info("Measuring how a network is trained on them …")
    training, findings = measure_training(config, device)
    log.info("Measuring how films are predicted …")
    figures += [*training, *measure_predicting(config)]
    figures += peak_memory("all of this")
    if config.growth:
        log.info("Measuring what a case costs in small sets and in large ones …")
        figures += measure_growth(config)
    result = {
        "machine": f"{usable_cores()} cores, {platform.machine()}, {_name_of(device)}",
        "figures": [dataclasses.asdict(figure) | {"median": figure.median} for figure in figures],
        "findings": findings,
        "settings": dataclasses.asdict(config),
        "versions": versions(),
        "git_revision": git_revision(),
    }
    write_text(run_dir / "benchmark.json", json.dumps(result, indent=1))
    return result


def table(result: dict[str, Any]) -> str:
    """The figures of ``benchmark``, a line each, and what they mean."""
    lines = [result["machine"], "", f"{'':40} {'median':>10} {'':9} least to most"]
    for figure in result["figures"]:
        spread = f"{min(figure['rounds']):.4g} to {max(figure['rounds']):.4g}"
        lines.append(f"{figure['what']:40} {figure['median']:10.4g} {figure['unit']:9} {spread}")
    return "\n".join([*lines, "", *result["findings"]])


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
