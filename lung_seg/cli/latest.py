"""runs/train/latest: a link to the training that was started last."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lung_seg.errors import UserError

LATEST = Path("runs") / "train" / "latest"
LAST = Path("checkpoints") / "last.ckpt"


@contextmanager
def linked_as_latest(run_dir: Path) -> Iterator[None]:
    """Point the link to a run directory; a training that is refused before it has begun leaves it as it was."""
    before = LATEST.readlink() if LATEST.is_symlink() else None
    _link(Path(os.path.relpath(run_dir, LATEST.parent)))
    try:
        yield
    except UserError:
        if not (run_dir / LAST).exists():
            _link(before)
        raise


def latest_training() -> Path | None:
    """The run directory that the link points to; None without one."""
    return Path(os.path.normpath(LATEST.parent / LATEST.readlink())) if LATEST.is_symlink() else None


def _link(target: Path | None) -> None:
    """Nothing happens where links are impossible."""
    with suppress(OSError):
        if target is None:
            LATEST.unlink(missing_ok=True)
            return
        LATEST.parent.mkdir(parents=True, exist_ok=True)
        temporary = LATEST.with_name(f".latest-{os.getpid()}")
        temporary.symlink_to(target, target_is_directory=True)
        temporary.replace(LATEST)
