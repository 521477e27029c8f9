"""Several processes that predict the same radiographs into one folder share them; other processes wait for each other.

Two hidden files in the folder hold the state, and locks of the operating system, which end with a process in any way:
of the first, which says what is predicted, each process that does so has a shared lock; of the second, which has a byte
for each radiograph, a process has the bytes of those that it predicts locked.
"""

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lung_seg.files import locked

if sys.platform != "win32":
    import fcntl

FREE, BEGUN, DONE = b"\0", b"\1", b"\2"
POLL_S = 0.5

log = logging.getLogger(__name__)


class Share:
    """The radiographs that this process may predict, by their number; without a file all of them.

    Attributes:
        begun: those that processes had begun when they were killed or crashed: one of them may be the reason.
    """

    def __init__(self, states: IO[bytes] | None = None, begun: frozenset[int] = frozenset()):
        self.states = states
        self.begun = begun

    def claim(self, number: int) -> bool:
        """Whether a radiograph is neither done nor begun by another living process; it is then this one's."""
        if self.states is None:
            return True
        try:
            fcntl.lockf(self.states, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EAGAIN)  # others: a file system without locks
        if os.pread(self.states.fileno(), 1, number) == DONE:
            fcntl.lockf(self.states, fcntl.LOCK_UN, 1, number)
            return False
        os.pwrite(self.states.fileno(), BEGUN, number)
        return True

    def finish(self, number: int) -> None:
        """Mark a claimed radiograph as done."""
        if self.states is not None:
            os.pwrite(self.states.fileno(), DONE, number)
            fcntl.lockf(self.states, fcntl.LOCK_UN, 1, number)


@contextmanager
def shared(table: Path, work: str, count: int) -> Iterator[Share]:
    """The share of this process in ``count`` radiographs, predicted into the folder of a table.

    Processes whose ``work`` is the same text share it. It waits while others predict something else into the folder.
    """
    if sys.platform == "win32":  # whose locks of bytes keep others from reading them
        with locked(table.with_name("predicting")):
            yield Share()
        return
    work_path, states = table.with_name(".predicting"), table.with_name(".predicting-states")
    is_waiting = False
    while True:
        with locked(table):
            work_file = work_path.open("a+b")
            if is_alone := _lock(work_file, fcntl.LOCK_EX):
                begun = _begin(work_file, states, work, count)
            work_file.seek(0)
            if is_alone or work_file.read() == work.encode():
                _lock(work_file, fcntl.LOCK_SH)
                break
            work_file.close()
        if not is_waiting:
            log.info("Waiting for another process that works on %s.", table)
            is_waiting = True
        time.sleep(POLL_S)
    with work_file, states.open("r+b", buffering=0) as opened:
        try:
            yield Share(opened, begun if is_alone else frozenset())
        finally:
            with locked(table):
                if _lock(work_file, fcntl.LOCK_EX):  # the last one
                    work_path.unlink()
                    states.unlink()


def _lock(file: IO[bytes], kind: int) -> bool:
    """Lock a file, or change its lock; False if another process has it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _begin(work_file: IO[bytes], states: Path, work: str, count: int) -> frozenset[int]:
    """Write both files anew; returns what processes that did the same had begun when they were killed or crashed."""
    work_file.seek(0)
    before = states.read_bytes() if work_file.read() == work.encode() and states.exists() else b""
    work_file.truncate(0)
    work_file.write(work.encode())
    work_file.flush()
    states.write_bytes(FREE * count)
    return frozenset(number for number, state in enumerate(before) if bytes([state]) == BEGUN)
