"""runs/train/latest: a link to the training that was started last."""

import os
from contextlib import suppress
from pathlib import Path

LATEST = Path("runs") / "train" / "latest"


def link_latest(run_dir: Path) -> None:
    """Point the link to a run directory; nothing happens where links are impossible."""
    temporary = LATEST.with_name(f".latest-{os.getpid()}")
    with suppress(OSError):
        LATEST.parent.mkdir(parents=True, exist_ok=True)
        temporary.symlink_to(os.path.relpath(run_dir, LATEST.parent), target_is_directory=True)
        temporary.replace(LATEST)


def latest_training() -> Path | None:
    """The run directory that the link points to; None without one."""
    return Path(os.path.normpath(LATEST.parent / LATEST.readlink())) if LATEST.is_symlink() else None
