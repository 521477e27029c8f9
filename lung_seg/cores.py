"""How many cores of the CPU there are to use."""

import os


def usable_cores() -> int:
    """Those that a scheduler, a container or taskset left to this process; all of them where that cannot be asked."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
