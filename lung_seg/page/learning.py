"""Learning from corrections: a training in a process of its own, and both networks on cases that were put aside."""

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lung_seg.errors import UserError
from lung_seg.files import write_text
from lung_seg.page.comparison import CORRECTED, Comparison, compare
from lung_seg.page.corrections import Corrections
from lung_seg.page.events import Events
from lung_seg.page.network import Network
from lung_seg.prepared.manifest import read_manifest

LEAST = 5  # corrections: three to learn from, one to choose the best epoch by, one to compare the networks on
PHANTOMS = "phantom"
IDLE, RUNNING, FINISHED, FAILED, STOPPED = "idle", "running", "finished", "failed", "stopped"
POLL_S = 1.0
NETWORK_KEYS = ("base_channels", "max_channels", "depth", "normalization")
TRAINING_ONLY = ("data.image_size_px=", "data.resize=", "data.synthetic_per_epoch=")
EPOCHS = 8  # of conf/data/corrections.yaml
IN_USE = "in_use.txt"  # path of the learned network that the server uses


@dataclass
class Progress:
    """What the page shows of a training."""

    state: str = IDLE
    message: str = ""
    epochs: int = 0
    started: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    comparison: Comparison | None = None
    weights: str = ""  # of the network that was learned

    def as_json(self) -> dict[str, Any]:
        """The progress, with the time that is left by the epochs so far."""
        done = len(self.curve)
        seconds = sum(point["seconds"] for point in self.curve)
        comparison = self.comparison and self.comparison.as_json() | {"weights": self.weights}
        return {
            "state": self.state,
            "epoch": done,
            "epochs": self.epochs,
            "seconds": round(time.time() - self.started) if self.started else 0,
            "remaining_s": round(seconds / done * (self.epochs - done)) if done else None,
            "message": self.message,
            "curve": self.curve,
            "comparison": comparison,
        }


class Learning:
    """Starts, watches and stops trainings, one at a time."""

    def __init__(self, folder: Path, corrections: Corrections, network: Network, events: Events):
        self.folder = folder
        self.corrections = corrections
        self.network = network
        self.events = events
        self.progress = Progress()
        self._before = network.checkpoints  # what the server used before it used a learned network
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def obstacle(self) -> str:
        """Why this server cannot train; empty if it can."""
        missing = next((name for name in ("torch", "pytorch_lightning") if find_spec(name) is None), None)
        if missing:
            return f'Learning needs {missing}, which is not installed.\nInstall it: pip install "lung_seg[train]"'
        paths = [backend.path for backend in self.network.predictor.backends]
        if len(paths) > 1 or paths[0].suffix == ".onnx":
            return "Only a single network of PyTorch can learn.\nStart the server with one checkpoint=."
        return ""

    def start(self, mix: str, epochs: int | None) -> None:
        """Train the network in use further, on the corrections and what they are mixed with.

        Raises:
            UserError: a training is running, there are too few corrections, or ``mix`` is no folder.
        """
        count = len(self.corrections)
        if self.obstacle:
            raise UserError(self.obstacle)
        if count < LEAST:
            films = {0: "There are no corrections", 1: "There is 1 correction"}.get(
                count, f"There are {count} corrections"
            )
            raise UserError(
                f"{films}; learning needs at least {LEAST}: three to learn from, one to choose the best epoch by and "
                f"one to compare the networks on.\nCorrect {LEAST - count} more; with 20 or more it is worth while."
            )
        if mix != PHANTOMS and not Path(mix).is_dir():
            raise UserError(
                f"{mix} is not a folder.\nGive one with images/ and masks/, or mix with generated radiographs."
            )
        with self._lock:
            if self.progress.state == RUNNING:
                raise UserError("A training is running already.\nWait for it, or stop it.")
            total = epochs or EPOCHS
            self.progress = Progress(RUNNING, "Preparing the corrections …", total, started=time.time())
        run_dir = self.folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        threading.Thread(target=self._run, args=(run_dir, mix, total), daemon=True).start()
        self._announce()

    def stop(self) -> None:
        """Stop a running training; the network in use stays."""
        if self.progress.state == RUNNING:
            self.progress.state, self.progress.message = STOPPED, "Stopped. The network in use is the one of before."
            if self._process:
                self._process.send_signal(signal.SIGTERM)
            self._announce()

    def use(self, back: bool) -> None:
        """Use the learned network, or the one before, from now on, also after the server is started again.

        Raises:
            UserError: there is no learned network.
        """
        if not back and not self.progress.weights:
            raise UserError("There is no learned network to use.\nLearn first.")
        self.network.use(self._before if back else [self.progress.weights])
        write_text(self.folder / IN_USE, "" if back else self.progress.weights)

    def use_remembered(self) -> None:
        """Use the learned network that was in use when the server stopped."""
        path = self.folder / IN_USE
        weights = path.read_text(encoding="utf-8") if path.is_file() else ""
        if weights and Path(weights).is_file():
            self.network.use([weights])

    def command(self, mix: str, epochs: int) -> list[str]:
        """The settings of the training, as they are given to train.py."""
        backend = self.network.predictor.backends[0]
        network, data = backend.description["network"], backend.description["data"]
        own = [] if mix == PHANTOMS else [setting("data.folder.add_dir", mix), "data.synthetic_per_epoch=0"]
        return [
            "experiment=corrections",
            setting("data.raw_dir", self.corrections.folder),
            setting("init", backend.path),
            setting("data.prepared_dir", self.folder / "data"),
            f"data.name={_set_name(mix)}",
            f"data.image_size_px={data['image_size_px']}",
            f"data.resize={data['resize']}",
            *(f"model.{key}={network[key]}" for key in NETWORK_KEYS if key in network),
            *own,
            f"trainer.max_epochs={epochs}",
        ]

    def _run(self, run_dir: Path, mix: str, epochs: int) -> None:
        try:
            before = self.network.predictor.backends[0].path
            settings = self.command(mix, epochs)
            remove_outdated(self.folder / "data", self.corrections)
            options = ["trainer.enable_progress_bar=false", setting("hydra.run.dir", run_dir)]
            self._execute("train", [*settings, *options], run_dir)
            self.progress.message = "Comparing the networks on the films put aside …"
            self._announce()
            # evaluate.py refuses the image size: a network is scored at the size that it was trained at.
            data = [text for text in settings if text.startswith("data.") and not text.startswith(TRAINING_ONLY)]
            scoring = [
                "data=corrections",
                "data.synthetic_per_epoch=0",
                "split=test",
                setting("checkpoint", before),
                *data,
            ]
            self._execute("evaluate", [*scoring, setting("hydra.run.dir", run_dir / "before")], run_dir)
            self.progress.comparison = compare(run_dir / "before", run_dir)
            self.progress.weights = str((run_dir / "checkpoints" / "best.ckpt").absolute())
            self.progress.state, self.progress.message = FINISHED, self.progress.comparison.text
        except UserError as error:
            self._fail(str(error))
        finally:  # e.g. a full disk
            self._fail(f"The training ended unexpectedly.\nLook at {run_dir}.")
            self._announce()

    def _fail(self, message: str) -> None:
        if self.progress.state == RUNNING:
            self.progress.state, self.progress.message = FAILED, message

    def _execute(self, command: str, arguments: list[str], run_dir: Path) -> None:
        """Run a command of this package; a UserError with its last lines if it fails."""
        run_dir.mkdir(parents=True, exist_ok=True)
        log = run_dir / f"{command}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"lung_seg.cli.{command}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
            if self.progress.state != RUNNING:  # stopped before the process was there
                self._process.terminate()
            while self._process.poll() is None:
                self._watch(run_dir)
                time.sleep(POLL_S)
        self._watch(run_dir)
        if self._process.returncode:
            raise UserError(_last_lines(log))

    def _watch(self, run_dir: Path) -> None:
        curve = read_curve(run_dir / "metrics.csv")
        if len(curve) > len(self.progress.curve):
            self.progress.curve = curve
            self.progress.message = f"Learning: epoch {len(curve)} of {self.progress.epochs}."
            self._announce()

    def _announce(self) -> None:
        self.events.send("learning", self.progress.as_json())


def setting(key: str, value: object) -> str:
    """``key='value'`` as Hydra reads it, whatever characters a path holds."""
    text = str(Path(str(value)).absolute()).replace("'", r"\'")
    return f"{key}='{text}'"


def read_curve(path: Path) -> list[dict[str, float]]:
    """Loss and validation Dice of the epochs so far; metrics.csv is written whole after each."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                "epoch": int(row["epoch"]) + 1,
                "loss": float(row["train/loss"]),
                "val_dice": float(row["validation/dice"] or "nan"),
                "seconds": float(row["train/seconds"]),
            }
            for row in csv.DictReader(file)
        ]


def _set_name(mix: str) -> str:
    """The prepared set of corrections and what they are mixed with; each mixture keeps its own split."""
    return "corrections" if mix == PHANTOMS else f"corrections-{hashlib.sha256(mix.encode()).hexdigest()[:8]}"


def remove_outdated(folder: Path, corrections: Corrections) -> None:
    """Remove prepared sets with corrections that were taken back; preparing would refuse to go on with them."""
    for manifest in folder.glob("corrections*/manifest.csv"):
        cases = {row.case_id for row in read_manifest(manifest) if row.source == CORRECTED}
        if any(not corrections.mask_path(case).is_file() for case in cases):
            shutil.rmtree(manifest.parent)


def _last_lines(log: Path) -> str:
    """The error of a command: one or two lines at the end of what it printed."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-2:]) or f"It ended without a word.\nLook at {log}."
