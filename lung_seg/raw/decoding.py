"""Files decoded in processes of their own: a decoder that crashes or never ends costs its file, not the whole run."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError

# What one file may take: so much, and so much more for each megapixel that it may have.
SECONDS, SECONDS_PER_MEGAPIXEL = 30, 1.5
BYTES, BYTES_PER_MEGAPIXEL = 2**30, 24_000_000  # decoders need 20 bytes a pixel at most (SECURITY.md)

# By the path of the first process, not from the current folder: that may be a stranger's, and hold a numpy.py.
CODE = "import sys; sys.path = sys.argv[2:]; from lung_seg.raw.decoding import main; main()"

ResultT = TypeVar("ResultT")


class Decoders:
    """Processes that decode files, one for each thread that reads at the same time; the first one starts at once.

    ``close()`` ends them, and so does the end of this object. The pools of the standard library cannot end a process
    at work, and fail as a whole where one crashes.

    Args:
        threads: how many read at the same time.
        max_megapixels: of a file. Its decoding may take 30 s and 1.5 s more for each of them, and, on Linux, 1 GiB of
            memory and 24 MB more for each.
    """

    def __init__(self, threads: int = 1, max_megapixels: int = MAX_MEGAPIXELS) -> None:
        self.threads = threads
        self.max_megapixels = max_megapixels
        self.limit_s = SECONDS + SECONDS_PER_MEGAPIXEL * max_megapixels
        self.limit_bytes = BYTES + BYTES_PER_MEGAPIXEL * max_megapixels
        self._idle: list[subprocess.Popen[bytes]] = []
        self.close = weakref.finalize(self, _end, self._idle)
        self._idle.append(self._start())

    def run(self, name: object, function: Callable[..., ResultT], *arguments: object) -> ResultT:
        """What ``function(*arguments)`` returns in another process, which imports the function by its name.

        Args:
            name: the file that it reads, for messages.
            function: a function of a module.
            arguments: the function's.

        Raises:
            UserError: raised by the function, or its process crashed or took too much time or memory.
        """
        try:
            process = self._idle.pop()
        except IndexError:
            process = self._start()
        began = time.monotonic()
        watch = threading.Timer(self.limit_s, process.kill)
        watch.start()
        try:
            outcome = _call(process, Path.cwd(), name, function, arguments)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:  # it ended before its result was complete
            _wait(process)
            raise UserError(self._why_it_ended(name, process.returncode, time.monotonic() - began)) from error
        except BaseException:
            process.kill()
            _wait(process)
            raise
        finally:
            watch.cancel()
        self._idle.append(process)
        if isinstance(outcome, MemoryError):
            raise UserError(self._needs_memory(name)) from outcome
        if isinstance(outcome, UserError):
            raise outcome
        result: ResultT = outcome
        return result

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CODE, str(self.limit_bytes), *sys.path]
        # In a group of its own Ctrl-C does not reach it; it ends with this process, which closes its standard input.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)

    def _why_it_ended(self, name: object, returncode: int, seconds: float) -> str:
        if seconds >= self.limit_s:
            return (
                f"{name} was not read within {self.limit_s:.0f} s, the limit of max_megapixels={self.max_megapixels}; "
                "raise that if you trust the file."
            )
        if returncode == -9:  # SIGKILL: by the system, which has none left
            return self._needs_memory(name)
        how = signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"
        return f"{name} cannot be read: its decoder crashes ({how}). Save the file anew, or leave it out."

    def _needs_memory(self, name: object) -> str:
        return (
            f"{name} needs more memory than this machine has free, or than {self.limit_bytes / 1e9:.1f} GB, "
            f"the limit of max_megapixels={self.max_megapixels}."
        )


def _call(process: subprocess.Popen[bytes], *call: object) -> Any:
    assert process.stdin
    assert process.stdout
    pickle.dump(call, process.stdin)
    process.stdin.flush()
    return pickle.load(process.stdout)  # noqa: S301 - from a process that this one has started


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    while processes:
        process = processes.pop()
        process.kill()
        _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for its end, and close its pipes."""
    with suppress(BrokenPipeError), process:  # of what it did not read
        pass


def main() -> None:
    """In the other process: call what standard input says until it is closed, and write what comes of it.

    sys.argv[1] is the memory that it may have.
    """
    import lung_seg.raw.radiograph  # noqa: F401 - before the first file waits for it

    _limit_memory(int(sys.argv[1]))
    with os.fdopen(os.dup(1), "wb") as results:
        os.dup2(2, 1)  # what a decoder prints does not get among the results
        while True:
            try:
                call = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
            except EOFError:
                return
            pickle.dump(_outcome(*call), results, protocol=pickle.HIGHEST_PROTOCOL)
            results.flush()


def _outcome(folder: Path, name: object, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    """What a function returns in a folder, or a UserError or MemoryError."""
    os.chdir(folder)
    try:
        return function(*arguments)
    except UserError as error:
        return UserError(str(error))
    except MemoryError:
        return MemoryError()
    except Exception as error:
        return UserError(f"{name} cannot be read: {type(error).__name__}.")


def _limit_memory(limit_bytes: int) -> None:
    """Let this process have so much memory more than it has now; Linux only."""
    if sys.platform == "linux":
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limits = [used + limit_bytes, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
        resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
