"""Which jobs of a sweep run in a process of their own: those for which Lightning starts further ones."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.conftest import SMALL, Run


@pytest.mark.parametrize(
    ("trainer", "apart"),
    [
        (["trainer.devices=2"], True),
        (["trainer.devices='3'"], True),
        (["trainer.devices=auto"], False),
        (["trainer=ddp_cpu"], True),
        (["trainer=ddp_cpu", "trainer.strategy=auto"], True),
        ([], False),
    ],
    ids=str,
)
def test_a_job_that_starts_processes_runs_apart_from_the_sweep(
    trainer: list[str], apart: bool, workplace: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the sweep's own process each of them would start the sweep again, whatever the strategy is called."""
    in_subprocess, here = Mock(return_value=0.5), Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("lung_seg.cli.command._run_in_subprocess", in_subprocess)
    monkeypatch.setattr("lung_seg.training.fit.fit", here)
    outcome = run("train", "--multirun", *SMALL, *trainer, "hydra.sweep.dir=runs/sweep")
    assert outcome.code == (0 if apart else 130), outcome.err
    assert (in_subprocess.call_count, here.call_count) == (int(apart), int(not apart))
