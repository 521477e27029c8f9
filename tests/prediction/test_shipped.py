"""The shipped weights: small, offline, accurate on images unlike the training data, and usable by either backend."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lung_seg import Predictor
from lung_seg.config import ENCODERS
from lung_seg.errors import UserError
from lung_seg.prediction.export import TOLERANCE
from lung_seg.prediction.predictor import SHIPPED, SHIPPED_ONNX
from lung_seg.raw.image_file import write_png
from lung_seg.raw.phantom.draw_phantom import Phantom, draw_phantom
from tests.conftest import Run
from tests.not_chests import draw_not_chest

TORCH = ("torch", "safetensors")
NOT_NEEDED = (
    *("hydra", "omegaconf", "lightning", "pytorch_lightning", "torchmetrics", "albumentations"),
    *("scipy", "tqdm", "filelock", "jinja2", "matplotlib", "pydicom", "highdicom", "onnx", "onnxscript"),
)


def predict_without(packages: tuple[str, ...], arguments: str, radiograph: Path) -> subprocess.CompletedProcess[str]:
    """Predict in a process that cannot import some packages; the mask is written to mask.npy next to the radiograph."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({packages}))\n"
        "import numpy as np; from lung_seg import Predictor\n"
        f"lungs = Predictor({arguments}).predict({str(radiograph)!r})\n"
        f"np.save({str(radiograph.parent / 'mask.npy')!r}, lungs.mask)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor()


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    """Ten that no network was trained on."""
    return [draw_phantom(seed, 320, 320) for seed in range(5_000_000, 5_000_010)]


def test_they_are_small_and_come_with_their_card() -> None:
    sizes = {path.name: path.stat().st_size for path in SHIPPED.parent.iterdir()}
    classifiers = {f"tuberculosis_{name}.json" for name in ENCODERS} | {"encoder.safetensors", "TUBERCULOSIS_CARD.md"}
    assert sizes.keys() == {"lungs.safetensors", "lungs.onnx", "MODEL_CARD.md"} | classifiers
    assert sizes["lungs.safetensors"] < 5_000_000
    assert sizes["lungs.onnx"] < 9_000_000
    card = (SHIPPED.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Not a medical device" in card
    assert "| shenzhen | 81 |" in card


def test_they_find_the_lungs_of_phantoms(predictor: Predictor, phantoms: list[Phantom]) -> None:
    dice = []
    for phantom in phantoms:
        lungs = predictor.predict(phantom.image)
        for found, drawn in ((lungs.right, phantom.right_mask), (lungs.left, phantom.left_mask)):
            dice.append(2 * (found & drawn).sum() / (found.sum() + drawn.sum()))
    assert np.median(dice) > 0.85  # sides swapped give 0


def test_they_find_the_lungs_of_films_unlike_those_they_were_trained_on(
    predictor: Predictor, phantoms: list[Phantom]
) -> None:
    noise = np.random.default_rng(0).normal(0, 20, (320, 320))
    unlike = {
        "inverted": lambda image: 255 - image,
        "noisy": lambda image: np.clip(image + noise, 0, 255).astype(np.uint8),
        "pale": lambda image: (image * 0.25 + 90).astype(np.uint8),
    }
    for change in unlike.values():
        dice = []
        for phantom in phantoms:
            found, drawn = predictor.predict(change(phantom.image)).mask, phantom.right_mask | phantom.left_mask
            dice.append(2 * (found & drawn).sum() / (found.sum() + drawn.sum()))
        assert np.median(dice) > 0.8


def test_they_warn_of_what_is_no_chest_radiograph(predictor: Predictor) -> None:
    warned = [bool(predictor.predict(draw_not_chest(seed)[1]).warning) for seed in range(30)]
    assert np.mean(warned) >= 0.9


@pytest.mark.parametrize("missing", [TORCH, ("onnxruntime",)], ids=["torch", "onnxruntime"])
def test_either_backend_alone_gives_the_same_mask(
    predictor: Predictor, tmp_path: Path, missing: tuple[str, ...]
) -> None:
    phantom = draw_phantom(3, 320, 400)
    write_png(tmp_path / "phantom.png", phantom.image)
    finished = predict_without((*NOT_NEEDED, *missing), "", tmp_path / "phantom.png")
    assert finished.returncode == 0, finished.stderr
    found, expected = np.load(tmp_path / "mask.npy"), predictor.predict(phantom.image).mask
    assert expected.any()
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) >= 0.999


@pytest.mark.parametrize(
    ("missing", "arguments", "words"),
    [
        (TORCH, repr(str(SHIPPED)), ("lungs.safetensors needs torch", 'pip install "lung_seg[train]"', "format=onnx")),
        (TORCH, "'best.ckpt'", ("checkpoint=best.ckpt needs torch", 'pip install "lung_seg[train]"', "format=onnx")),
        ((*TORCH, "onnxruntime"), "", ("lungs.onnx needs onnxruntime", 'pip install "lung_seg[onnx]"')),
    ],
)
def test_without_the_backend_the_remedy_is_named(
    tmp_path: Path, missing: tuple[str, ...], arguments: str, words: tuple[str, ...]
) -> None:
    finished = predict_without(missing, arguments, tmp_path / "any.png")
    assert finished.returncode == 1
    message = finished.stderr.partition("lung_seg.errors.UserError: ")[2]
    assert len(message.splitlines()) == 2
    assert all(word in message for word in words)


def test_the_onnx_file_holds_the_weights_of_the_safetensors() -> None:
    torch_backend = Predictor(SHIPPED, precision="32-true")
    onnx_backend = Predictor(SHIPPED_ONNX)
    inputs = [torch_backend.to_network_input(draw_phantom(seed, 320, 320).image) for seed in range(3)]
    np.testing.assert_allclose(
        onnx_backend.probabilities(inputs), torch_backend.probabilities(inputs), atol=TOLERANCE, rtol=0
    )
    ours, theirs = (predictor.backends[0].description for predictor in (onnx_backend, torch_backend))
    assert {name: ours[name] for name in theirs} == theirs


def test_they_can_be_exported_as_onnx(tmp_path: Path, run: Run) -> None:
    outcome = run("export", f"checkpoint={SHIPPED}", "format=onnx", f"output={tmp_path}")
    assert outcome.code == 0, outcome.err
    image = draw_phantom(1, 320, 320).image
    from_onnx = Predictor(tmp_path / "lungs.onnx").predict(image)
    from_torch = Predictor(precision="32-true").predict(image)
    np.testing.assert_allclose(from_onnx.probability, from_torch.probability, atol=1e-3)


def test_a_backend_refuses_devices_that_it_does_not_have(tmp_path: Path) -> None:
    onnx = tmp_path / "LUNGS.ONNX"
    onnx.write_bytes(SHIPPED_ONNX.read_bytes())
    assert Predictor(onnx, device="cpu").backends[0].session.get_providers() == ["CPUExecutionProvider"]
    for path in (onnx, SHIPPED):
        with pytest.raises(UserError, match=r"device=tpu must be one of auto \| cpu \| cuda \| mps"):
            Predictor(path, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"device=cuda is not available on this machine"):
            Predictor(onnx, device="cuda")
