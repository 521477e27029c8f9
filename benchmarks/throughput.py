"""Measure how fast this machine prepares, reads, trains and predicts, and what limits its training.

Example: python benchmarks/throughput.py --seconds 4 trainer=gpu model=unet
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package need not be installed

from lung_seg.cli.schema import register, settings  # noqa: E402
from lung_seg.config import DataConfig, PhantomConfig, PredictConfig, TrainConfig  # noqa: E402
from lung_seg.environment import git_revision, keep_freed_memory, usable_cores, versions  # noqa: E402
from lung_seg.errors import UserError  # noqa: E402
from lung_seg.model.precision import TYPES, autocast, choose_precision  # noqa: E402
from lung_seg.model.unet import UNet  # noqa: E402
from lung_seg.prediction.batch import predict  # noqa: E402
from lung_seg.prediction.predictor import SHIPPED_ONNX, Predictor  # noqa: E402
from lung_seg.prepared.prepare import prepare  # noqa: E402
from lung_seg.raw.sources import find_cases  # noqa: E402
from lung_seg.training.datamodule import LungDataModule  # noqa: E402
from lung_seg.training.fit import fit, make_segmenter  # noqa: E402
from lung_seg.training.trainer import make_trainer  # noqa: E402

DEFAULTS = ("data.image_size_px=256", "data.phantom.cases=200", "model=unet_small", "trainer.enable_progress_bar=false")
WARM_UP_STEPS = 2  # of a training, not measured: they choose algorithms and fill caches
NOTABLE_SHARE = 0.1  # of a step's time: below it the network is the limit
UNLIMITED = 10_000  # epochs: the stopwatch ends a training
MATRIX_SIZE, COPY_BYTES, REPEATS = 2048, 256 * 2**20, 5  # to measure the machine's rates; larger than any cache
TRAINING, WAITING, BARE_LOOP = "training (images/s)", "waiting for cases (%)", "bare PyTorch loop (images/s)"
synchronize = torch.accelerator.synchronize if torch.accelerator.is_available() else lambda: None
Candidates = dict[str, Callable[[], float]]  # a measurement by name and unit
Values = dict[str, list[float]]  # one per round


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write everything to --output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of a measurement in each round")
    parser.add_argument("--rounds", type=int, default=5, help="each measures all candidates one after the other")
    parser.add_argument("--radiographs", type=int, default=4, help="how many to generate, prepare and predict")
    parser.add_argument("--height-px", type=int, default=4020, help="height of these radiographs")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("overrides", nargs="*", help="settings of train.py, e.g. model=unet data.batch_size=16")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    try:
        with TemporaryDirectory() as folder:
            result = run(options, Path(folder))
    except (UserError, HydraException) as error:
        parser.exit(2, f"{error}\n")
    if options.output:
        options.output.write_text(json.dumps(result, indent=1), encoding="utf-8")
    lines = [result["machine"], "", f"{'':36}{'median':>10}{'min':>10}{'max':>10}"]
    for name, row in result["values"].items():
        lines.append(f"{name:36}{row['median']:10.4g}{row['min']:10.4g}{row['max']:10.4g}")
    sys.stdout.write("\n".join([*lines, "", *result["findings"], ""]))


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure everything, with the settings of train.py but larger images and a larger network by default."""
    register()
    by_key = {override.partition("=")[0]: override for override in (*DEFAULTS, *options.overrides)}
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = settings(compose("train", list(by_key.values())), TrainConfig)
    data = LungDataModule(config.data, config.augmentation, config.seed)
    data.trainer = make_trainer(config.trainer)  # by its device the loader chooses workers and pinned memory
    device = data.trainer.strategy.root_device
    config.trainer.max_epochs = config.trainer.check_val_every_n_epoch = UNLIMITED
    data.prepare_data()
    data.setup("fit")
    phantom = PhantomConfig(cases=options.radiographs, size_px=options.height_px)
    large = dataclasses.replace(config.data, name="benchmark", source="phantom", phantom=phantom, test_cases=1)
    values = interleave(preparing(large, folder), options.rounds)
    values |= interleave(reading(data, options.seconds), options.rounds)
    values |= interleave(training(config, data, device, options.seconds), options.rounds)
    values |= interleave(predicting(large, device, options.seconds, folder), options.rounds)
    with suppress(ImportError):  # on Windows
        from resource import RUSAGE_SELF, getrusage  # counts KiB, on macOS bytes

        values["peak memory (MiB)"] = [getrusage(RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)]
    dtype = TYPES[choose_precision(config.trainer.precision, config.trainer.accelerator)]
    steps = bare_steps(dataclasses.replace(config, compile=False), data, device)  # compiled code hides its operations
    roofline = measure_roofline(partial(next, steps), device, dtype)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "machine": f"{usable_cores()} cores, {name}, {dtype}",
        "values": {k: {"median": median(v), "min": min(v), "max": max(v), "rounds": v} for k, v in values.items()},
        "roofline": roofline,
        "findings": findings(values, config.data.batch_size, roofline),
        "settings": dataclasses.asdict(config),
        "versions": versions(),
        "git_revision": git_revision(),
    }


def interleave(candidates: Candidates, rounds: int) -> Values:
    """Measure the candidates one after the other in each round, so that they share the machine's noise."""
    values: Values = {name: [] for name in candidates}
    for number in range(1, rounds + 1):
        for name, measure in candidates.items():
            sys.stderr.write(f"round {number} of {rounds}: {name}\n")
            values[name].append(measure())
    return values


def seconds_each(function: Callable[[], Any], seconds: float = 0, items: int = 1) -> float:
    """Mean duration of a call by its items; called once, and again until some seconds are over."""
    calls, started = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - started < seconds:
        function()
        calls += 1
    synchronize()
    return (time.perf_counter() - started) / calls / items


def preparing(large: DataConfig, folder: Path) -> Candidates:
    """Large radiographs into a prepared set, and decoding their files alone, both on all cores."""
    cases = find_cases(large).cases  # generated on first use
    files = [path for case in cases for path in (case.image_path, *case.mask_paths)]

    def prepare_all() -> None:
        prepare(dataclasses.replace(large, prepared_dir=mkdtemp(dir=folder)))

    def decode_all() -> None:
        list(ThreadPoolExecutor(usable_cores()).map(lambda path: Image.open(path).load(), files))

    return {
        "preparing (radiographs/s)": lambda: 1 / seconds_each(prepare_all, items=len(cases)),
        "decoding the files (radiographs/s)": lambda: 1 / seconds_each(decode_all, items=len(cases)),
    }


def reading(data: LungDataModule, seconds: float) -> Candidates:
    """Training cases from the prepared set, one after the other."""
    loader = data.train_dataloader()
    indices = list(loader.sampler)

    def microseconds(dataset: Any) -> float:
        return 1e6 * seconds_each(lambda: [dataset[index] for index in indices], seconds, len(indices))

    return {
        "reading a case (µs)": partial(microseconds, data.dataset("train")),
        "reading and augmenting a case (µs)": partial(microseconds, loader.dataset),
    }


def training(config: TrainConfig, data: LungDataModule, device: torch.device, seconds: float) -> Candidates:
    """``fit``, the share of its time that it waits for cases, and a bare loop."""
    batch_size, steps = config.data.batch_size, bare_steps(config, data, device)
    next(steps)  # the first one is slower
    waiting: list[float] = []

    def train() -> float:
        stopwatch = _Stopwatch(seconds)
        with TemporaryDirectory() as folder, suppress(TimeoutError):
            fit(config, Path(folder), [stopwatch])
        waiting.append(100 * stopwatch.waiting_s / stopwatch.measured_s)
        return batch_size * stopwatch.steps / stopwatch.measured_s

    return {
        TRAINING: train,
        WAITING: waiting.pop,
        BARE_LOOP: lambda: 1 / seconds_each(partial(next, steps), seconds, batch_size),
    }


def bare_steps(config: TrainConfig, data: LungDataModule, device: torch.device) -> Iterator[torch.Tensor]:
    """Losses of a training with the same batches, network and precision (16-mixed without loss scaling)."""
    segmenter = make_segmenter(config, UNet(**dataclasses.asdict(config.model)), [])
    network = segmenter.network.to(device).train()
    optimizer = segmenter.make_optimizer(network.parameters())
    scheduler = segmenter.make_scheduler(optimizer, UNLIMITED**2)
    precision = choose_precision(config.trainer.precision, config.trainer.accelerator)
    loader = data.train_dataloader()
    while True:
        for image, mask, _ in loader:
            optimizer.zero_grad()
            with autocast(device.type, precision):
                logits = network(image.to(device, non_blocking=True))
                loss = segmenter.loss(logits, mask.to(device, non_blocking=True)).mean()
            loss.backward()
            optimizer.step()
            scheduler.step()
            yield loss.detach()


class _Stopwatch(pl.Callback):
    """Measures a training after its first steps, and ends it after some seconds by a TimeoutError."""

    def __init__(self, seconds: float):
        self.seconds, self.steps, self.waiting_s = seconds, -WARM_UP_STEPS, 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.requested = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        self.waiting_s += time.perf_counter() - self.requested

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += 1
        if self.steps == 0:
            synchronize()
            self.started, self.waiting_s = time.perf_counter(), 0.0
        elif self.steps > 0 and time.perf_counter() - self.started > self.seconds:
            synchronize()
            self.measured_s = time.perf_counter() - self.started
            raise TimeoutError
        self.requested = time.perf_counter()


def predicting(large: DataConfig, device: torch.device, seconds: float, folder: Path) -> Candidates:
    """The shipped network by each backend, and large radiographs from file to file."""
    paths = [case.image_path.resolve() for case in find_cases(large).cases]
    predictors = {"PyTorch": Predictor(device=device.type), "onnxruntime": Predictor(SHIPPED_ONNX)}
    inputs, masks = folder / "inputs.txt", folder / "masks"
    config = PredictConfig(input=str(inputs), output=str(masks), device=device.type)
    inputs.write_text("\n".join(map(str, paths)), encoding="utf-8")

    def milliseconds(predictor: Predictor) -> float:
        batch = list(np.zeros((predictor.best_batch_size, predictor.size_px, predictor.size_px), np.uint8))
        return 1e3 * seconds_each(lambda: predictor.probabilities(batch), seconds, len(batch))

    networks: Candidates = {f"network by {name} (ms)": partial(milliseconds, it) for name, it in predictors.items()}
    return networks | {"file to file (ms)": lambda: 1e3 * seconds_each(partial(predict, config, masks), 0, len(paths))}


class _MemoryTraffic(TorchDispatchMode):
    """Adds up the bytes of what each operation reads and writes, caches ignored; views move nothing."""

    moved_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(output.alias_info and not output.alias_info.is_write for output in func._schema.returns):
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, result))
            self.moved_bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, torch.Tensor))
        return result


def measure_roofline(step: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Operations and memory traffic of a step, and the machine's rates of matrix multiplication and copying."""
    step()  # the first one makes the optimizer's state
    with FlopCounterMode(display=False) as counter, _MemoryTraffic() as traffic:
        step()
    left, right = (torch.rand(MATRIX_SIZE, MATRIX_SIZE, device=device).to(dtype) for _ in range(2))
    source, target = (torch.ones(COPY_BYTES, dtype=torch.uint8, device=device) for _ in range(2))
    return {
        "flops": counter.get_total_flops(),
        "moved_bytes": traffic.moved_bytes,
        "flops_per_s": 2 * MATRIX_SIZE**3 / min(seconds_each(lambda: torch.mm(left, right)) for _ in range(REPEATS)),
        "bytes_per_s": 2 * COPY_BYTES / min(seconds_each(lambda: target.copy_(source)) for _ in range(REPEATS)),
    }


def findings(values: Values, batch_size: int, roofline: dict[str, float]) -> list[str]:
    """What limits training, by a roofline of the step (Williams et al. 2009, doi:10.1145/1498765.1498785)."""
    ratio = median(rate / bare_rate for rate, bare_rate in zip(values[TRAINING], values[BARE_LOOP], strict=True))
    arithmetic_s = roofline["flops"] / roofline["flops_per_s"]
    memory_s = roofline["moved_bytes"] / roofline["bytes_per_s"]
    shares = {
        "waiting for cases: raise data.workers or choose a lighter augmentation": median(values[WAITING]) / 100,
        "what surrounds the network: Lightning, metrics, callbacks": 1 - ratio,
        f"the network, and there by {'arithmetic' if arithmetic_s >= memory_s else 'memory'}": NOTABLE_SHARE,
    }
    return [
        f"Training reaches {ratio:.2f} of the bare loop's rate (median of the rounds' ratios).",
        f"A step takes {batch_size / median(values[TRAINING]):.3g} s; its arithmetic takes {arithmetic_s:.3g} s at the "
        f"rate of matrix multiplication, its memory traffic without caches {memory_s:.3g} s at that of copying.",
        f"Training is limited by {max(shares, key=lambda name: shares[name])}.",
    ]


if __name__ == "__main__":
    main()
