"""The benchmark measures what it reports, and names what limits training."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import throughput
from benchmarks.throughput import BARE_LOOP, TRAINING, WAITING, findings, interleave, measure_roofline, seconds_each

SMALL = (
    *("--seconds", "0.02", "--rounds", "2", "--radiographs", "3", "--height-px", "64"),
    *("trainer=cpu", "trainer.enable_progress_bar=false", "data.phantom.cases=20", "data.phantom.size_px=32"),
    *("data.image_size_px=32", "data.batch_size=4", "model.base_channels=4", "model.depth=2"),
)
MEASURED = {
    "preparing (radiographs/s)",
    "decoding the files (radiographs/s)",
    "reading a case (µs)",
    "reading and augmenting a case (µs)",
    "training (images/s)",
    "waiting for cases (%)",
    "bare PyTorch loop (images/s)",
    "network by PyTorch (ms)",
    "network by onnxruntime (ms)",
    "file to file (ms)",
}


def test_every_measurement_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    throughput.main([*SMALL, "--output", "result.json"])
    table = capsys.readouterr().out
    result = json.loads(Path("result.json").read_text("utf-8"))
    assert result["values"].keys() - {"peak memory (MiB)"} == MEASURED
    assert all(f"\n{name} " in table for name in result["values"])
    assert all(f"\n{finding}\n" in table for finding in result["findings"])
    for name in MEASURED:
        row = result["values"][name]
        assert len(row["rounds"]) == 2
        assert 0 <= row["min"] <= row["median"] <= row["max"]
        assert row["min"] > 0 or name == WAITING
    assert result["values"][WAITING]["max"] <= 100
    assert 1e8 < result["roofline"]["flops_per_s"] < 1e15
    assert 1e8 < result["roofline"]["bytes_per_s"] < 1e14
    assert result["settings"]["model"]["depth"] == 2
    assert {"torch", "python"} <= result["versions"].keys()


@pytest.mark.parametrize(
    ("override", "message"),
    [("data.batch_size=40", "data.batch_size=40 exceeds"), ("model=none", "Could not find 'model/none'")],
)
def test_settings_that_cannot_be_used_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        throughput.main([*SMALL, override])
    assert leaving.value.code == 2
    assert message in capsys.readouterr().err


def test_candidates_are_measured_one_after_the_other_in_each_round() -> None:
    called: list[str] = []
    values = interleave({name: lambda name=name: called.append(name) or 1.0 for name in "ab"}, rounds=3)
    assert called == list("ababab")
    assert values == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_a_call_is_measured_once_or_for_some_seconds() -> None:
    calls: list[int] = []
    seconds_each(lambda: calls.append(1))
    assert len(calls) == 1
    assert 0 < seconds_each(lambda: calls.append(1), seconds=0.01) < 0.01
    assert len(calls) > 2


def test_the_work_of_a_step_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "MATRIX_SIZE", 64)
    monkeypatch.setattr(throughput, "COPY_BYTES", 1024)
    layer, image = nn.Conv2d(3, 5, kernel_size=3, padding=1, bias=False), torch.rand(2, 3, 16, 16)
    forward = measure_roofline(lambda: layer(image), torch.device("cpu"), torch.float32)
    assert forward["flops"] == 2 * 2 * 5 * 3 * 9 * 16 * 16
    assert forward["moved_bytes"] == 4 * (image.numel() + layer.weight.numel() + 2 * 5 * 16 * 16)
    view = measure_roofline(lambda: image.view(-1)[::2], torch.device("cpu"), torch.float32)
    assert view["moved_bytes"] == 0
    both = measure_roofline(lambda: layer(image).sum().backward(), torch.device("cpu"), torch.float32)
    assert both["flops"] == 2 * forward["flops"]  # the image needs no gradient


ARITHMETIC = {"flops": 2e9, "flops_per_s": 1e9, "moved_bytes": 1e8, "bytes_per_s": 1e9}
MEMORY = {"flops": 1e8, "flops_per_s": 1e9, "moved_bytes": 3e9, "bytes_per_s": 1e9}


@pytest.mark.parametrize(
    ("training", "waiting", "roofline", "limit"),
    [
        (9.9, 0.5, ARITHMETIC, "the network, and there by arithmetic"),
        (9.9, 0.5, MEMORY, "the network, and there by memory"),
        (9.9, 40.0, ARITHMETIC, "waiting for cases: raise data.workers"),
        (6.0, 1.0, ARITHMETIC, "what surrounds the network"),
    ],
)
def test_the_limit_of_training_is_named(
    training: float, waiting: float, roofline: dict[str, float], limit: str
) -> None:
    values = {TRAINING: [training] * 3, BARE_LOOP: [10.0] * 3, WAITING: [waiting] * 3}
    ratio, step, verdict = findings(values, 8, roofline)
    assert f"{training / 10:.2f} of the bare loop's rate" in ratio
    assert f"A step takes {8 / training:.3g} s" in step
    assert f"{roofline['flops'] / 1e9:.3g} s at the rate of matrix" in step
    assert verdict.startswith(f"Training is limited by {limit}")


def test_a_ratio_is_taken_within_each_round() -> None:
    values = {TRAINING: [1.0, 20.0, 9.0], BARE_LOOP: [1.0, 40.0, 10.0], WAITING: [0.0]}
    assert "0.90 of" in findings(values, 8, ARITHMETIC)[0]
