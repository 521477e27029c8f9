"""Readers that fail at b.png; other processes import them by their names."""

import os
import signal
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from lung_seg.raw.case import Case
from lung_seg.raw.partly_known import CaseMasks, read_case_masks
from lung_seg.raw.radiograph import Radiograph, open_radiograph


def failing(fail: Callable[[], None]) -> Callable[..., Radiograph]:
    @wraps(fail)
    def read(path: Path, *settings: Any) -> Radiograph:
        if path.stem == "b":
            fail()
        return open_radiograph(path, *settings)

    return read


@failing
def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@failing
def leave() -> None:
    os._exit(7)


@failing
def hang() -> None:
    time.sleep(600)


@failing
def fill_memory() -> None:
    np.empty(2**29)  # 4 GiB: more than it may have, less than most machines have


@failing
def be_killed() -> None:
    """As by a system that has no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)


@failing
def raise_anything() -> None:
    class CannotBePickledError(Exception):
        pass

    raise CannotBePickledError


def crash_at_masks(case: Case, max_megapixels: int) -> CaseMasks:
    if case.case_id == "b":
        os.kill(os.getpid(), signal.SIGSEGV)
    return read_case_masks(case, max_megapixels)


def print_much(path: Path) -> Radiograph:
    os.write(1, b"printed by a decoder\n" * 1000)
    return open_radiograph(path)
