"""The shortest time that a machine's arithmetic and memory allow for some work (Williams et al. 2009, the roofline).

doi:10.1145/1498765.1498785
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lung_seg.benchmark.turns import wait_for

MATRIX = 2048  # rows and columns of the matrices that a machine's arithmetic is measured with
COPIED_BYTES = 256 * 2**20  # more than any cache holds
TRIES = 5


@dataclass(frozen=True)
class Work:
    """What some work asks of a machine."""

    flops: float
    moved_bytes: float  # read and written by all operations, as if nothing stayed in a cache


@dataclass(frozen=True)
class Machine:
    """What a machine can do, measured."""

    flops_per_s: float  # multiplying matrices
    bytes_per_s: float  # copying: read and written

    def floor_s(self, work: Work) -> float:
        """The shortest time for some work."""
        return max(work.flops / self.flops_per_s, work.moved_bytes / self.bytes_per_s)

    def narrower(self, work: Work) -> str:
        """Which of the two makes it so."""
        by_arithmetic = work.flops / self.flops_per_s >= work.moved_bytes / self.bytes_per_s
        return "arithmetic" if by_arithmetic else "memory"


def count(step: Callable[[], Any]) -> Work:
    """Run a step and count its work, that of its gradients included."""
    flops, traffic = FlopCounterMode(display=False), _Traffic()  # type: ignore[no-untyped-call]
    with flops, traffic:
        step()
    return Work(flops.get_total_flops(), traffic.moved_bytes)


def measure(device: torch.device, precision: torch.dtype) -> Machine:
    """What a device can do in a precision."""
    left, right = (torch.rand(MATRIX, MATRIX, device=device).to(precision) for _ in range(2))
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Machine(
        2 * MATRIX**3 / _shortest(lambda: torch.mm(left, right), device),
        2 * COPIED_BYTES / _shortest(lambda: target.copy_(source), device),
    )


def _shortest(step: Callable[[], Tensor], device: torch.device) -> float:
    seconds = []
    for _ in range(TRIES):
        wait_for(device)
        started = time.perf_counter()
        step()
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Adds up the bytes of what each operation reads and writes; views move nothing."""

    moved_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_view = any(out.alias_info and not out.alias_info.is_write for out in func._schema.returns)
        if not is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.moved_bytes += sum(tensor.nbytes for tensor in tensors)
        return result
