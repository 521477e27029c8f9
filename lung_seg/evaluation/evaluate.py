"""Score a checkpoint on a split: cases.csv, summary.json, report.html and overlays of the worst and best cases."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from lung_seg.config import LUNG, LUNG_PROBABILITY, SPLITS, UNKNOWN, EvaluateConfig, TrainConfig
from lung_seg.config_field import flatten
from lung_seg.draw import Rgb, enlarge, overlay, with_sides
from lung_seg.environment import command_line, git_revision, versions
from lung_seg.evaluation.member import Member, load_member, scoring_datamodule
from lung_seg.evaluation.report import write_report
from lung_seg.evaluation.robustness import Robustness, measure_robustness, write_robustness
from lung_seg.evaluation.statistics import CASE_SCORES, DELIVERED_SCORES, ScoredCase, summarise
from lung_seg.files import write_csv, write_text
from lung_seg.model.checkpoint import Seen
from lung_seg.model.ensemble import Ensemble
from lung_seg.model.metrics import COUNTS, overlap_counts, overlap_scores, predict_mask
from lung_seg.model.surface_distances import surface_distances
from lung_seg.model.unet import UNet
from lung_seg.prediction.postprocess import Probability, clean, mask_at_original_size
from lung_seg.prediction.quality import dice
from lung_seg.prediction.smaller_view import enlarged, remove_unconfirmed, shown_smaller
from lung_seg.prepared.store import read_original_mask
from lung_seg.raw.image_file import write_png
from lung_seg.raw.partly_known import Labels
from lung_seg.training.case_table import CaseTable
from lung_seg.training.datamodule import LungDataModule
from lung_seg.training.dataset import SampleIndex
from lung_seg.training.epoch_table import read_epochs
from lung_seg.training.fit import Fitted
from lung_seg.training.recipe import score_command
from lung_seg.training.trainer import is_main_process, make_trainer, translate_errors

Network = UNet | Ensemble

NO_DISTANCES = (math.nan, math.nan, False)  # in mm where the spacing is not known
SHOWN_CASES = 4  # overlays of this many of the worst cases, and of the best


class CaseScorer(pl.LightningModule):
    """Scores a network, from (N, 1, S, S) uint8 to logits, on batches of image, mask and manifest row.

    Pixels are counted in the network's own mask, at the size of its input; the other scores are of the delivered mask,
    cleaned and at the radiograph's own size, as ``prediction`` writes it.
    """

    def __init__(self, network: Network, datamodule: LungDataModule):
        super().__init__()
        self.network = network
        self.datamodule = datamodule
        self.cases = CaseTable(len(COUNTS) + len(DELIVERED_SCORES) + 1)

    def test_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """Add the pixel counts and the scores of the delivered masks of a batch."""
        image, mask, position = batch
        logits = self.network(image)
        counts = overlap_counts(logits, mask)
        smaller = [shown_smaller(shown, self.network.step_px) for shown in image[:, 0].cpu().numpy()]
        smaller_logits = self.network(torch.from_numpy(np.stack(smaller)[:, None]).to(image.device))
        probabilities, of_smaller = (found.float().sigmoid()[:, 0].cpu().numpy() for found in (logits, smaller_logits))
        maps = zip(probabilities, of_smaller, mask[:, 0].cpu().numpy(), position.tolist(), strict=True)
        delivered = [self._score_delivered(*case) for case in maps]
        self.cases.update(position, torch.cat([counts, counts.new_tensor(delivered)], dim=1))

    def _score_delivered(
        self, probability: Probability, of_smaller: Probability, mask: Labels, position: int
    ) -> list[float]:
        """``DELIVERED_SCORES`` and whether distances failed, from probability and prepared mask, (S, S) each.

        ``of_smaller`` is the probability in the smaller view, of its size. Only known pixels count; the distances of a
        partly known outline are not known.
        """
        row, resize = self.datamodule.rows[position], self.datamodule.data.resize
        size = (row.height_px, row.width_px)
        smaller = clean(enlarged(of_smaller, len(probability))) >= LUNG_PROBABILITY
        cleaned = clean(remove_unconfirmed(probability, smaller))
        delivered = mask_at_original_size(cleaned, *size, resize)
        if self.datamodule.test_augment:  # the radiograph may have been turned or shifted, and its mask with it
            truth, unknown = (
                mask_at_original_size((mask == value).astype(np.float32), *size, resize) for value in (LUNG, UNKNOWN)
            )
        else:
            labels = read_original_mask(self.datamodule.folder, row)
            truth, unknown = labels == LUNG, labels == UNKNOWN
        delivered_dice = dice(delivered & ~unknown, truth)
        if unknown.any():
            return [delivered_dice, *[math.nan] * (len(DELIVERED_SCORES) - 1), 0.0]
        hd95_px, assd_px, failed = surface_distances(delivered, truth)
        hd95_mm, assd_mm, _ = surface_distances(delivered, truth, row.spacing_mm) if row.spacing_mm else NO_DISTANCES
        return [delivered_dice, hd95_px, assd_px, hd95_mm, assd_mm, float(failed)]

    def on_test_epoch_end(self) -> None:
        """Gather the table here, while all devices still take part."""
        self.table = self.cases.compute()


def evaluate(config: EvaluateConfig, run_dir: Path) -> dict[str, Any]:
    """Score a checkpoint on one split, write the evaluation and return the content of summary.json.

    Raises:
        UserError: the checkpoint or the data do not exist.
    """
    member = load_member(Path(str(config.checkpoint)))
    trainer = make_trainer(config.trainer)
    with translate_errors(lambda: "nothing was written."):
        path = member.path  # runs/train/<time>/checkpoints/best.ckpt is called by its run
        name = path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
        return evaluate_network(member.network, name, [member], config, trainer, run_dir)


def evaluate_network(
    network: Network, name: str, members: list[Member], config: EvaluateConfig, trainer: pl.Trainer, run_dir: Path
) -> dict[str, Any]:
    """Score a network, or the ensemble of its members, on the requested split and write the evaluation."""
    datamodule = scoring_datamodule(config, members[0], config.split)
    cases = score(network, datamodule, trainer)
    facts = evaluation_facts(name, members, config.split, datamodule, config)
    facts["seen_in_training"] = count_seen(cases, [member.seen for member in members])
    robustness = None
    if config.robustness and is_main_process():
        robustness = measure_robustness(members[0].path, datamodule, config.trainer.accelerator)
    return write_evaluation(run_dir, datamodule, cases, facts, robustness)


def count_seen(
    cases: Sequence[ScoredCase], networks: Sequence[Seen | None], uses: Sequence[str] = ("training", "validation")
) -> int | None:
    """How many cases one of the networks has seen in one of these uses; None if that is not known of all of them."""
    identities: set[str] = set()
    for seen in networks:
        if seen is None:
            return None
        identities.update(*(seen[use] for use in uses))
    return sum(not identities.isdisjoint(case.row.identities) for case in cases)


def evaluate_training(config: TrainConfig, fitted: Fitted) -> dict[str, Any]:
    """Score the best network of a finished training on the test split and write the evaluation to its run directory."""
    run_dir = fitted.run_dir
    with translate_errors(lambda: f"the network is trained; score it with: {score_command(config, run_dir)}"):
        cases = score(fitted.network, fitted.data, fitted.trainer)
    facts: dict[str, Any] = {
        "title": f"{config.data.name}: U-Net with {config.model.base_channels} base channels",
        "checkpoint": str(fitted.best_checkpoint),
        "split": "test",
        "seen_in_training": count_seen(cases, [fitted.seen]),
        "training": fitted.facts,
        "seed": config.seed,
        "config": dataclasses.asdict(config),
    }
    summary = write_evaluation(run_dir, fitted.data, cases, facts)
    scores = summary["scores"]["all"]
    # Named so that TensorBoard sorts these single points behind the curve of the loss.
    metrics = {f"result/test_{name}": scores[name]["mean"] for name in ("dice", "accuracy", "bce")}
    metrics["result/test_pooled_dice"] = scores["pooled_dice"]
    metrics["result/validation_dice"] = fitted.facts["validation_dice"]
    tensorboard, *others = fitted.trainer.loggers
    tensorboard.log_hyperparams(flatten(facts["config"]), metrics)
    for logger in others:
        logger.log_hyperparams(flatten(facts["config"]))
        logger.log_metrics(metrics)
    for logger in fitted.trainer.loggers:
        logger.finalize("success")
    return summary


def evaluation_facts(
    name: str, members: list[Member], split: str, datamodule: LungDataModule, config: EvaluateConfig
) -> dict[str, Any]:
    """The part of summary.json that describes the network and what it is scored on."""
    corruptions = ", ".join(f"{key} {value:g}" for key, value in vars(datamodule.augmentation).items() if value)
    title = f"{name} on {split} of {datamodule.data.name}" + (f", corrupted ({corruptions})" if corruptions else "")
    return {
        "title": title,
        "checkpoint": ", ".join(str(member.path) for member in members),
        "split": split,
        "training": None,
        "seed": None,
        "config": dataclasses.asdict(dataclasses.replace(config, data=datamodule.data)),
    }


def score(network: Network, datamodule: LungDataModule, trainer: pl.Trainer) -> list[ScoredCase]:
    """Score every case of the data module's test splits once, in the order of the manifest."""
    scorer = CaseScorer(network, datamodule)
    trainer.test(scorer, datamodule, verbose=False)
    counts, delivered = scorer.table[:, 1 : 1 + len(COUNTS)], scorer.table[:, 1 + len(COUNTS) :]
    columns = overlap_scores(counts) | dict(zip((*DELIVERED_SCORES, "surface_failed"), delivered.T, strict=True))
    cases = []
    for index, position in enumerate(scorer.table[:, 0].int().tolist()):
        scores = {name: float(column[index]) for name, column in columns.items()}
        cases.append(ScoredCase(datamodule.rows[position], position, network, counts[index], scores))
    return cases


def write_evaluation(
    run_dir: Path,
    datamodule: LungDataModule,
    cases: list[ScoredCase],
    facts: dict[str, Any],
    robustness: Robustness | None = None,
) -> dict[str, Any]:
    """Summarise the scores; the main process writes the files of an evaluation (docs/results.md)."""
    sizes = {split: sum(row.split == split for row in datamodule.rows) for split in SPLITS}
    summary = facts | {
        "command": command_line(),
        "data": {"name": datamodule.data.name, "manifest_sha256": datamodule.manifest_sha256, "cases": sizes},
        "scores": summarise(cases),
        "robustness": robustness.table if robustness else None,
        "versions": versions(),
        "git_revision": git_revision(),
    }
    if is_main_process():
        overlays = _overlays(datamodule, cases)
        for case_id, picture in overlays.items():
            write_png(run_dir / "overlays" / f"{case_id}.png", picture)
        table: list[dict[str, Any]] = [
            {name: getattr(case.row, name) for name in ("case_id", "source", "patient_id", "tb_label")}
            | {name: None if math.isnan(case.scores[name]) else case.scores[name] for name in CASE_SCORES}
            for case in cases
        ]
        write_csv(run_dir / "cases.csv", list(table[0]), table)
        write_text(run_dir / "summary.json", json.dumps(summary, indent=1))
        if robustness:
            write_robustness(run_dir, robustness)
        examples = robustness.examples if robustness else {}
        write_report(run_dir / "report.html", summary, table, read_epochs(run_dir / "metrics.csv"), overlays, examples)
    return summary


def _overlays(datamodule: LungDataModule, cases: list[ScoredCase]) -> dict[str, Rgb]:
    """Truth and prediction of the worst and the best cases by case_id, lowest Dice first."""
    ranked = sorted(cases, key=lambda case: case.scores["dice"])
    shown = ranked if len(ranked) <= 2 * SHOWN_CASES else ranked[:SHOWN_CASES] + ranked[-SHOWN_CASES:]
    dataset = datamodule.dataset(*SPLITS, augment=datamodule.test_augment)  # all splits: indexed by manifest row
    overlays = {}
    for case in shown:
        sample = dataset[SampleIndex(0, case.position)]
        device = next(case.network.parameters()).device
        with torch.no_grad():
            prediction = predict_mask(case.network(sample.image[None].to(device)))[0, 0].cpu().numpy()
        image, (predicted, truth) = enlarge(sample.image[0].numpy(), prediction, (sample.mask[0] == LUNG).numpy())
        overlays[case.row.case_id] = with_sides(overlay(image, predicted, truth), right_is_left=True, warning="")
    return overlays
