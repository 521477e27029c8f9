"""Training steps: this project's, those of a bare loop with the same tricks, and those of a loop as usually written."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import pytorch_lightning as pl
import torch
from torch import Tensor

from lung_seg.benchmark.plain_loop import PngFolder, plain_steps
from lung_seg.benchmark.preparing import prepared
from lung_seg.benchmark.roofline import Machine, Work, count, measure
from lung_seg.benchmark.turns import Figure, apart, seconds_each, take_turns, wait_for
from lung_seg.callbacks import DivergenceGuard, Throughput
from lung_seg.config import BenchmarkConfig
from lung_seg.data.augment import Augment
from lung_seg.data.dataset import Sample
from lung_seg.hardware import make_trainer
from lung_seg.model.losses import SegmentationLoss
from lung_seg.model.unet import UNet
from lung_seg.precision import TYPES, autocast, choose_precision
from lung_seg.training import make_optimizer, make_segmenter

WARM_UP = 2  # steps that are not counted: the first ones choose algorithms and fill caches
ENDLESS = 10_000  # epochs: the clock ends a training
MUCH = 0.1  # share of a step's time that is worth telling


def measure_training(config: BenchmarkConfig, device: torch.device) -> tuple[list[Figure], list[str]]:
    """The figures, and what holds the machine back."""
    batch_size, size_px = config.data.batch_size, config.data.image_size_px
    data, shape = prepared(config), dataclasses.asdict(config.model)
    workers = data.workers(device.type)  # told to all alike: without a trainer a loader knows of no device
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, workers=workers))
    bare = _bare_steps(config, device)
    png = PngFolder(data.folder, data.rows, Augment(config.augmentation, size_px))
    plain = partial(plain_steps, shape, png, batch_size, workers, device)
    list(islice(bare, WARM_UP))
    waiting: list[float] = []

    def train() -> float:
        watch = Stopwatch(config.seconds)
        settings = dataclasses.replace(config.trainer, max_epochs=ENDLESS, enable_progress_bar=False)
        trainer = make_trainer(settings, [DivergenceGuard(), Throughput(), watch])
        trainer.limit_val_batches = 0
        trainer.fit(make_segmenter(config, UNet(**shape), []), prepared(config))
        waiting.append(100 * watch.waiting)
        return batch_size / watch.seconds_each

    def bare_loop() -> float:
        return batch_size / seconds_each(bare, config.seconds, device)

    with apart(plain, device) as seconds_of_a_plain_step:
        seconds_of_a_plain_step(0.001)  # the first steps are slower

        def plain_loop() -> float:
            return batch_size / seconds_of_a_plain_step(config.seconds)

        contestants: dict[str, Callable[[], float]] = {
            "training": train,
            "training: a bare loop, same tricks": bare_loop,
            "training: a loop as usually written": plain_loop,
        }
        figures = take_turns("images/s", contestants, config.rounds)
    figures.append(Figure("training: waiting for cases", "%", waiting))
    kind = TYPES[choose_precision(config.trainer.precision, config.trainer.accelerator)]
    return figures, findings(figures, batch_size, measure(device, kind), count(lambda: next(bare)), kind)


def findings(figures: list[Figure], batch_size: int, machine: Machine, work: Work, kind: torch.dtype) -> list[str]:
    """The training step beside the best that the machine could do."""
    ours, bare, plain, waits = figures
    of_bare, of_plain = ours.ratio(bare), ours.ratio(plain)
    step_s, floor_s, waiting = batch_size / ours.median, machine.floor_s(work), waits.median / 100
    shares = {
        "waiting for cases: raise data.workers, or choose a lighter augmentation": waiting,
        "what surrounds the network: scores, callbacks and Lightning": 1 - of_bare - waiting,
        f"the network, and of it this machine's {machine.narrower(work)}": MUCH,
    }
    matrices = str(kind).removeprefix("torch.")
    return [
        f"Round by round, training runs at {of_bare:.2f} of the bare loop and at {of_plain:.2f} of the usual one.",
        f"A step asks for {work.flops / 1e9:.0f} GFLOP, and for {work.moved_bytes / 1e9:.1f} GB where no cache helps.",
        f"This machine multiplies {matrices} matrices at {machine.flops_per_s / 1e9:.0f} GFLOP/s, and copies at "
        f"{machine.bytes_per_s / 1e9:.1f} GB/s.",
        f"So a step takes at least {floor_s:.3g} s; it took {step_s:.3g} s, {step_s / floor_s:.2f} times as long.",
        f"What holds this machine back in training: {max(shares, key=lambda name: shares[name])}.",
    ]


class Stopwatch(pl.Callback):
    """Ends a training after some seconds, its first steps not counted."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.steps = 0
        self.waited = 0.0  # from the end of a step to the start of the next

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Sample, batch_idx: int
    ) -> None:
        """A batch came."""
        if self.steps >= WARM_UP:
            self.waited += time.perf_counter() - self.ended

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Sample, batch_idx: int
    ) -> None:
        """A step is done, of a GPU perhaps not yet."""
        self.steps += 1
        self.ended = time.perf_counter()
        if self.steps <= WARM_UP:
            wait_for(pl_module.device)
            self.started = self.ended = time.perf_counter()
        elif self.ended - self.started > self.seconds:
            wait_for(pl_module.device)
            self.ended = time.perf_counter()
            trainer.should_stop = True

    @property
    def seconds_each(self) -> float:
        """How long a step took."""
        return (self.ended - self.started) / (self.steps - WARM_UP)

    @property
    def waiting(self) -> float:
        """Share of the time that a step waited for its batch."""
        return self.waited / (self.ended - self.started)


def _bare_steps(config: BenchmarkConfig, device: torch.device) -> Iterator[Tensor]:
    """The same batches, network and precision, and not a line more than a training needs."""
    network = UNet(**dataclasses.asdict(config.model)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = network.to(device).train()
    criterion = SegmentationLoss(**dataclasses.asdict(config.loss))
    if config.compile:
        network.compile()
    optimizer = make_optimizer(config.optimizer, network.parameters())
    precision = choose_precision(config.trainer.precision, config.trainer.accelerator)
    loader = prepared(config).train_dataloader()
    while True:
        for image, mask, _ in loader:
            optimizer.zero_grad()
            with autocast(device.type, precision):
                logits = network(image.to(device, non_blocking=True))
                loss = criterion(logits, mask.to(device, non_blocking=True)).mean()
            loss.backward()
            optimizer.step()
            yield loss.detach()
