"""Measure how fast this machine prepares, reads, trains and predicts, and what limits its training.

Example: python benchmarks/throughput.py --seconds 4 trainer=gpu model=unet
"""

import argparse
import dataclasses
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, suppress
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
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
from lung_seg.prediction.export import export  # noqa: E402
from lung_seg.prediction.predictor import SHIPPED, Predictor  # noqa: E402
from lung_seg.prepared.prepare import prepare  # noqa: E402
from lung_seg.raw.radiograph import read_radiograph  # noqa: E402
from lung_seg.raw.sources import find_cases  # noqa: E402
from lung_seg.training.datamodule import LungDataModule  # noqa: E402
from lung_seg.training.fit import fit, make_segmenter  # noqa: E402
from lung_seg.training.trainer import make_trainer  # noqa: E402

DEFAULTS = ("data.image_size_px=256", "data.phantom.cases=200", "model=unet_small")
WARM_UP_STEPS = 2  # not measured: they choose algorithms and fill caches
UNLIMITED = 10_000  # epochs: the stopwatch ends a training
NOTABLE_SHARE = 0.1  # of a step's time: below it the network is the limit
MATRIX_SIZE, COPY_BYTES, REPEATS = 2048, 256 * 2**20, 5  # to measure the machine's rates; larger than any cache

TRAINING, BARE_LOOP = "training (images/s)", "bare PyTorch loop (images/s)"
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
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    keep_freed_memory()
    try:
        with TemporaryDirectory() as folder:
            result = run(compose_config(options.overrides), options, Path(folder))
    except (UserError, HydraException) as error:
        parser.exit(2, f"{error}\n")
    if options.output:
        options.output.write_text(json.dumps(result, indent=1), encoding="utf-8")
    sys.stdout.write(f"{format_table(result)}\n")


def compose_config(overrides: Sequence[str]) -> TrainConfig:
    """The settings of train.py, by default with larger images and a larger network."""
    register()
    by_key = {override.partition("=")[0]: override for override in (*DEFAULTS, *overrides)}
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(compose("train", list(by_key.values())), TrainConfig)


def run(config: TrainConfig, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure everything."""
    recorded = dataclasses.asdict(config)
    device = make_trainer(config.trainer).strategy.root_device
    data = LungDataModule(config.data, config.augmentation, config.seed)
    config.data.workers = data.workers(device.type)  # the bare loop has no trainer that knows the device
    config.trainer.max_epochs = config.trainer.check_val_every_n_epoch = UNLIMITED
    config.trainer.enable_progress_bar = False
    data.prepare_data()
    data.setup("fit")
    phantom = PhantomConfig(cases=options.radiographs, size_px=options.height_px)
    large = dataclasses.replace(config.data, name="benchmark", source="phantom", phantom=phantom, test_cases=1)
    values = interleave(preparing(large), options.rounds)
    values |= interleave(reading(data, options.seconds), options.rounds)
    waiting = values["waiting for cases in training (%)"] = []
    values |= interleave(training(config, data, device, options.seconds, waiting), options.rounds)
    values |= interleave(predicting(large, device, options.seconds, folder), options.rounds)
    values |= peak_memory(device)
    dtype = TYPES[choose_precision(config.trainer.precision, config.trainer.accelerator)]
    steps = bare_steps(dataclasses.replace(config, compile=False), data, device)  # compiled code hides its operations
    next(steps)
    roofline = count_work(partial(next, steps)) | machine_rates(device, dtype)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "machine": f"{usable_cores()} cores, {platform.machine()}, {name}, {str(dtype).removeprefix('torch.')}",
        "values": values,
        "roofline": roofline,
        "findings": findings(values[TRAINING], values[BARE_LOOP], waiting, config.data.batch_size, roofline),
        "settings": recorded,
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


def seconds_each(function: Callable[[], Any], seconds: float = 0, device: torch.device | None = None) -> float:
    """Mean duration of a call; called once, and again until some seconds are over."""
    calls, started = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - started < seconds:
        function()
        calls += 1
    synchronize(device)
    return (time.perf_counter() - started) / calls


def synchronize(device: torch.device | None) -> None:
    """Wait for what was launched on a GPU."""
    if device and device.type != "cpu":
        torch.accelerator.synchronize(device)


def preparing(large: DataConfig) -> Candidates:
    """Large radiographs into a prepared set, and decoding their files alone, both on all cores."""
    cases = find_cases(large).cases  # generated on first use
    files = [path for case in cases for path in (case.image_path, *case.mask_paths)]

    def prepare_all() -> None:
        with TemporaryDirectory() as folder:
            prepare(dataclasses.replace(large, prepared_dir=folder))

    def decode_all() -> None:
        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(lambda path: Image.open(path).load(), files))

    return {
        "preparing (radiographs/s)": lambda: len(cases) / seconds_each(prepare_all),
        "decoding the files (radiographs/s)": lambda: len(cases) / seconds_each(decode_all),
    }


def reading(data: LungDataModule, seconds: float) -> Candidates:
    """Training cases from the prepared set, one after the other."""
    loader = data.train_dataloader()
    indices = list(loader.sampler)

    def microseconds(dataset: Any) -> float:
        return 1e6 * seconds_each(lambda: [dataset[index] for index in indices], seconds) / len(indices)

    return {
        "reading a case (µs)": partial(microseconds, data.dataset("train")),
        "reading and augmenting a case (µs)": partial(microseconds, loader.dataset),
    }


def training(
    config: TrainConfig, data: LungDataModule, device: torch.device, seconds: float, waiting: list[float]
) -> Candidates:
    """``fit`` and a bare loop; appends to ``waiting`` the percentage of its time that ``fit`` waits for cases."""
    batch_size, steps = config.data.batch_size, bare_steps(config, data, device)
    for _ in range(WARM_UP_STEPS):
        next(steps)

    def train() -> float:
        stopwatch = Stopwatch(seconds)
        with TemporaryDirectory() as folder, suppress(TimeIsUp):
            fit(config, Path(folder), [stopwatch])
        waiting.append(100 * stopwatch.waiting_s / stopwatch.measured_s)
        return batch_size * stopwatch.steps / stopwatch.measured_s

    return {TRAINING: train, BARE_LOOP: lambda: batch_size / seconds_each(partial(next, steps), seconds, device)}


def bare_steps(config: TrainConfig, data: LungDataModule, device: torch.device) -> Iterator[Tensor]:
    """Losses of a training with the same batches, network and precision, and nothing around them."""
    segmenter = make_segmenter(config, UNet(**dataclasses.asdict(config.model)), [])
    network = segmenter.network.to(device).train()
    optimizer = segmenter.make_optimizer(network.parameters())
    scheduler = segmenter.make_scheduler(optimizer, UNLIMITED**2)
    precision = choose_precision(config.trainer.precision, config.trainer.accelerator)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
    loader = data.train_dataloader()
    loader.pin_memory = device.type == "cuda"
    while True:
        for image, mask, _ in loader:
            optimizer.zero_grad()
            with autocast(device.type, precision):
                logits = network(image.to(device, non_blocking=True))
                loss = segmenter.loss(logits, mask.to(device, non_blocking=True)).mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            yield loss.detach()


class TimeIsUp(Exception):  # noqa: N818 - not an error
    """Ends a training that has been measured."""


class Stopwatch(pl.Callback):
    """Measures the steps of a training after the first ones, and ends it after some seconds."""

    def __init__(self, seconds: float):
        self.seconds, self.steps = seconds, -WARM_UP_STEPS

    def on_train_epoch_start(self, *_: Any) -> None:
        """The first batch is requested."""
        self.requested = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        """A batch has arrived."""
        if self.steps >= 0:
            self.waiting_s += time.perf_counter() - self.requested

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """A step is done, on a GPU perhaps only launched, and the next batch is requested."""
        self.steps += 1
        if self.steps == 0:
            synchronize(trainer.strategy.root_device)
            self.started, self.waiting_s = time.perf_counter(), 0.0
        elif self.steps > 0 and time.perf_counter() - self.started > self.seconds:
            synchronize(trainer.strategy.root_device)
            self.measured_s = time.perf_counter() - self.started
            raise TimeIsUp
        self.requested = time.perf_counter()


def predicting(large: DataConfig, device: torch.device, seconds: float, folder: Path) -> Candidates:
    """The shipped network by each installed backend, and large radiographs from file to file."""
    paths = [case.image_path.resolve() for case in find_cases(large).cases]
    predictors = {"PyTorch": Predictor(device=device.type)}
    if all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        (exported,) = export(SHIPPED, folder, ["onnx"], half=False)
        predictors["onnxruntime"] = Predictor(exported.path)
    inputs, masks = folder / "inputs.txt", folder / "masks"
    inputs.write_text("\n".join(map(str, paths)), encoding="utf-8")
    config = PredictConfig(input=str(inputs), output=str(masks), device=device.type)

    def network_alone(predictor: Predictor) -> float:
        batch = [predictor.to_network_input(read_radiograph(paths[0]))] * predictor.best_batch_size
        return 1e3 * seconds_each(lambda: predictor.probabilities(batch), seconds) / len(batch)

    def file_to_file() -> float:
        with redirect_stderr(StringIO()):  # its progress bar
            return 1e3 * seconds_each(lambda: predict(config, masks)) / len(paths)

    networks = {f"network by {name} (ms)": partial(network_alone, each) for name, each in predictors.items()}
    return networks | {"radiograph from file to file (ms)": file_to_file}


def peak_memory(device: torch.device) -> Values:
    """Peak memory of this process and of the GPU."""
    peaks: Values = {}
    if sys.platform != "win32":
        import resource

        unit_bytes = 1 if sys.platform == "darwin" else 1024
        peaks["peak memory (MiB)"] = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 2**20]
    if device.type == "cuda":
        peaks["peak GPU memory (MiB)"] = [torch.cuda.max_memory_allocated(device) / 2**20]
    return peaks


def machine_rates(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Highest rates of matrix multiplication and of copying, read and written bytes counted."""
    left, right = (torch.rand(MATRIX_SIZE, MATRIX_SIZE, device=device).to(dtype) for _ in range(2))
    source, target = (torch.ones(COPY_BYTES, dtype=torch.uint8, device=device) for _ in range(2))
    multiply_s = min(seconds_each(lambda: torch.mm(left, right), device=device) for _ in range(REPEATS))
    copy_s = min(seconds_each(lambda: target.copy_(source), device=device) for _ in range(REPEATS))
    return {"flops_per_s": 2 * MATRIX_SIZE**3 / multiply_s, "bytes_per_s": 2 * COPY_BYTES / copy_s}


class MemoryTraffic(TorchDispatchMode):
    """Adds up the bytes of what each operation reads and writes, caches ignored; views move nothing."""

    moved_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(output.alias_info and not output.alias_info.is_write for output in func._schema.returns):
            tensors = (leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor))
            self.moved_bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def count_work(step: Callable[[], Any]) -> dict[str, float]:
    """Floating-point operations and memory traffic of a step."""
    with FlopCounterMode(display=False) as counter, MemoryTraffic() as traffic:
        step()
    return {"flops": counter.get_total_flops(), "moved_bytes": traffic.moved_bytes}


def findings(
    ours: list[float], bare: list[float], waiting: list[float], batch_size: int, roofline: dict[str, float]
) -> list[str]:
    """What limits training, by a roofline of the step (Williams et al. 2009, doi:10.1145/1498765.1498785)."""
    ratio = median(rate / bare_rate for rate, bare_rate in zip(ours, bare, strict=True))
    arithmetic_s = roofline["flops"] / roofline["flops_per_s"]
    memory_s = roofline["moved_bytes"] / roofline["bytes_per_s"]
    shares = {
        "waiting for cases: raise data.workers or choose a lighter augmentation": median(waiting) / 100,
        "what surrounds the network: Lightning, metrics, callbacks": 1 - ratio,
        f"the network, and there by {'arithmetic' if arithmetic_s >= memory_s else 'memory'}": NOTABLE_SHARE,
    }
    return [
        f"Training reaches {ratio:.2f} of the bare loop's rate (median of the rounds' ratios).",
        f"A step takes {batch_size / median(ours):.3g} s. Its {roofline['flops'] / 1e9:.3g} GFLOP take {arithmetic_s:.3g} "
        f"s at {roofline['flops_per_s'] / 1e9:.3g} GFLOP/s, the {roofline['moved_bytes'] / 1e9:.3g} GB that it moves "
        f"without caches {memory_s:.3g} s at {roofline['bytes_per_s'] / 1e9:.3g} GB/s.",
        f"Training is limited by {max(shares, key=lambda name: shares[name])}.",
    ]


def format_table(result: dict[str, Any]) -> str:
    """Machine, values and findings as text."""
    lines = [result["machine"], "", f"{'':36}{'median':>10}{'min':>10}{'max':>10}"]
    for name, values in result["values"].items():
        lines.append(f"{name:36}{median(values):10.4g}{min(values):10.4g}{max(values):10.4g}")
    return "\n".join([*lines, "", *result["findings"]])


if __name__ == "__main__":
    main()
