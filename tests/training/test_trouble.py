"""Trouble in the middle of a training: told in plain words, and what was saved goes on as if nothing had happened."""

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import get_worker_info

from lung_seg.training.callbacks import Throughput
from lung_seg.training.dataset import LungDataset
from lung_seg.training.lightning_module import LungSegmenter
from tests.conftest import SMALL, Run
from tests.training.test_killed import assert_as_if_never_stopped, at_call

TROUBLED = "hydra.run.dir=runs/troubled"


@pytest.fixture
def at_step_five(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Let something happen in the second epoch, once."""

    def arrange(action: Callable[[], Any]) -> None:
        monkeypatch.setattr(LungSegmenter, "training_step", LungSegmenter.training_step)  # put back afterwards
        at_call(5, LungSegmenter, "training_step", action)

    return arrange


def assert_goes_on(trained: Path, run: Run) -> None:
    outcome = run("train", "resume=runs/troubled")
    assert outcome.code == 0, outcome.err
    assert_as_if_never_stopped(trained / "runs/first", trained / "runs/troubled")


@pytest.fixture
def small_disk(trained: Path) -> Iterator[Path]:
    """A disk of 8 MB at runs/troubled."""
    disk = trained / "runs/troubled"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up(small_disk: Path, trained: Path, run: Run, at_step_five: Any) -> None:
    ballast = small_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    at_step_five(fill)
    outcome = run("train", *SMALL, TROUBLED)

    assert outcome.code == 1
    assert "No space left on device" in outcome.err
    assert "what was saved is kept" in outcome.err
    assert "Traceback" not in outcome.err
    for name in ("best", "last"):
        saved = torch.load(small_disk / f"checkpoints/{name}.ckpt", weights_only=True)
        assert saved["global_step"] == 3
    assert not list(small_disk.rglob(".part-*"))
    ballast.unlink()
    assert_goes_on(trained, run)


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="what is patched here reaches a fork only")
def test_a_process_that_loads_cases_dies(trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    get_case = LungDataset.__getitem__

    def die(dataset: LungDataset, index: Any) -> Any:
        if get_worker_info() and index.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return get_case(dataset, index)

    with monkeypatch.context() as patch:
        patch.setattr(LungDataset, "__getitem__", die)
        outcome = run("train", *SMALL, TROUBLED, "data.workers=1")

    assert outcome.code == 1
    assert "Lower data.workers" in outcome.err
    assert "resume=runs/troubled" in outcome.err
    assert "Traceback" not in outcome.err
    assert_goes_on(trained, run)


def test_a_damaged_pixel_cache_is_written_anew(trained: Path, run: Run) -> None:
    (pixels,) = trained.glob("data/segmentation/*/pixels-*.npy")
    whole = pixels.read_bytes()
    few, objects = np.zeros((2, 2, 32, 32), np.uint8), np.array([{}], dtype=object)
    for content in (whole[:100], few, objects):
        pixels.unlink()
        pixels.write_bytes(content) if isinstance(content, bytes) else np.save(pixels, content, allow_pickle=True)
        outcome = run("evaluate", "checkpoint=runs/first", "trainer=cpu", "hydra.run.dir=runs/again")
        assert outcome.code == 0, outcome.err
        assert pixels.read_bytes() == whole


def test_the_cases_go_away(trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Linux a file that is open outlives its name: the process that opens it next is the one to miss it."""
    (pixels,) = trained.glob("data/segmentation/*/pixels-*.npy")
    with monkeypatch.context() as patch:
        patch.setattr(Throughput, "on_train_epoch_start", Throughput.on_train_epoch_start)
        at_call(2, Throughput, "on_train_epoch_start", pixels.unlink)
        outcome = run("train", *SMALL, TROUBLED, "data.workers=1")

    assert outcome.code == 1
    assert "No such file or directory" in outcome.err
    assert pixels.name in outcome.err
    assert "Traceback" not in outcome.err
    assert_goes_on(trained, run)


@pytest.mark.parametrize(
    ("error", "code", "remedy"),
    [(torch.OutOfMemoryError("CUDA out of memory."), 1, "Lower data.batch_size, data.image_size_px or model.")],
    ids=["a full GPU"],
)
def test_what_only_a_gpu_meets(
    error: Exception, code: int, remedy: str, trained: Path, run: Run, at_step_five: Any
) -> None:
    def fail() -> None:
        raise error

    at_step_five(fail)
    outcome = run("train", *SMALL, TROUBLED)

    assert outcome.code == code
    assert remedy in outcome.err
    assert len(outcome.err.strip().splitlines()) == 2
    assert_goes_on(trained, run)
