"""The weights that ship: small, offline, and right about what they were never shown."""

from pathlib import Path

import numpy as np
import pytest

from lung_seg import Predictor
from lung_seg.prediction.predictor import SHIPPED
from lung_seg.raw.phantom.draw_phantom import draw_phantom
from tests.conftest import Run
from tests.not_chests import draw_not_chest


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor()


def test_they_are_small_and_come_with_their_card() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.parent.iterdir()) < 8_000_000
    card = (SHIPPED.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Not a medical device" in card
    assert "| shenzhen | 81 |" in card


def test_they_find_the_lungs_of_phantoms(predictor: Predictor) -> None:
    dice = []
    for seed in range(5_000_000, 5_000_010):
        phantom = draw_phantom(seed, 320, 320)
        lungs = predictor.predict(phantom.image)
        for found, drawn in ((lungs.right, phantom.right_mask), (lungs.left, phantom.left_mask)):
            dice.append(2 * (found & drawn).sum() / (found.sum() + drawn.sum()))
    assert np.median(dice) > 0.85  # sides swapped give 0


def test_they_find_the_lungs_of_films_unlike_those_they_were_trained_on(predictor: Predictor) -> None:
    noise = np.random.default_rng(0).normal(0, 20, (320, 320))
    unlike = {
        "inverted": lambda image: 255 - image,
        "noisy": lambda image: np.clip(image + noise, 0, 255).astype(np.uint8),
        "pale": lambda image: (image * 0.25 + 90).astype(np.uint8),
    }
    for change in unlike.values():
        dice = []
        for seed in range(5_000_000, 5_000_010):
            phantom = draw_phantom(seed, 320, 320)
            found, drawn = predictor.predict(change(phantom.image)).mask, phantom.right_mask | phantom.left_mask
            dice.append(2 * (found & drawn).sum() / (found.sum() + drawn.sum()))
        assert np.median(dice) > 0.8


def test_they_warn_of_what_is_no_chest_radiograph(predictor: Predictor) -> None:
    warned = [bool(predictor.predict(draw_not_chest(seed)[1]).warning) for seed in range(30)]
    assert np.mean(warned) >= 0.9


def test_they_can_be_exported_as_onnx(tmp_path: Path, run: Run) -> None:
    outcome = run("export", "format=onnx", f"output={tmp_path}")
    assert outcome.code == 0, outcome.err
    image = draw_phantom(1, 320, 320).image
    from_onnx = Predictor(tmp_path / "lungs.onnx").predict(image)
    from_torch = Predictor(precision="32-true").predict(image)
    np.testing.assert_allclose(from_onnx.probability, from_torch.probability, atol=1e-3)
