"""The environment of a run: versions, git revision, command line, usable cores and memory allocation."""

import ctypes
import os
import platform
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lung_seg import __version__

PACKAGES = ["torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "albumentations"]
PACKAGES += ["numpy", "opencv-python-headless", "pillow", "scipy"]

_INSTALLED_CONF = Path(__file__).parent / "conf"  # a wheel holds conf/ inside the package
CONF_DIR = _INSTALLED_CONF if _INSTALLED_CONF.is_dir() else Path(__file__).resolve().parents[1] / "conf"

AS_LUNG_SEG = "LUNG_SEG_COMMAND"  # set in the environment while the command lung-seg runs

# Parameters of glibc's mallopt(3), by their numbers in malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the installed packages that a score may depend on."""
    found = {"python": platform.python_version(), "lung_seg": __version__}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def git_revision() -> str | None:
    """Commit of the source in use, with "-dirty" if files differ from it; None outside a git checkout.

    A package installed below another project's checkout, as in its .venv, is no part of that: the checkout must be the
    folder that holds ``lung_seg/``, and know this file.
    """
    path = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=path.parents[1], capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != path.parents[1]:
            return None
        git("ls-files", "--error-unmatch", str(path))
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def command_line() -> str:
    """The command that started this process, quoted for a shell."""
    return shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])


def as_command(script: str, *arguments: str) -> str:
    """A command as it is typed into a shell: paths with spaces are quoted."""
    return shlex.join(["python", f"{script}.py", *arguments])


def as_called(text: str) -> str:
    """A text with its commands as this program was called: lung-seg train, where there is no train.py."""
    return re.sub(r"python (\w+)\.py", r"lung-seg \1", text) if AS_LUNG_SEG in os.environ else text


def is_outside(path: str) -> bool:
    """Whether a path, without following links, is outside the current folder."""
    return not Path(os.path.abspath(path)).is_relative_to(Path.cwd())  # noqa: PTH100 - resolve would follow links


def usable_cores() -> int:
    """Cores that the scheduler or taskset allows this process to use; all cores where this is unknown."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next allocation: a tenth of a training step's time on a CPU.

    The system clears each page that it hands out. The process holds about a quarter more memory (docs/performance.md).
    Only commands may call this, since it changes the whole process. It does nothing without glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # the largest int: never
        libc.mallopt(M_TOP_PAD, 64 * 2**20)
