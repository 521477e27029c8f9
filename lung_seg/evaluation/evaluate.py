"""A checkpoint on a split: a row of scores per case, their means with intervals, and a report to look at."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lung_seg.config import AS_TRAINED, SPLITS, AugmentationConfig, DataConfig, EvaluateConfig, TrainConfig
from lung_seg.draw import overlay
from lung_seg.environment import command_line, git_revision, versions
from lung_seg.errors import UserError
from lung_seg.evaluation.report import flatten, write_report
from lung_seg.evaluation.statistics import CASE_SCORES, ScoredCase, scored_case, summarise
from lung_seg.files import write_text
from lung_seg.model.checkpoint import find_checkpoint, load_network
from lung_seg.model.metrics import COUNTS, overlap_counts, predict_mask
from lung_seg.model.surface_distances import SURFACE_SCORES, surface_scores
from lung_seg.raw.image_file import write_png
from lung_seg.training.augment import Augment
from lung_seg.training.case_table import CaseTable
from lung_seg.training.datamodule import LungDataModule
from lung_seg.training.dataset import SampleIndex
from lung_seg.training.epoch_table import read_epochs
from lung_seg.training.fit import Fitted
from lung_seg.training.trainer import is_main_process, make_trainer, translate_errors

RUNTIME_KEYS = {"batch_size", "workers", "raw_dir", "prepared_dir", "max_megapixels"}  # and not which they are
SHOWN_CASES = 4  # overlays of so many worst and so many best cases
NetworkOf = Callable[[int], nn.Module]
CASE_COLUMNS = ("case_id", "source", "tb_label", *CASE_SCORES)


class CaseScorer(pl.LightningModule):
    """Scores a network on batches of image, mask and manifest row, on one device or many.

    Args:
        network: from images (N, 1, S, S) uint8 to logits (N, 1, S, S).
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.cases = CaseTable(len(COUNTS) + len(SURFACE_SCORES))

    def test_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """Count a batch and measure how far its outlines are off."""
        image, mask, row = batch
        logits = self.network(image)
        pairs = zip(_to_numpy(predict_mask(logits)), _to_numpy(mask), strict=True)
        counts = overlap_counts(logits, mask)
        surfaces = torch.tensor([surface_scores(*pair) for pair in pairs], dtype=counts.dtype)
        self.cases.update(row, torch.cat([counts, surfaces.to(counts.device)], dim=1))

    def on_test_epoch_end(self) -> None:
        """Gather the table while all devices are there."""
        self.table = self.cases.compute()


def evaluate(config: EvaluateConfig, run_dir: Path) -> dict[str, Any]:
    """Score a checkpoint on one split and write cases.csv, summary.json, report.html and overlays/.

    Returns:
        What summary.json holds.

    Raises:
        UserError: there is no such checkpoint, or no such data.
    """
    path = find_checkpoint(Path(str(config.checkpoint)))
    network, description = load_network(path)
    config = dataclasses.replace(config, data=data_to_score(config.data, DataConfig.from_plain(description["data"])))
    datamodule = cases_to_score(config, config.data, config.split)
    trainer = make_trainer(config.trainer)
    with translate_errors("nothing was written."):
        cases = score(network, datamodule, trainer)
    seen = set(description["seen"])
    facts = {
        "title": f"{path} on {config.split} of {datamodule.data.name}{corruption_suffix(config.augmentation)}",
        "checkpoint": str(path),
        "split": config.split,
        "seen_in_training": sum(case.row.image_sha256 in seen for case in cases),
        "training": None,
        "seed": None,
        "config": dataclasses.asdict(config),
    }
    return write_evaluation(run_dir, lambda _: network, datamodule, cases, facts)


def evaluate_training(config: TrainConfig, fitted: Fitted) -> dict[str, Any]:
    """Score a finished training's best network on the test split and complete its run directory.

    Returns:
        What summary.json holds.
    """
    run_dir = fitted.run_dir
    with translate_errors(f"the network is trained; score it with: python evaluate.py checkpoint={run_dir}"):
        cases = score(fitted.network, fitted.data, fitted.trainer)
    facts: dict[str, Any] = {
        "title": f"{config.data.name}: U-Net with {config.model.base_channels} base channels",
        "checkpoint": str(fitted.best_checkpoint),
        "split": "test",
        "seen_in_training": 0,
        "training": fitted.facts,
        "seed": config.seed,
        "config": dataclasses.asdict(config),
    }
    summary = write_evaluation(run_dir, lambda _: fitted.network, fitted.data, cases, facts)
    for logger in fitted.trainer.loggers:
        logger.log_hyperparams(flatten(facts["config"]), _final_metrics(summary))
        logger.finalize("success")
    return summary


def _final_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """What TensorBoard's HPARAMS page compares runs by."""
    scores = summary["scores"]["all"]
    return {
        "final/validation_dice": summary["training"]["validation_dice"],
        "final/test_dice": scores["dice"]["mean"],
        "final/test_pooled_dice": scores["pooled_dice"],
        "final/test_accuracy": scores["accuracy"]["mean"],
        "final/test_bce": scores["bce"]["mean"],
    }


def cases_to_score(config: EvaluateConfig, data: DataConfig, split: str) -> LungDataModule:
    """The cases of a split, or of all, as they were prepared or varied as asked for."""
    data = dataclasses.replace(data, synthetic_per_epoch=0)  # those are for training
    datamodule = LungDataModule(data, config.augmentation, seed=0)
    datamodule.test_augment = Augment(config.augmentation, data.image_size_px)
    datamodule.test_splits = SPLITS if split == "all" else (split,)
    return datamodule


def corruption_suffix(augmentation: AugmentationConfig) -> str:
    """What a title says of cases that are not as they were prepared."""
    knobs = [f"{name} {value:g}" for name, value in dataclasses.asdict(augmentation).items() if value]
    return f", varied ({', '.join(knobs)})" if knobs else ""


def score(network: nn.Module, datamodule: LungDataModule, trainer: pl.Trainer) -> list[ScoredCase]:
    """Score every case of the data module's test splits once."""
    scorer = CaseScorer(network)
    trainer.test(scorer, datamodule, verbose=False)
    return [scored_case(datamodule.rows, case) for case in scorer.table]


def write_evaluation(
    run_dir: Path, network_of: NetworkOf, datamodule: LungDataModule, cases: list[ScoredCase], facts: dict[str, Any]
) -> dict[str, Any]:
    """Summarise, and let the main process write cases.csv, summary.json, report.html and overlays/.

    Args:
        run_dir: where to.
        network_of: which network scored the case of a manifest row.
        datamodule: holds the cases.
        cases: their scores.
        facts: what else the summary holds.

    Returns:
        What summary.json holds.
    """
    sizes = {split: sum(row.split == split for row in datamodule.rows) for split in SPLITS}
    summary = facts | {
        "command": command_line(),
        "data": {"name": datamodule.data.name, "manifest_sha256": datamodule.manifest_sha256, "cases": sizes},
        "scores": summarise(cases),
        "versions": versions(),
        "git_revision": git_revision(),
    }
    if not is_main_process():
        return summary
    table = [_case_line(case) for case in cases]
    overlays = _overlays(network_of, datamodule, cases)
    for case_id, picture in overlays.items():
        write_png(run_dir / "overlays" / f"{case_id}.png", picture)
    write_text(run_dir / "cases.csv", _csv(table))
    write_text(run_dir / "summary.json", json.dumps(summary, indent=1))
    write_report(run_dir / "report.html", summary, table, read_epochs(run_dir / "metrics.csv"), overlays)
    return summary


def _case_line(case: ScoredCase) -> dict[str, Any]:
    label = "" if case.row.tb_label is None else str(case.row.tb_label)
    return {"case_id": case.row.case_id, "source": case.row.source, "tb_label": label} | case.scores


def _csv(table: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, CASE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _overlays(
    network_of: NetworkOf, datamodule: LungDataModule, cases: list[ScoredCase]
) -> dict[str, NDArray[np.uint8]]:
    """Truth and prediction of the worst cases and the best ones, worst first."""
    ranked = sorted(cases, key=lambda case: case.scores["dice"])
    shown = ranked if len(ranked) <= 2 * SHOWN_CASES else ranked[:SHOWN_CASES] + ranked[-SHOWN_CASES:]
    dataset = datamodule.dataset(*SPLITS, augment=datamodule.test_augment)
    draw = {}
    for case in shown:
        sample = dataset[SampleIndex(0, case.position)]  # all splits: positions are the manifest's rows
        network = network_of(case.position)
        with torch.no_grad():
            prediction = predict_mask(network(sample.image[None].to(next(network.parameters()).device)))
        draw[case.row.case_id] = overlay(sample.image[0].numpy(), _to_numpy(prediction)[0], sample.mask[0].numpy())
    return draw


def data_to_score(given: DataConfig, trained: DataConfig) -> DataConfig:
    """The data to score: always at the size the network was trained at.

    Raises:
        UserError: a setting would be without effect, since the cases are those of the training.
    """
    if given.source != AS_TRAINED:
        return dataclasses.replace(given, image_size_px=trained.image_size_px, resize=trained.resize)
    default = DataConfig(name=AS_TRAINED, source=AS_TRAINED)
    changes = {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(given)
        if getattr(given, field.name) != getattr(default, field.name)
    }
    if without_effect := sorted(changes.keys() - RUNTIME_KEYS):
        raise UserError(
            f"data.{without_effect[0]} has no effect where the cases are those of the training.\n"
            "Name the set to score as well, e.g. data=montgomery."
        )
    return dataclasses.replace(trained, **changes)


def _to_numpy(masks: Tensor) -> NDArray[np.bool_]:
    """(N, 1, S, S) to (N, S, S) bool."""
    array: NDArray[np.bool_] = masks[:, 0].cpu().numpy()
    return array
