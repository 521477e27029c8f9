"""What tests share: a command line inside the process, and one training that many tests look at."""

import gc
import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lung_seg.raw import decoding
from lung_seg.raw.decoding import Decoders
from lung_seg.raw.radiograph import Radiograph, open_radiograph
from tests.layouts import write_montgomery

os.environ["NO_ALBUMENTATIONS_UPDATE"] = os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # no test asks the network
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # a thread that waits leaves its core to the other process of the tests
gc.set_threshold(100_000)  # by the default a tenth of the time goes into scanning what is imported
multiprocessing.set_start_method(os.environ.get("LUNG_SEG_START_METHOD"), force=True)  # else that of this system

# The smallest training that goes through everything: 20 Montgomery cases, 32 px, a network of 7 thousand weights.
SMALL = (
    "data=montgomery",
    "data.raw_dir=raw",
    "data.image_size_px=32",
    "data.test_cases=5",
    "data.batch_size=4",
    "model.base_channels=4",
    "model.depth=2",
    "trainer=cpu",
    "trainer.max_epochs=3",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
    "optimizer.lr=1e-2",
)


PLACE = "Zoë's films (2)"  # of the training that tests share: a path may hold any character


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _ctrl_c() -> None:
    """It interrupts: in the background a shell has it ignored, and so has Lightning after a training it stopped."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Sums in one order on every machine; small tensors gain nothing from more."""
    import torch  # takes seconds, which pytest's own process would need too before it starts those that run the tests

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _decoders_stay() -> Iterator[None]:
    """One run's processes that decode are used by the next run: each takes 0.4 s to start."""
    kept: list[subprocess.Popen[bytes]] = []
    start, owner = Decoders._start, os.getpid()

    def take_or_start(decoders: Decoders) -> subprocess.Popen[bytes]:
        return kept.pop() if kept and os.getpid() == owner else start(decoders)

    def keep(processes: list[subprocess.Popen[bytes]]) -> None:
        kept.extend(processes)
        processes.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoders, "_start", take_or_start)
        patch.setattr(decoding, "_end", keep)
        yield
    decoding._end(kept)


def read_here(monkeypatch: pytest.MonkeyPatch, reader: Callable[..., Radiograph]) -> None:
    """Read radiographs within this process, by another function than open_radiograph, which it may call."""

    def run_here(_: Decoders, name: object, function: Callable[..., object], *arguments: object) -> object:
        return (reader if function is open_radiograph else function)(*arguments)

    monkeypatch.setattr(Decoders, "run", run_here)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a script as from the command line, in this process: run("train", "model=unet_tiny")."""

    def run_script(script: str, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments])
        capfd.readouterr()
        try:
            importlib.import_module(script).main()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run_script


def fork(function: Callable[[], object]) -> int:
    """Call a function in a process of its own, which exits as a script would; returns its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: a fork copies none of the other threads
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        function()
        code = 0
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with raw radiographs in ./raw."""
    write_montgomery(tmp_path / "raw", cases=20)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(PLACE)
    write_montgomery(folder / "raw", cases=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train.py", *SMALL, "hydra.run.dir=runs/first"])
        importlib.import_module("train").main()
    return folder


@pytest.fixture
def trained(_trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a folder with a finished training in runs/first, to work in."""
    folder = tmp_path / PLACE
    shutil.copytree(_trained_once, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def have_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """As if this process had been left so many cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(count), raising=False)
