"""Measuring in turns: what is compared meets the same moods of the machine."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch


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


def take_turns(unit: str, contestants: Mapping[str, Callable[[], float]], rounds: int) -> list[Figure]:
    """Measure each contestant once in each round."""
    measured: dict[str, list[float]] = {what: [] for what in contestants}
    for _ in range(rounds):
        for what, measure_once in contestants.items():
            measured[what].append(measure_once())
    return [Figure(what, unit, values) for what, values in measured.items()]


def seconds_each(steps: Iterator[Any], seconds: float, device: torch.device | None = None) -> float:
    """How long a step takes, on average of so many seconds."""
    number, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        next(steps)
        number += 1
    if device:
        wait_for(device)
    return (time.perf_counter() - started) / number


def wait_for(device: torch.device) -> None:
    """Until a device has done what it was told to."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
