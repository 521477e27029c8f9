"""Files that appear whole or not at all, made by one process at a time; and their hashes."""

import hashlib
import logging
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import BaseFileLock, FileLock, Timeout

if sys.platform != "win32":
    import fcntl

PART = ".part-"  # how the name of a file that is being written begins

log = logging.getLogger(__name__)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error.

    Readers see the old file or the new one, never half of one. The suffix is kept, since image and array writers
    choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PART}{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what a process that was killed had begun to write."""
    for part in folder.glob(f"{PART}*"):
        part.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep every other process from making this file or folder; one that comes later waits, and says so.

    The lock is the operating system's, on a hidden file beside ``path``, and ends with its process, however that ends.
    Where none can be had, as in a folder that is read-only or not there, the block runs without.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    if path.parent.is_dir():  # else it would be made
        with suppress(OSError):
            _acquire(lock, path)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, path: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("Waiting for another process that works on %s.", path)
        lock.acquire()


def open_in_use(path: Path) -> IO[bytes]:
    """Open a file that ``remove_unused`` of any process is to leave alone until it is closed."""
    file = path.open("rb")
    if sys.platform != "win32":  # which removes no open file anyway
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
    """Write UTF-8 text so that it appears whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, as ``sha256sum`` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
