"""How masks change where radiographs do: corruption by corruption, severity by severity.

A corrupted image goes the way of any radiograph, through ``Predictor.predict``, and its mask is compared with the
reference, which is turned and cut like the image. Training's augmentation draws how strong a change is; here each
severity is exact, so that two networks meet the same images.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import albumentations as A
import cv2
import numpy as np
from tqdm import tqdm

from lung_seg.config import LUNG, UNKNOWN
from lung_seg.draw import Rgb, overlay
from lung_seg.evaluation.statistics import mean_with_interval
from lung_seg.files import write_csv
from lung_seg.prediction.predictor import Predictor
from lung_seg.prediction.quality import dice
from lung_seg.raw.image_file import Grey, write_png
from lung_seg.raw.partly_known import Labels
from lung_seg.training.augment import Array, Opacity, ToneCurve
from lung_seg.training.datamodule import LungDataModule
from lung_seg.training.dataset import SampleIndex

UNCHANGED = "none"
LABELS = ("PORTABLE", "SUPINE", "AP", "L", "R", "14:05", "ICU 7", "SEMI-ERECT")


class Corruption(NamedTuple):
    """One way to change a radiograph: ``transforms`` of each of the ``severities`` are applied one after the other."""

    name: str
    parameter: str  # what the severities are, with their unit
    severities: tuple[float, ...]
    transforms: Callable[[float], Sequence[A.BasicTransform]]


class BurnedInText(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Writes white labels into an image, as scanners and technicians do, anywhere."""

    def __init__(self, labels: int):
        super().__init__(p=1)
        self.labels = labels

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The labels, each with the place of its lower left corner."""
        height_px, width_px = params["shape"][:2]
        places = self.random_generator.uniform((0, 0.08), (0.8, 1), (self.labels, 2)) * (width_px, height_px)
        names = self.random_generator.choice(LABELS, self.labels).tolist()
        return {"texts": list(zip(names, places.astype(int).tolist(), strict=True))}

    def apply(self, img: Array, texts: Sequence[tuple[str, tuple[int, int]]], **_: Any) -> Array:
        """Draw letters of a twentieth of the height."""
        written: Array = img.copy()
        for name, place in texts:
            scale, thickness = len(img) / 500, max(1, len(img) // 200)
            cv2.putText(written, name, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
        return written


def _contrast(factor: float) -> A.ColorJitter:
    return A.ColorJitter((1, 1), contrast=(factor, factor), saturation=(1, 1), hue=(0, 0), p=1)


def _frame(fraction: float) -> A.CropAndPad:
    """Black added to each side, or for a negative fraction cut from it."""
    return A.CropAndPad(percent=(fraction, fraction), sample_independently=False, keep_size=False, p=1)


CORRUPTIONS = (
    Corruption("noise", "SD, 1 is black to white", (0.05, 0.1, 0.2), lambda s: [A.GaussNoise((s, s), p=1)]),
    Corruption("blur", "SD, px of the network input", (1, 2, 4), lambda s: [A.GaussianBlur(0, (s, s), p=1)]),
    Corruption("contrast", "factor, around the mean", (0.2, 0.5, 2, 3), lambda s: [_contrast(s)]),
    Corruption("gamma", "exponent", (0.5, 0.7, 1.5, 2), lambda s: [A.RandomGamma((100 * s, 100 * s), p=1)]),
    Corruption("tone curve", "random curves, one after another", (1, 2, 3), lambda s: [ToneCurve(p=1)] * int(s)),
    Corruption("inversion", "1: bright and dark swapped", (1,), lambda s: [A.InvertImg(p=1)]),
    Corruption("rotation", "degrees", (-30, -15, 15, 30), lambda s: [A.Affine(rotate=(s, s), p=1)]),
    Corruption("crop", "fraction cut from each side", (0.05, 0.1, 0.15), lambda s: [_frame(-s)]),
    Corruption("border", "fraction added to each side, black", (0.05, 0.1, 0.2), lambda s: [_frame(s)]),
    Corruption("text", "labels", (2, 5, 10), lambda s: [BurnedInText(int(s))]),
    Corruption("opacity", "times one to three opacities", (1, 2, 3), lambda s: [Opacity(p=1)] * int(s)),
    Corruption("JPEG", "quality", (30, 15, 5), lambda s: [A.ImageCompression("jpeg", (int(s), int(s)), p=1)]),
)


@dataclass(frozen=True)
class Robustness:
    """The table, and of each corruption at its last severity the first case, with the reference and the mask found."""

    table: list[dict[str, Any]]
    examples: dict[str, Rgb]


def measure_robustness(checkpoint: Path, datamodule: LungDataModule, accelerator: str) -> Robustness:
    """Mean Dice and number of warnings for each severity of each of the CORRUPTIONS; the first row is unchanged.

    Args:
        checkpoint: of the network.
        datamodule: its test splits are scored.
        accelerator: where the network runs, as Lightning calls it.
    """
    predictor = Predictor(checkpoint, device={"gpu": "cuda"}.get(accelerator, accelerator))
    dataset = datamodule.dataset(*datamodule.test_splits)
    samples = [dataset[SampleIndex(0, position)] for position in range(len(dataset))]
    rows = [datamodule.rows[int(sample.row)] for sample in samples]
    steps = [(Corruption(UNCHANGED, "", (), lambda _: []), 0.0)]
    steps += [(corruption, severity) for corruption in CORRUPTIONS for severity in corruption.severities]
    table, examples = [], {}
    for corruption, severity in tqdm(steps, "Robustness", unit=" severities", leave=False, disable=None):
        transforms = corruption.transforms(severity)
        scores, warned = [], 0
        for row, sample in zip(rows, samples, strict=True):
            image, mask = corrupt(sample.image[0].numpy(), sample.mask[0].numpy(), transforms, row.image_sha256)
            truth = mask == LUNG
            prediction = predictor.predict(image)
            scores.append(dice(prediction.mask & (mask != UNKNOWN), truth))
            warned += bool(prediction.quality_warning)
            if row is rows[0] and corruption.severities:
                examples[corruption.name] = overlay(image, prediction.mask, truth)
        mean = mean_with_interval(scores, [row.patient for row in rows])
        found = {"cases": len(rows), "dice": mean, "warned": warned}
        table.append({"corruption": corruption.name, "parameter": corruption.parameter, "severity": severity} | found)
    return Robustness(table, examples)


def corrupt(image: Grey, mask: Labels, transforms: Sequence[A.BasicTransform], case: str) -> tuple[Grey, Labels]:
    """Image and mask (S, S) after some transforms; what is random in them depends on the case's SHA-256 alone."""
    seed = int(case[:8], 16)
    generator, python_random = np.random.default_rng(seed), random.Random(seed)  # noqa: S311 - no secret
    sample = {"image": image, "mask": mask.astype(np.uint8)}
    for transform in transforms:
        transform.set_random_state(generator, python_random)
        sample = transform(**sample)
    return np.ascontiguousarray(sample["image"]), sample["mask"]


def write_robustness(run_dir: Path, robustness: Robustness) -> None:
    """Write robustness.csv, and the examples to robustness/."""
    table = [
        {key: row[key] for key in ("corruption", "severity", "parameter", "cases")}
        | {f"dice_{key}": value for key, value in row["dice"].items()}
        | {"warned": row["warned"]}
        for row in robustness.table
    ]
    write_csv(run_dir / "robustness.csv", list(table[0]), table)
    for name, picture in robustness.examples.items():
        write_png(run_dir / "robustness" / f"{name.replace(' ', '_')}.png", picture)
