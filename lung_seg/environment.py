"""What a run must say of itself to be repeated: versions, git revision, command."""

import ctypes
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from lung_seg import __version__

PACKAGES = (
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "albumentations",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scipy",
)


def versions() -> dict[str, str]:
    """Python, this package and the packages that a score may depend on."""
    return {"python": platform.python_version(), "lung_seg": __version__} | {name: version(name) for name in PACKAGES}


def git_revision() -> str | None:
    """Commit of the source in use, "-dirty" if it was changed since; None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def command_line() -> str:
    """The command of this process, as one would type it again."""
    return shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])


def usable_cores() -> int:
    """Those that a scheduler, a container or taskset left to this process; all of them where that cannot be asked."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


_INSTALLED_CONF = Path(__file__).parent / "conf"  # a wheel holds conf/ inside the package
CONF_DIR = _INSTALLED_CONF if _INSTALLED_CONF.is_dir() else Path(__file__).resolve().parents[1] / "conf"
