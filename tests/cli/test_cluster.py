"""Sweeps on a cluster: scripts stand in for SLURM's commands; submitit's local executor runs unchanged."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from submitit.core.utils import UncompletedJobError

from tests.conftest import SMALL, Run
from tests.test_pipeline import ROOT, table

# Runs the tasks of an array one after another, a moment after it has answered, as a cluster's queue does.
SBATCH = """#!/bin/bash
cp "$1" submitted.sh
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
export SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=localhost SLURM_ARRAY_JOB_ID=41
(
  sleep 0.5
  for task in $(seq 0 "$last"); do SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=$((42 + task)) bash "$1"; done
  touch ended
) >cluster.log 2>&1 &
echo "Submitted batch job 41"
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == --unbuffered ]] || shift; shift; done
SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 exec "$@"
"""
SACCT = """#!/bin/bash
state=$([ -f ended ] && echo COMPLETED || echo RUNNING)
printf 'JobID|State|NodeList\\n41_0|%s|localhost\\n41_1|%s|localhost\\n' "$state" "$state"
"""


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A sweep in a subprocess, which finds SLURM's commands in ``folder``."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    command = [sys.executable, str(ROOT / "train.py"), "--multirun", *SMALL, "trainer.max_epochs=1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def install_scripts(folder: Path, **scripts: str) -> None:
    (folder / "bin").mkdir()
    for name, script in scripts.items():
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)


def test_slurm_runs_the_jobs_of_a_sweep_and_a_failed_one_is_reported(workplace: Path) -> None:
    install_scripts(workplace, sbatch=SBATCH, srun=SRUN, sacct=SACCT)
    settings = ("gpus_per_node=1", "timeout_min=240", "partition=gpu")
    launcher = ("hydra/launcher=submitit_slurm", *(f"hydra.launcher.{setting}" for setting in settings))

    outcome = sweep(workplace, *launcher, "data.batch_size=99,4", "hydra.sweep.dir=runs/jobs")

    assert outcome.returncode == 1, outcome.stderr
    assert "Failed (the reason is in error.txt): job 0" in outcome.stdout
    assert "data.batch_size=99 exceeds" in (workplace / "runs/jobs/0/error.txt").read_text()
    assert [job["job"] for job in table(workplace / "runs/jobs/sweep.csv")] == ["1"]
    script = (workplace / "submitted.sh").read_text().splitlines()
    submitted = {line.removeprefix("#SBATCH --") for line in script if line.startswith("#SBATCH")}
    assert {"array=0-1%2", "job-name=train", "partition=gpu", "time=240", "gpus-per-node=1"} <= submitted
    assert {"nodes=1", "ntasks-per-node=1", "signal=USR2@120"} <= submitted


def test_a_job_that_the_cluster_ends_is_reported_in_two_lines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = UncompletedJobError("Job 41_0 with path x.pkl\nhas not produced any output (state: TIMEOUT)\nNo output !")
    monkeypatch.setattr("lung_seg.cli.command.resumed_arguments", Mock(side_effect=lost))
    outcome = run("train")
    assert outcome.code == 1
    assert len(outcome.err.splitlines()) == 2
    assert "A job was lost: Job 41_0" in outcome.err
    assert "TIMEOUT" in outcome.err


def test_processes_of_one_machine_run_the_jobs_of_a_sweep(workplace: Path) -> None:
    outcome = sweep(workplace, "hydra/launcher=submitit_local", "seed=0", "hydra.sweep.dir=runs/jobs")
    assert outcome.returncode == 0, outcome.stderr
    assert [job["job"] for job in table(workplace / "runs/jobs/sweep.csv")] == ["0"]


def test_an_unknown_launcher_is_refused_with_the_extra_to_install(run: Run) -> None:
    outcome = run("train", "--multirun", "hydra/launcher=submitit_slurmm", "seed=0,1")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 2
    assert 'pip install "lung_seg[cluster]"' in outcome.err
