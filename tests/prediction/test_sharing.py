"""The same prediction started twice: the processes share the radiographs, and what one leaves behind another does."""

import csv
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lung_seg.config import PredictConfig
from lung_seg.prediction.batch import Outcome, predict
from lung_seg.prediction.predictor import SHIPPED_ONNX
from lung_seg.raw.radiograph import open_radiograph
from tests.conftest import fork, have_cores, read_here
from tests.layouts import draw_chest, write_image

FILMS = [f"films/{number}.png" for number in range(5)]
PATIENCE_S = 60
BEGUN, GO = Path("begun"), Path("go")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there the second process waits")


def predicted(output: str = "out", skip_existing: bool = False, text: str = "films") -> Outcome:
    config = PredictConfig(
        input=text, output=output, checkpoint=str(SHIPPED_ONNX), overlay=False, skip_existing=skip_existing
    )
    return predict(config, Path(output))


def rows_of(output: str) -> list[dict[str, str]]:
    with Path(output, "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def await_file(path: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.01)


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Another process that has predicted film 0 and stands still while it predicts film 1, until GO."""
    monkeypatch.chdir(tmp_path)
    have_cores(monkeypatch, 1)
    for number, name in enumerate(FILMS):
        write_image(Path(name), draw_chest(number, 48, 41)[0])

    def read_or_pause(path: Path, *options: Any) -> Any:
        if str(path) == FILMS[1]:
            BEGUN.touch()
            await_file(GO)
        return open_radiograph(path, *options)

    def predict_with_pause() -> None:
        read_here(monkeypatch, read_or_pause)
        predicted()

    child = fork(predict_with_pause)
    await_file(BEGUN)
    yield child
    end(child)


def end(child: int) -> None:
    with suppress(ProcessLookupError, ChildProcessError):  # it has ended
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def seen(monkeypatch: pytest.MonkeyPatch, before: Callable[[str], None] = lambda _: None) -> list[str]:
    """The films that this process reads from now on."""
    names: list[str] = []

    def recorded(path: Path, *options: Any) -> Any:
        before(str(path))
        names.append(str(path))
        return open_radiograph(path, *options)

    read_here(monkeypatch, recorded)
    return names


def assert_as_predicted_alone(output: str) -> None:
    predicted("alone")
    assert sorted(rows_of(output), key=str) == sorted(rows_of("alone"), key=str)
    for name in FILMS:
        mask = f"{Path(name).stem}_mask.png"
        assert Path(output, mask).read_bytes() == Path("alone", mask).read_bytes()
    assert not list(Path(output).glob(".predicting*"))


def test_the_same_prediction_started_twice_is_shared(other: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read = seen(monkeypatch)
    outcome = predicted()
    assert read == FILMS[2:]
    assert (outcome.predicted, outcome.shared) == (3, 2)
    GO.touch()
    assert os.waitpid(other, 0)[1] == 0
    assert_as_predicted_alone("out")


def test_a_film_of_a_process_that_is_killed_is_predicted_by_the_other(
    other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = seen(monkeypatch, lambda path: end(other) if path == FILMS[4] else None)
    outcome = predicted()
    assert read == [*FILMS[2:], FILMS[1]]
    assert (outcome.predicted, outcome.shared) == (4, 1)
    assert_as_predicted_alone("out")


def test_a_film_that_may_have_ended_a_process_is_done_last(
    other: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    end(other)
    caplog.set_level("INFO")
    read = seen(monkeypatch)
    assert predicted(skip_existing=True).predicted == 4
    assert read == [*FILMS[2:], FILMS[1]]
    assert "ended while it predicted films/1.png: done last" in caplog.text
    assert_as_predicted_alone("out")


def test_another_prediction_waits_for_its_turn(
    other: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("lung_seg.prediction.sharing.time.sleep", lambda _: GO.touch())
    assert predicted(text="films/0.png").predicted == 1
    assert "Waiting for another process that works on out" in caplog.text
    assert len(rows_of("out")) == len(FILMS), "the other one had ended"
    assert_as_predicted_alone("out")
