"""How many CPU threads PyTorch takes for an operation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limit_threads(threads: int | None, default: int) -> Iterator[None]:
    """Run with at most so many threads, None for all, and reset to the default.

    The number is global to the process, so that the current one may be the limit of a concurrent call: the default is
    to be read before there are any.
    """
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if threads:
            torch.set_num_threads(default)
