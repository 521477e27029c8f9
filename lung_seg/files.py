"""Atomic writes, inter-process file locks and hashes."""

import csv
import hashlib
import logging
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from lung_seg.errors import UserError

if sys.platform != "win32":
    import fcntl

PART = ".part-"  # prefix of files that are being written

log = logging.getLogger(__name__)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that replaces ``path`` when the block ends without an error.

    Readers see the old file or the new one, never half of one. The suffix stays: image writers choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PART}{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename if error.filename not in (None, str(temporary)) else str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove the unfinished files of a process that was killed."""
    for part in folder.glob(f"{PART}*"):
        part.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a file or folder against other processes that make it; logs if it has to wait.

    The operating system releases the lock when the process ends in any way. Where a lock is impossible, as in a folder
    that is read-only or missing, the block runs unlocked.
    """
    from filelock import FileLock, Timeout  # a Predictor imports this module and works without filelock

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    if path.parent.is_dir():  # FileLock would make it
        with suppress(OSError):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("Waiting for another process that works on %s.", path)
                lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep a folder for this process until the block ends or the process does; made if it is missing.

    Where a lock is impossible, as on some network file systems, the block runs without.

    Raises:
        UserError: another process has it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"{folder} is in use by another process.\nWait until it has ended, or choose another."
        ) from error
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        lock.release()


def open_in_use(path: Path) -> IO[bytes]:
    """Open a file; until it is closed, ``remove_unused`` of any process leaves it alone."""
    file = path.open("rb")
    if sys.platform != "win32":  # which removes no open file
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_SH)
    return file


def remove_unused(path: Path) -> None:
    """Remove a file unless a process has it in use."""
    with suppress(OSError):
        if sys.platform == "win32":
            path.unlink()
            return
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table atomically; None becomes an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, as ``sha256sum`` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
