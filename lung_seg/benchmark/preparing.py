"""Raw films into a prepared set, and cases out of it."""

import dataclasses
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from lung_seg.benchmark.turns import Figure, seconds_each, take_turns
from lung_seg.config import BenchmarkConfig, DataConfig, PhantomConfig
from lung_seg.cores import usable_cores
from lung_seg.data.augment import Augment
from lung_seg.data.case import Case
from lung_seg.data.datamodule import LungDataModule
from lung_seg.data.dataset import Draw, LungDataset, Sample
from lung_seg.data.prepare import prepare
from lung_seg.data.sources import find_cases

READING_SHARE = 0.1  # of the seconds that a step is measured for: a case is read in far less


def measure_preparing(config: BenchmarkConfig) -> list[Figure]:
    """Large films into a prepared set, and decoding their files and nothing else, both on all cores."""
    data, cases = _film_set(config), film_cases(config)
    files = [path for case in cases for path in (case.image_path, *case.mask_paths)]

    def prepare_all() -> float:
        with TemporaryDirectory() as folder, _quietly():
            started = time.perf_counter()
            prepare(dataclasses.replace(data, prepared_dir=folder))
            return len(cases) / (time.perf_counter() - started)

    def decode_all() -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(_decode, files))
        return len(cases) / (time.perf_counter() - started)

    contestants = {"preparing": prepare_all, "preparing: decoding the files alone": decode_all}
    return take_turns("films/s", contestants, config.rounds)


def measure_reading(config: BenchmarkConfig) -> list[Figure]:
    """Cases of the prepared set, as they are and augmented, one after another."""
    data, augment = prepared(config), Augment(config.augmentation, config.data.image_size_px)
    datasets = {"as it is": data.dataset("train"), "augmented": data.dataset("train", augment=augment)}
    contestants = {
        f"reading a case {how}": partial(_microseconds, _samples(dataset), READING_SHARE * config.seconds)
        for how, dataset in datasets.items()
    }
    return take_turns("µs", contestants, config.rounds)


def film_cases(config: BenchmarkConfig) -> list[Case]:
    """Large phantoms, drawn at the first use."""
    return find_cases(_film_set(config)).cases


def prepared(config: BenchmarkConfig) -> LungDataModule:
    """The set that is trained on, prepared at the first use."""
    data = LungDataModule(config.data, config.augmentation, config.seed)
    data.prepare_data()
    data.setup("fit")
    return data


def _film_set(config: BenchmarkConfig) -> DataConfig:
    phantom = PhantomConfig(cases=config.films, size_px=config.film_px)
    return dataclasses.replace(config.data, name="films", source="phantom", phantom=phantom, test_cases=1)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep off the screen what each round of preparing would tell again."""
    log = logging.getLogger("lung_seg.data.prepare")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def _decode(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _samples(dataset: LungDataset) -> Iterator[Sample]:
    return (dataset[Draw(number // len(dataset), number % len(dataset))] for number in count())


def _microseconds(steps: Iterator[Sample], seconds: float) -> float:
    return 1e6 * seconds_each(steps, seconds)
