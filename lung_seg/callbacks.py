"""What accompanies a training: averaged weights, images per second, pictures in TensorBoard, a table of epochs."""

import csv
import io
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lung_seg.data.dataset import Draw, Sample
from lung_seg.files import write_text
from lung_seg.pictures import panel

PANEL_CASES = 4


class MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that still knows its best score when the run directory was moved between two parts of a run."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores, the files being looked for where they lie now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict[name]) for name in paths} | {"dirpath": self.dirpath}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": best})


class MovingAverage(WeightAveraging):
    """Validates and keeps the weights' exponential moving average, which varies less than the weights themselves.

    A checkpoint holds both: the average where a network's weights are looked for, and what training goes on from.

    Args:
        decay: share of the average that an optimizer step keeps; the first steps keep less (see ``_average``).
    """

    def __init__(self, decay: float):
        super().__init__(multi_avg_fn=partial(_average, decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the average where the network will be: Lightning moves the network there only later."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


class Throughput(pl.Callback):
    """Logs how many images a second an epoch trains on, all devices together."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started = time.perf_counter()
        self.images = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Sample, batch_idx: int
    ) -> None:
        """Log the rate so far."""
        self.images += len(batch.image) * trainer.world_size
        self.rate = self.images / (time.perf_counter() - self.started)
        pl_module.log("images_per_s", self.rate, prog_bar=True, logger=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's rate, its validation not counted, and how long it took, validation counted."""
        pl_module.log("train/images_per_s", self.rate)
        pl_module.log("train/seconds", time.perf_counter() - self.started)


class ValidationPanels(pl.Callback):
    """Shows the same few validation cases in TensorBoard after each epoch, so that one sees the contour settle."""

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Radiograph, truth and prediction side by side."""
        dataset = trainer.datamodule.dataset("validation")  # type: ignore[attr-defined]
        step = max(1, len(dataset) // PANEL_CASES)
        for number, position in enumerate(range(0, len(dataset), step)[:PANEL_CASES]):
            sample = dataset[Draw(0, position)]
            with torch.no_grad():
                logits = pl_module(sample.image[None].to(pl_module.device))
            picture = panel(
                sample.image[0].numpy(), sample.mask[0].numpy(), logits[0, 0].float().sigmoid().cpu().numpy()
            )
            _writer(trainer).add_image(f"validation/{number}", picture, trainer.global_step, dataformats="HWC")


class EpochTable(Logger):
    """metrics.csv: one row per epoch with all that was logged in it; a resumed training goes on with the same table.

    Lightning's CSVLogger scatters an epoch over several rows and starts the file anew on resuming.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.epochs = {int(row["epoch"]): row for row in read_epochs(path)}

    @property
    def name(self) -> str:
        """Lightning asks for it."""
        return "metrics"

    @property
    def version(self) -> str:
        """Lightning asks for it."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters are in summary.json."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add numbers to their epoch's row, and write the table at the end of each epoch."""
        if "epoch" not in metrics:
            return
        epoch = int(metrics["epoch"])
        self.epochs[epoch] = self.epochs.get(epoch, {}) | metrics | {"epoch": epoch, "step": step or 0}
        if "train/loss" in metrics:
            self._write()

    def _write(self) -> None:
        rows = [self.epochs[epoch] for epoch in sorted(self.epochs)]
        columns = ["epoch", "step", *sorted({name for row in rows for name in row} - {"epoch", "step"})]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())


def read_epochs(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv, values that an epoch lacks left out; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"]), "step": int(row["step"])} for row in rows]


def _writer(trainer: pl.Trainer) -> Any:
    """TensorBoard's own writer."""
    return next(logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)).experiment


def _average(decay: float, averages: list[Tensor], weights: list[Tensor], steps: Tensor | int) -> None:
    """Add the weights after one more step to their averages; those of the first steps, which are bad, fade soon."""
    kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
    get_ema_multi_avg_fn(kept)(averages, weights, steps)  # type: ignore[no-untyped-call]
