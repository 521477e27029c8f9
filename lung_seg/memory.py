"""How the memory of a step is kept for the next one, and how much a process has used."""

import ctypes
import platform
import sys
from contextlib import suppress
from pathlib import Path

# Numbers and names of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
NEVER = 2**31 - 1
TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> None:
    """Have glibc keep what the process frees, instead of giving it back to the system.

    A network frees and asks for the same gigabyte in every step, and preparing for each film's megabytes; the system
    clears each page that it hands out anew, which takes a tenth of a step's time on a CPU and a quarter of a film's.
    The process holds about a quarter more memory for it (docs/performance.md).
    Elsewhere than on Linux with glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
        libc.mallopt(M_TOP_PAD, TOP_PAD_BYTES)


def peak_memory_mb() -> float | None:
    """The most memory that this process has used so far; None where Python cannot tell, as on Windows."""
    if sys.platform == "win32":
        return None
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where getrusage(2) would count what the process that started this one had used
        fields = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines())
        return int(fields["VmHWM"].split()[0]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
