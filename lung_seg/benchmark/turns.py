"""Measuring in turns: what is compared meets the same moods of the machine."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch

from lung_seg.memory import peak_memory_mb


@dataclass(frozen=True)
class Figure:
    """One thing that was measured in each round."""

    what: str
    unit: str
    rounds: list[float]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return median(self.rounds)

    def ratio(self, other: "Figure") -> float:
        """How many times as large as another that was measured in turns with it: round by round, the median."""
        return median(ours / theirs for ours, theirs in zip(self.rounds, other.rounds, strict=True))


def take_turns(unit: str, contestants: Mapping[str, Callable[[], float]], rounds: int) -> list[Figure]:
    """Measure each contestant once in each round."""
    measured: dict[str, list[float]] = {what: [] for what in contestants}
    for _ in range(rounds):
        for what, measure_once in contestants.items():
            measured[what].append(measure_once())
    return [Figure(what, unit, values) for what, values in measured.items()]


def peak_memory(of: str) -> list[Figure]:
    """The most memory that this process has used so far, where it can be told."""
    peak = peak_memory_mb()
    return [Figure(f"peak memory of {of}", "MB", [peak])] if peak else []


def seconds_each(steps: Iterator[Any], seconds: float, device: torch.device | None = None) -> float:
    """How long a step takes, on average of so many seconds."""
    number, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        next(steps)
        number += 1
    if device:
        wait_for(device)
    return (time.perf_counter() - started) / number


@contextmanager
def apart(make_steps: Callable[[], Iterator[Any]], device: torch.device) -> Iterator[Callable[[float], float]]:
    """``seconds_each`` of steps in a process of their own, which this one's settings do not reach."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, make_steps, device))
    process.start()
    there.close()

    def measure(seconds: float) -> float:
        here.send(seconds)
        return float(here.recv())

    try:
        yield measure
    finally:
        here.close()
        process.join()


def _serve(connection: Connection, make_steps: Callable[[], Iterator[Any]], device: torch.device) -> None:
    """Measure whenever asked to, until the other end is closed."""
    steps = make_steps()
    while True:
        try:
            seconds = connection.recv()
        except EOFError:
            return
        next(steps)
        connection.send(seconds_each(steps, seconds, device))


def wait_for(device: torch.device) -> None:
    """Until a device has done what it was told to."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
