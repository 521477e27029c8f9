"""The benchmark measures what it says, and names what holds a machine back."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from lung_seg.benchmark.plain_loop import PngFolder, plain_steps
from lung_seg.benchmark.roofline import Machine, Work, count, measure
from lung_seg.benchmark.training import findings
from lung_seg.benchmark.turns import Figure, take_turns
from lung_seg.config import AugmentationConfig
from lung_seg.data.augment import Augment
from lung_seg.data.manifest import read_manifest
from tests.conftest import Run

CPU = torch.device("cpu")
SMALL = (
    *("seconds=0.05", "rounds=2", "films=3", "film_px=64", "trainer=cpu"),
    *("data.phantom.cases=30", "data.image_size_px=32", "data.batch_size=4", "model.base_channels=4", "model.depth=2"),
)


def test_a_machine_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lung_seg.benchmark.predicting.find_spec", lambda _: None)  # exporting takes ten seconds
    outcome = run("benchmark", *SMALL, "growth=999", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "run/benchmark.json").read_text())
    medians = {figure["what"]: figure["median"] for figure in result["figures"]}
    assert all(f"\n{what} " in outcome.out for what in medians)
    assert {"preparing", "training", "training: a loop as usually written", "peak memory of all of this"} <= set(
        medians
    )
    once = [what for what in medians if what.startswith(("100 cases: ", "peak memory of "))]  # and 1000 not at all
    assert len(once) == 7
    assert all(len(figure["rounds"]) == 2 for figure in result["figures"] if figure["what"] not in once)
    assert medians["peak memory of 100 cases"] < medians["peak memory of all of this"]
    assert medians["100 cases: preparing"] > medians["100 cases: nothing left to prepare"]
    assert 0 <= medians.pop("training: waiting for cases") < 100
    assert all(median > 0 for median in medians.values())
    assert medians["reading a case augmented"] > medians["reading a case as it is"]
    assert "What holds this machine back in training: " in outcome.out


def test_too_few_cases_for_a_batch_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("benchmark", *SMALL, "data.batch_size=40")
    assert outcome.code == 2
    assert "data.batch_size=40 exceeds" in outcome.err


@pytest.mark.parametrize(
    ("ours", "waiting", "told"),
    [
        (9.9, 0.5, "the network, and of it this machine's arithmetic"),
        (6.0, 40.0, "waiting for cases: raise data.workers"),
        (6.0, 1.0, "what surrounds the network"),
    ],
)
def test_what_takes_longest_is_told(ours: float, waiting: float, told: str) -> None:
    rates = [Figure("", "images/s", [rate]) for rate in (ours, 10.0, 8.0)]
    machine, work = Machine(flops_per_s=1e9, bytes_per_s=1e9), Work(flops=1e9, moved_bytes=1e8)
    told_of = findings([*rates, Figure("", "%", [waiting])], 8, machine, work, torch.float32)
    assert told in told_of[-1]
    assert "takes at least 1 s" in told_of[-2]


def test_the_work_of_a_step_is_counted() -> None:
    layer, image = nn.Conv2d(3, 5, kernel_size=3, padding=1, bias=False), torch.rand(2, 3, 16, 16)
    forward = count(lambda: layer(image))
    assert forward.flops == 2 * 2 * 5 * 3 * 9 * 16 * 16
    assert forward.moved_bytes == 4 * (image.numel() + layer.weight.numel() + 2 * 5 * 16 * 16)
    assert count(lambda: image.view(-1)[::2]).moved_bytes == 0
    assert count(lambda: layer(image).sum().backward()).flops == 2 * forward.flops  # the image needs no gradient


def test_a_machine_is_held_back_by_what_takes_longer() -> None:
    machine = Machine(flops_per_s=100, bytes_per_s=10)
    assert (machine.floor_s(Work(200, 10)), machine.narrower(Work(200, 10))) == (2, "arithmetic")
    assert (machine.floor_s(Work(100, 50)), machine.narrower(Work(100, 50))) == (5, "memory")
    here = measure(CPU, torch.float32)
    assert 1e8 < here.flops_per_s < 1e15
    assert 1e8 < here.bytes_per_s < 1e14


def test_contestants_take_turns() -> None:
    called: list[str] = []
    figures = take_turns("s", {name: lambda name=name: called.append(name) or 1.0 for name in "ab"}, rounds=3)
    assert called == list("ababab")
    assert [figure.rounds for figure in figures] == [[1.0] * 3] * 2


def test_the_plain_loop_trains(trained: Path) -> None:
    folder = trained / "data/segmentation/montgomery-32"
    torch.manual_seed(0)
    cases = PngFolder(folder, read_manifest(folder / "manifest.csv"), Augment(AugmentationConfig(), 32))
    losses = list(islice(plain_steps({"base_channels": 4, "depth": 2}, cases, 4, 0, CPU), 60))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
