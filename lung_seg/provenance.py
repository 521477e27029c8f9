"""What a run must say of itself to be repeated: versions, git revision, command."""

import platform
import shlex
import subprocess
import sys
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
