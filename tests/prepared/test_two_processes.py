"""Two processes on one prepared set: one makes it while the other waits, and a reader sees it complete."""

import dataclasses
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lung_seg.config import AugmentationConfig, DataConfig
from lung_seg.files import sha256
from lung_seg.prepared import prepare as preparing
from lung_seg.prepared.pixel_cache import build_cache
from lung_seg.prepared.store import read_case
from lung_seg.raw.sources import phantom
from lung_seg.training.datamodule import LungDataModule
from tests import layouts
from tests.conftest import Run, fork

PATIENCE_S = 10
BEGUN, WAITING = Path("begun"), Path("waiting")
PHANTOMS = ("data.phantom.cases=8", "data.phantom.size_px=32", "data.image_size_px=16", "data.raw_dir=raw")
MONTGOMERY = DataConfig(name="few", source="montgomery", raw_dir="raw", image_size_px=32, batch_size=1)
FOLDER = Path("data/segmentation/few-32")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Path]:
    """An empty folder to work in; the file WAITING appears as soon as this process waits for another."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "lung_seg.files")
    handler = logging.Handler()
    handler.emit = lambda record: WAITING.touch()  # type: ignore[method-assign]
    logging.getLogger("lung_seg.files").addHandler(handler)
    yield tmp_path
    logging.getLogger("lung_seg.files").removeHandler(handler)


def pause_at_third(owner: Any, name: str) -> None:
    """From now on the function stands still at its third call, until the other process waits."""
    original, calls = getattr(owner, name), [0]

    def pausing(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            BEGUN.touch()
            await_file(WAITING)
        return original(*arguments)

    setattr(owner, name, pausing)


def await_file(path: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Start a function in a process of its own, one that comes to a pause, and return that process in its pause."""
    children: list[int] = []

    def start_until_paused(function: Callable[[], Any], owner: Any, name: str) -> int:
        def paused() -> None:
            os.sched_getaffinity = lambda _: {0}
            pause_at_third(owner, name)
            function()

        child = fork(paused)
        children.append(child)
        await_file(BEGUN)
        assert BEGUN.exists()
        return child

    yield start_until_paused
    for child in children:
        end(child)


def end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def prepare_phantoms() -> None:
    sys.argv = ["prepare_data.py", *PHANTOMS]
    importlib.import_module("prepare_data").main()


@pytest.mark.parametrize(("owner", "name"), [(phantom, "_draw"), (preparing, "_prepare_case")])
def test_one_process_prepares_a_set_and_the_other_waits_for_it(place, start, run: Run, owner, name):
    child = start(prepare_phantoms, owner, name)

    second = run("prepare_data", *PHANTOMS)
    os.waitpid(child, 0)

    assert second.code == 0, second.err
    assert second.out.count("Waiting for another process that works on") >= 1
    assert second.out.count("Prepared 8 cases") == 1, "what both say is in one stream"
    assert second.out.count("is up to date: 8 cases") == 1


def test_a_process_killed_in_the_middle_keeps_nobody_waiting(place, start, run: Run):
    end(start(prepare_phantoms, preparing, "_prepare_case"))
    half = place / "data/segmentation/phantom-8-seed0-16/images/.part-1.png"
    half.write_bytes(b"half a file")

    outcome = run("prepare_data", *PHANTOMS)

    assert "Prepared 8 cases" in outcome.out
    assert not WAITING.exists()
    assert not half.exists()


def draw_masks_anew() -> None:
    for path in Path("raw").rglob("*Mask/*.png"):
        layouts.write_mask(path, np.eye(*np.asarray(layouts.Image.open(path)).shape))


def opened(data: DataConfig) -> LungDataModule:
    module = LungDataModule(data, AugmentationConfig(), seed=0)
    module.prepare_data()
    module.setup("fit")
    return module


def test_a_reader_waits_while_another_process_prepares_the_set_again(place, start):
    layouts.write_montgomery(place / "raw", cases=6)
    build_cache(preparing.prepare(MONTGOMERY))
    draw_masks_anew()
    start(lambda: preparing.prepare(MONTGOMERY), preparing, "_prepare_case")

    module = opened(dataclasses.replace(MONTGOMERY, raw_dir=DataConfig.raw_dir))

    assert WAITING.exists()
    for number, row in enumerate(module.rows):
        _, mask = read_case(FOLDER, row.case_id)
        assert sha256(FOLDER / "masks" / f"{row.case_id}.png") == row.mask_sha256
        assert np.array_equal(np.load(module.pixels)[number, 1] > 0, mask)
        assert mask.sum() < 100, "the mask drawn anew"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_keeps_the_set_that_it_began_with(place, workers):
    layouts.write_montgomery(place / "raw", cases=6)
    module = opened(dataclasses.replace(MONTGOMERY, workers=workers))
    before, rows = [batch.mask.sum() for batch in module.test_dataloader()], module.rows
    draw_masks_anew()

    build_cache(preparing.prepare(MONTGOMERY))  # as another process does
    module.setup("test")

    assert [batch.mask.sum() for batch in module.test_dataloader()] == before
    assert module.rows == rows
    assert len(list(FOLDER.glob("pixels-*"))) == 2


def test_a_set_prepared_anew_before_the_training_has_opened_it_leaves_its_cache_in_place(place):
    layouts.write_montgomery(place / "raw", cases=6)
    module = LungDataModule(MONTGOMERY, AugmentationConfig(), seed=0)
    module.prepare_data()
    draw_masks_anew()

    build_cache(preparing.prepare(MONTGOMERY))  # as another process does
    module.setup("fit")

    assert min(int(batch.mask.sum()) for batch in module.test_dataloader()) > 100, "the masks of before"
