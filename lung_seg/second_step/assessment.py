"""A classifier of the second step on single radiographs, for predict.py and Python: a score, zones and evidence."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from lung_seg.config import ENCODERS
from lung_seg.draw import Rgb, fit_for_viewing
from lung_seg.errors import UserError
from lung_seg.files import sha256
from lung_seg.prediction.finding import Finding
from lung_seg.prediction.predictor import SHIPPED, Prediction, mirror
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask, mask_to_network_input
from lung_seg.raw.resize import to_network_input, to_original_size
from lung_seg.second_step.classifier import NAME, ClassifierFile
from lung_seg.second_step.encoder import SHIPPED_ENCODER, Encoder, both_encoders, efficientnet_encoder, unet_encoder
from lung_seg.second_step.evidence import evidence_map, evidence_overlay
from lung_seg.second_step.features import averages, normalise
from lung_seg.second_step.own_encoder import own_encoder
from lung_seg.second_step.scores import Values, sigmoid

SHIPPED_CLASSIFIERS = {name: SHIPPED.with_name(f"tuberculosis_{name}.json") for name in ENCODERS}
ZONES = ("upper", "middle", "lower")  # thirds of each lung's height
DISCLAIMER = "Compare it with scores of the same hospital only. A research tool, not a device."


class Assessor:
    """Looks for signs of a disease inside lungs that were found.

        predictor = Predictor(second_step=Assessor())
        predictor.predict("xray.png").finding.score

    Args:
        classifier: "unet", "efficientnet" or "both" for the included ones, a run directory of tuberculosis.py, or its
            classifier.json.
        checkpoints: where to look for the U-Net whose encoder the classifier was fitted on, before the shipped encoder.
        encoder: the user's encoder that the classifier was fitted on, as module:function.

    Raises:
        UserError: the classifier cannot be read, or its encoder is not installed or not among the checkpoints.
    """

    threads: int | None = None

    def __init__(
        self,
        classifier: Path | str = "unet",
        checkpoints: Sequence[Path | str] = (),
        encoder: str | None = None,
    ):
        path = SHIPPED_CLASSIFIERS.get(str(classifier), Path(classifier))
        path = path / NAME if path.is_dir() else path
        self.file = ClassifierFile.read(path)
        self.encoder = _encoder(self.file, path, checkpoints, encoder)
        self.digest = sha256(path)
        empty = np.zeros((self.file.image_size_px, self.file.image_size_px), np.float32)
        numbers = sum(len(level) for level in self.encoder.maps(empty))
        if numbers != len(self.file.classifier.weights):
            raise UserError(
                f"{path} has {len(self.file.classifier.weights)} weights, its encoder {numbers} numbers.\n"
                "Make it again: python tuberculosis.py data=…"
            )

    def __call__(self, image: Grey, prediction: Prediction) -> Finding:
        """Assess a radiograph (H, W) by the lungs that were predicted; refused where their mask is in doubt."""
        if prediction.quality_warning:
            return Finding(text=f"Not assessed: {prediction.quality_warning}.")
        size_px, resize = self.file.image_size_px, self.file.resize
        network_input = to_network_input(mirror(image) if prediction.mirrored else image, size_px, resize)
        right, left = (
            mask_to_network_input(mirror(mask) if prediction.mirrored else mask, size_px, resize)
            for mask in (prediction.right, prediction.left)
        )
        if not (right.any() and left.any()):
            return Finding(text="Not assessed: two lungs were not found.")
        lungs = right | left
        maps = self.encoder.maps(normalise(network_input, lungs), self.threads)
        logit = self.file.classifier.logits(averages(maps, lungs)[None])
        evidence = evidence_map(maps, lungs, self.file.classifier)
        score = round(float(sigmoid(logit)[0]), 4)
        zones = zone_evidence(evidence, right, left)
        return Finding(score, zones, self._text(score, zones), self._picture(image, prediction, evidence))

    def _text(self, score: float, zones: dict[str, float]) -> str:
        finding = self.file.finding
        kind = "with" if score >= 0.5 else "without"
        text = f"These lungs look more like those of the training radiographs {kind} {finding} (score {score:.2f})."
        if score >= 0.5:
            most = max(zones, key=lambda zone: zones[zone]).replace("_", " ")
            text += f" The strongest evidence of {finding} is in the {most} zone."
        return f"{text} {DISCLAIMER}"

    def _picture(self, image: Grey, prediction: Prediction, evidence: Values) -> Rgb:
        small, lungs = fit_for_viewing(image, prediction.mask)
        height_px, width_px = small.shape
        of_pixel = to_original_size(
            evidence.astype(np.float32), height_px, width_px, self.file.resize, cv2.INTER_NEAREST
        )
        of_pixel = mirror(of_pixel) if prediction.mirrored else of_pixel
        return evidence_overlay(small, lungs, np.where(lungs, of_pixel, 0.0), self.file.evidence_scale)


def zone_evidence(evidence: Values, right: Mask, left: Mask) -> dict[str, float]:
    """What each third of each lung's height, "right_upper" to "left_lower", adds to the logit of an average radiograph.

    All are (S, S). Pixels of neither lung have no evidence, so the six values and the average's logit sum to the logit.
    """
    zones = {}
    for side, lung in (("right", right), ("left", left)):
        rows = np.flatnonzero(lung.any(axis=1))
        borders = np.linspace(rows[0], rows[-1] + 1, len(ZONES) + 1).round().astype(int)
        for zone, (start, end) in zip(ZONES, pairwise(borders.tolist()), strict=True):
            zones[f"{side}_{zone}"] = float(evidence[start:end][lung[start:end]].sum())
    return zones


def _encoder(file: ClassifierFile, path: Path, checkpoints: Sequence[Path | str], own: str | None) -> Encoder:
    """The encoder that a classifier was fitted on, known by the hash of its weights."""
    if file.encoder not in ENCODERS:
        if own is None:
            raise UserError(
                f"{path} was fitted on other code, {file.encoder}; none is run because a file names it.\n"
                f"If that is code of yours, name it: tuberculosis_encoder={file.encoder}"
            )
        return _checked(own_encoder(own), file, path, f"other weights or code than {own}")
    if file.encoder == "efficientnet":
        return _checked(efficientnet_encoder(), file, path, "other weights of EfficientNet-Lite0")
    of_checkpoint = both_encoders if file.encoder == "both" else unet_encoder
    for checkpoint in map(Path, [*checkpoints, SHIPPED_ENCODER]):
        if checkpoint.suffix != ".onnx" and (encoder := of_checkpoint(checkpoint)).digest == file.encoder_sha256:
            return encoder
    raise UserError(
        f"{path} was fitted on the encoder of another network (SHA-256 {file.encoder_sha256[:12]}…).\n"
        "Give that network as checkpoint=…, or make the classifier again: python tuberculosis.py data=…"
    )


def _checked(encoder: Encoder, file: ClassifierFile, path: Path, other: str) -> Encoder:
    if encoder.digest != file.encoder_sha256:
        raise UserError(f"{path} was fitted on {other}.\nMake it again: python tuberculosis.py data=…")
    return encoder
