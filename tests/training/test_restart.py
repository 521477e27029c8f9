"""Trainings whose processes torchrun starts, and restarts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SMALL

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, signal, sys, torch
from lung_seg.training.restart import destroy_process_group_at_exit, is_restarted, reinit_process_group
destroy_process_group_at_exit()
torch.distributed.init_process_group("gloo") if not is_restarted() else reinit_process_group("cpu")
total = torch.ones(1)
torch.distributed.all_reduce(total)
if not is_restarted():
    if os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
line = f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']} total {int(total)}\\n"
os.write(1, line.encode())  # at once: print's pieces would mix with those of the other process
"""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TORCHRUN, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_torchrun_of_a_single_process_trains(workplace: Path) -> None:
    outcome = torchrun(
        "--nproc-per-node=1", str(ROOT / "train.py"), *SMALL, "trainer.max_epochs=1", "trainer.strategy=ddp"
    )
    assert outcome.returncode == 0, outcome.stderr
    assert len(list((workplace / "runs/train").glob("*/summary.json"))) == 1 + 1, "of the run, and of runs/train/latest"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "pause"), reason="needs signal.pause")
def test_restarted_processes_connect_at_the_first_restart(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    outcome = torchrun("--nproc-per-node=2", "--max-restarts=1", str(tmp_path / "script.py"))
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("restart 1 total 2") == 2
