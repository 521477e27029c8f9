"""The second step on a prepared set: summary.json, cases.csv, classifier.json, report.html and evidence/."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lung_seg.config import TuberculosisConfig
from lung_seg.environment import command_line, git_revision, versions
from lung_seg.files import sha256, write_csv, write_text
from lung_seg.prediction.predictor import SHIPPED, Predictor
from lung_seg.prepared.manifest import read_manifest
from lung_seg.prepared.store import MANIFEST, read_case
from lung_seg.raw.image_file import write_png
from lung_seg.second_step.classifier import NAME, Classifier, ClassifierFile
from lung_seg.second_step.encoder import SHIPPED_ENCODER, Encoder, both_encoders, efficientnet_encoder, unet_encoder
from lung_seg.second_step.evidence import evidence_map, evidence_overlay, strong_evidence
from lung_seg.second_step.features import CONTROLS, LUNGS, Features, normalise, read_features
from lung_seg.second_step.labels import read_labels
from lung_seg.second_step.own_encoder import own_encoder
from lung_seg.second_step.report import ShownRadiograph, write_report
from lung_seg.second_step.scores import interval, mean_auc_samples, reliability, resampled_weights, sigmoid, summarise
from lung_seg.second_step.study import Study, Trial, fit_on, labelled, run_study

SCALED = 20  # radiographs that the strength of the colours is chosen for
SHOWN = 3  # radiographs with the highest logit of each trial between sources, and with the lowest


def analyse(config: TuberculosisConfig, folder: Path, run_dir: Path) -> dict[str, Any]:
    """Analyse the prepared set in a folder, write the files into run_dir and return the summary.

    Raises:
        UserError: the labels do not suffice, or the encoder is not installed or has no feature maps.
    """
    settings = config.second_step
    table = Path(settings.table) if settings.table else None
    checkpoint = Path(settings.checkpoint) if settings.checkpoint else None
    read_labels(read_manifest(folder / MANIFEST), settings.label, table)  # before minutes of work
    predictor = Predictor(checkpoint or SHIPPED, threads=1)
    encoder = _open_encoder(settings.encoder, checkpoint or SHIPPED_ENCODER)
    features, labels = labelled(read_features(folder, encoder, predictor), settings.label, table)
    study = run_study(features, labels, settings.seeds)
    finding = "tuberculosis" if settings.label == "tb_label" else settings.label
    summary: dict[str, Any] = {
        "title": f"Signs of {finding} inside the lungs",
        "command": command_line(),
        "encoder": {"name": encoder.name, "sha256": encoder.digest},
        "label": settings.label,
        "finding": finding,
        "seeds": settings.seeds,
        "data": {"name": folder.name, "manifest_sha256": sha256(folder / MANIFEST), "radiographs": len(labels)},
        "without_lungs": features.without_lungs,
        "trials": [summarise_trial(trial, features) for trial in study.trials],
        "sources": [summarise_trial(trial, features) for trial in study.source_trials],
        "config": dataclasses.asdict(config),
        "versions": versions(),
        "git_revision": git_revision(),
    }
    classifier = fit_on(features, LUNGS, labels, np.arange(len(labels)), seed=0)
    _write_cases(run_dir / "cases.csv", study, features)
    write_text(run_dir / "summary.json", json.dumps(summary, indent=1))
    file = ClassifierFile(
        classifier,
        finding,
        encoder.name,
        encoder.digest,
        config.data.image_size_px,
        config.data.resize,
        _evidence_scale(folder, features, classifier, encoder, predictor),
        summary["data"] | {"label": settings.label, "with_label": int(labels.sum())},
    )
    file.write(run_dir / NAME)
    shown = [radiograph for trial in study.trials for radiograph in _shown(trial, folder, features, encoder, predictor)]
    for radiograph in shown:
        write_png(run_dir / "evidence" / f"{radiograph.case_id}.png", radiograph.picture)
    write_report(run_dir / "report.html", summary, study.trials, shown)
    return summary


def _open_encoder(name: str, checkpoint: Path) -> Encoder:
    if name == "efficientnet":
        return efficientnet_encoder()
    of_checkpoint = {"unet": unet_encoder, "both": both_encoders}
    return of_checkpoint[name](checkpoint) if name in of_checkpoint else own_encoder(name)


def summarise_trial(trial: Trial, features: Features) -> dict[str, Any]:
    """Scores of the lungs and of each control, and whether a control is as good.

    It is unless the interval of the difference, from the same samples of patients, lies above 0.
    """
    weights = resampled_weights([features.rows[position].patient for position in trial.positions])
    samples = {kind: mean_auc_samples(logits, trial.labels, weights) for kind, logits in trial.logits.items()}
    scores = {kind: summarise(logits, trial.labels, weights) for kind, logits in trial.logits.items()}
    as_good = [kind for kind in trial.logits if kind != LUNGS and interval(samples[LUNGS] - samples[kind])[0] <= 0]
    return {
        "name": trial.name,
        "radiographs": len(trial.labels),
        "with_label": int(trial.labels.sum()),
        "scores": scores,
        "controls_as_good": sorted(as_good, key=lambda kind: -scores[kind]["auc"]),
        "reliability": reliability(sigmoid(trial.logits[LUNGS][0]), trial.labels),
    }


def _write_cases(path: Path, study: Study, features: Features) -> None:
    """The probability of each radiograph in each trial, mean over the seeds, from the lungs and from each control."""
    table = []
    for trial in study.trials:
        means = {kind: sigmoid(logits).mean(axis=0) for kind, logits in trial.logits.items()}
        for number, (position, label) in enumerate(zip(trial.positions, trial.labels, strict=True)):
            row = features.rows[position]
            place = {"trial": trial.name, "case_id": row.case_id, "source": row.source, "label": int(label)}
            table.append(place | {kind: round(float(means[kind][number]), 6) for kind in (LUNGS, *CONTROLS)})
    write_csv(path, list(table[0]), table)


def _evidence_scale(
    folder: Path, features: Features, classifier: Classifier, encoder: Encoder, predictor: Predictor
) -> float:
    """Evidence of a pixel that gets the full colour: of a few radiographs the median of the strong ones."""
    strong = []
    for row in features.rows[:: max(1, len(features.rows) // SCALED)]:
        image, _ = read_case(folder, row.case_id)
        lungs = predictor.predict(image).mask
        evidence = evidence_map(encoder.maps(normalise(image, lungs)), lungs, classifier)
        strong.append(strong_evidence(evidence, lungs))
    return float(np.median(strong))


def _shown(
    trial: Trial, folder: Path, features: Features, encoder: Encoder, predictor: Predictor
) -> Iterator[ShownRadiograph]:
    """Evidence of the radiographs that a classifier of another source is most and least sure of."""
    if trial.classifier is None:
        return
    logits = trial.logits[LUNGS][0]
    order = np.argsort(logits)
    radiographs = []
    for number in [*order[: -SHOWN - 1 : -1], *order[:SHOWN]]:
        row = features.rows[trial.positions[number]]
        image, _ = read_case(folder, row.case_id)
        lungs = predictor.predict(image).mask
        evidence = evidence_map(encoder.maps(normalise(image, lungs)), lungs, trial.classifier)
        radiographs.append((number, row.case_id, image, lungs, evidence))
    strongest = float(np.median([strong_evidence(evidence, lungs) for *_, lungs, evidence in radiographs]))
    for number, case_id, image, lungs, evidence in radiographs:
        picture = evidence_overlay(image, lungs, evidence, strongest)
        yield ShownRadiograph(trial.name, case_id, int(trial.labels[number]), float(sigmoid(logits)[number]), picture)
