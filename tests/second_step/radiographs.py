"""Small radiographs of two hospitals, a toy encoder that sees only neighbours, and features without radiographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lung_seg.files import sha256
from lung_seg.prediction.predictor import Prediction
from lung_seg.prepared.manifest import Row
from lung_seg.second_step.encoder import Encoder, Stages
from lung_seg.second_step.features import CONTROLS, LUNGS, Features
from tests.layouts import draw_chest, write_image, write_montgomery, write_shenzhen

SIZE_PX = 64


def few_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folds and one strength, a twentieth of the fits, in this process."""
    monkeypatch.setattr("lung_seg.second_step.fitting.FOLDS", 2)
    monkeypatch.setattr("lung_seg.second_step.fitting.STRENGTHS", (0.1,))
    monkeypatch.setattr("lung_seg.second_step.fitting.usable_cores", lambda: 1)


def toy_encoder(tmp_path: Path) -> Encoder:
    """Two levels, at 1/2 and 1/4 of the size, whose cells see at most four pixels beyond themselves."""
    weights = tmp_path / "weights"
    weights.write_bytes(b"toy")
    generator = torch.Generator().manual_seed(0)
    stages: list[nn.Module] = []
    for before, after in ((1, 6), (6, 8)):
        convolution = nn.Conv2d(before, after, 3, padding=1)
        nn.init.normal_(convolution.weight, generator=generator)
        nn.init.zeros_(convolution.bias)
        stages.append(nn.Sequential(convolution, nn.ReLU(), nn.AvgPool2d(2)))
    return Encoder("toy", sha256(weights), Stages(stages, [0, 1]), channels=1)


def radiograph(seed: int, sign: str = "") -> tuple[np.ndarray, Prediction]:
    """A drawn chest and its lungs; a sign is a fine chequered pattern "inside" the lungs or "outside" them."""
    image, right, left = draw_chest(seed, SIZE_PX, SIZE_PX)
    lungs = right | left
    rows, columns = np.indices(image.shape)
    nearest = np.minimum(np.minimum(rows, columns), SIZE_PX - 1 - np.maximum(rows, columns))  # to the border
    place = {"": np.zeros_like(lungs), "inside": lungs, "outside": nearest < 3}[sign]
    pattern = (-70 if sign == "outside" else 70) * ((rows // 2 + columns // 2) % 2) * place  # brighter would be clipped
    image = np.clip(image + pattern, 0, 255).astype(np.uint8)
    return image, Prediction(right, left, 1.0, "", lungs.astype(np.float32), "stretch")


def row(number: int, source: str = "one", label: int | None = 0, patient: int | None = None) -> Row:
    name = f"{source}{number}"
    person = str(number if patient is None else patient)
    return Row(name, source, "train", label, person, 64, 64, name, name, name, name, sex="F", age_years=40)


def drawn_features(signal: dict[str, float], radiographs: int = 120) -> tuple[Features, np.ndarray]:
    """Random features of two sources; label 1 raises the first number of each kind by so many deviations."""
    rng = np.random.default_rng(0)
    labels = np.arange(radiographs) % 2
    rows = [
        row(number, "one" if number < radiographs // 2 else "two", int(labels[number])) for number in range(radiographs)
    ]
    values = {kind: rng.normal(size=(radiographs, 4)) for kind in (LUNGS, *CONTROLS)}
    for kind, deviations in signal.items():
        values[kind][:, 0] += deviations * labels
    return Features(rows, values, [2, 2], []), labels


def write_two_hospitals(raw_dir: Path, radiographs: int = 12) -> None:
    """Radiographs of both NLM sets in miniature; those with label 1 have a pattern in their lungs."""
    write_montgomery(raw_dir, cases=radiographs)
    write_shenzhen(raw_dir, cases=radiographs, without_mask=0)
    for folder, first_seed in ((raw_dir / "MontgomerySet", 0), (raw_dir / "ChinaSet_AllFiles", 1000)):
        for path in sorted((folder / "CXR_png").glob("*_1.png")):
            image = np.asarray(Image.open(path).convert("L")).astype(int)
            _, right, left = draw_chest(first_seed + int(path.stem.split("_")[1]), *image.shape)
            rows, columns = np.indices(image.shape)
            pattern: Any = 70 * ((rows // 4 + columns // 4) % 2) * (right | left)
            write_image(path, np.clip(image + pattern, 0, 255).astype(np.uint8))
