"""What a case costs in a set of a hundred, and what in one of a hundred thousand."""

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from lung_seg.benchmark.turns import Figure, peak_memory
from lung_seg.config import AugmentationConfig, BenchmarkConfig, DataConfig, PhantomConfig
from lung_seg.data.datamodule import LungDataModule
from lung_seg.data.prepare import prepare
from lung_seg.data.sources import find_cases

FEWEST = 100  # cases of the smallest set; each other one has ten times as many
DRAWN = 100  # phantoms that all cases are links to: a file system allows a file a thousand and more
FILM_PX, SIZE_PX = 64, 32  # so few that what a case costs beside its pixels is seen


def measure_growth(config: BenchmarkConfig) -> list[Figure]:
    """Sets of up to ``config.growth`` cases, each prepared and gone through in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    figures = []
    for cases in _sizes(config.growth or 0):
        with TemporaryDirectory() as folder, ProcessPoolExecutor(1, spawn) as process:
            figures += process.submit(_costs, _linked(cases, Path(folder)), config.augmentation).result()
    return figures


def _sizes(most: int) -> Iterator[int]:
    cases = FEWEST
    while cases <= most:
        yield cases
        cases *= 10


def _linked(cases: int, folder: Path) -> DataConfig:
    """A set of small films, nearly all of them links to a few phantoms."""
    drawn = find_cases(_small("phantom", folder)).cases
    drawn_in, linked_in = drawn[0].image_path.parents[1], folder / "MontgomerySet"
    for number in range(cases):
        case = drawn[number % DRAWN]
        for path in (case.image_path, *case.mask_paths):
            link = linked_in / path.relative_to(drawn_in).with_name(f"MCUCXR_{number:07d}_{case.tb_label}.png")
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)
    return _small("montgomery", folder)


def _small(source: str, folder: Path) -> DataConfig:
    phantom = PhantomConfig(cases=DRAWN, size_px=FILM_PX)
    return DataConfig(
        name="growth",
        source=source,
        raw_dir=str(folder),
        prepared_dir=str(folder),
        image_size_px=SIZE_PX,
        phantom=phantom,
    )


def _costs(config: DataConfig, augmentation: AugmentationConfig) -> list[Figure]:
    data = LungDataModule(config, augmentation, seed=0)

    def start() -> None:
        data.packed, data.rows = None, []
        data.prepare_data()
        data.setup("fit")

    parts: dict[str, Callable[[], object]] = {
        "preparing": lambda: prepare(config),
        "nothing left to prepare": lambda: prepare(config),
        "first start of a training": start,
        "start of a training": start,
        "an epoch, network left out": lambda: deque(data.train_dataloader(), maxlen=0),
    }
    seconds = {what: _seconds(do) for what, do in parts.items()}
    cases = len(data.rows)
    figures = [Figure(f"{cases} cases: {what}", "ms each", [1e3 * took / cases]) for what, took in seconds.items()]
    return [*figures, *peak_memory(f"{cases} cases")]


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
