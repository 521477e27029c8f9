"""A classifier on single radiographs: predict.py tuberculosis=… and Python, included classifiers and strange ones."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lung_seg import Predictor
from lung_seg.draw import overlay
from lung_seg.files import sha256
from lung_seg.prediction.predictor import Prediction
from lung_seg.raw.phantom.draw_phantom import draw_phantom
from lung_seg.raw.radiograph import Radiograph, open_radiograph
from lung_seg.second_step.assessment import SHIPPED_CLASSIFIERS, Assessor, zone_evidence
from lung_seg.second_step.classifier import Classifier, ClassifierFile
from lung_seg.second_step.encoder import SHIPPED_ENCODER, unet_encoder
from lung_seg.second_step.features import LUNGS, radiograph_features
from lung_seg.second_step.scores import sigmoid
from tests.conftest import Run
from tests.layouts import write_image

SEED = 5  # of a phantom whose lungs are found without a warning
SIZE_PX = 128
NUMBERS = 16 + 32 + 64 + 3 * 128  # of the included U-Net's encoder


def write_classifier(path: Path, **changes: object) -> ClassifierFile:
    rng = np.random.default_rng(0)
    classifier = Classifier(rng.normal(size=NUMBERS) / 100, 0.2, rng.normal(size=NUMBERS))
    file = ClassifierFile(
        classifier, "gout", "unet", sha256(SHIPPED_ENCODER), SIZE_PX, "stretch", 1e-3, {"radiographs": 20}
    )
    file = dataclasses.replace(file, **changes)
    file.write(path)
    return file


@pytest.fixture
def phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A radiograph whose lungs the included weights find, in xray.png, and a classifier in gout.json."""
    monkeypatch.chdir(tmp_path)
    image = draw_phantom(SEED, SIZE_PX, SIZE_PX).image
    write_image(Path("xray.png"), image)
    write_classifier(Path("gout.json"))
    return image


def rows_of(folder: str) -> dict[str, dict[str, str]]:
    with Path(folder, "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["input"]: row for row in csv.DictReader(file)}


def test_the_score_is_that_of_the_features_that_the_classifier_was_fitted_on(phantom: np.ndarray) -> None:
    prediction = Predictor(second_step=Assessor("gout.json")).predict(phantom)
    assert prediction.finding
    features = radiograph_features(phantom, prediction, unet_encoder(SHIPPED_ENCODER))[LUNGS]
    classifier = ClassifierFile.read(Path("gout.json")).classifier
    logit = classifier.logits(features[None])
    assert prediction.finding.score == pytest.approx(sigmoid(logit)[0], abs=1e-4)
    of_average = classifier.logits(classifier.means[None])
    assert sum(prediction.finding.zones.values()) == pytest.approx((logit - of_average)[0], abs=1e-6)
    assert "training radiographs with" in prediction.finding.text
    assert prediction.finding.text.endswith("not a device.")


def test_a_classifier_is_plain_json(tmp_path: Path) -> None:
    classifier = Classifier(np.array([0.1, -2.0]), 0.3, np.array([1.0, 2.0]))
    file = write_classifier(tmp_path / "classifier.json", classifier=classifier)
    again = ClassifierFile.read(tmp_path / "classifier.json")
    values = np.array([[3.0, 4.0]])
    assert again.classifier.logits(values).tolist() == classifier.logits(values).tolist() == [pytest.approx(-7.4)]
    assert (again.classifier.means == classifier.means).all()
    assert dataclasses.replace(again, classifier=classifier) == dataclasses.replace(file, classifier=classifier)


def test_zones_are_thirds_of_each_lung() -> None:
    right, left = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    right[0:9, 1:3], left[3:12, 8:10] = True, True
    evidence = np.where(right | left, np.arange(12.0)[:, None], 0.0)  # its row
    assert zone_evidence(evidence, right, left) == {
        **{"right_upper": 2 * (0 + 1 + 2), "right_middle": 2 * (3 + 4 + 5), "right_lower": 2 * (6 + 7 + 8)},
        **{"left_upper": 2 * (3 + 4 + 5), "left_middle": 2 * (6 + 7 + 8), "left_lower": 2 * (9 + 10 + 11)},
    }


def test_predict_writes_what_python_returns_and_evidence_in_the_lungs_only(phantom: np.ndarray, run: Run) -> None:
    outcome = run("predict", "input=xray.png", "output=out", "tuberculosis=gout.json")
    assert outcome.code == 0, outcome.err
    row = rows_of("out")["xray.png"]
    prediction = Predictor(second_step=Assessor("gout.json")).predict("xray.png")
    assert prediction.finding
    assert float(row["tb_score"]) == prediction.finding.score
    assert row["tb_text"] == prediction.finding.text
    zones = dict(zone.split("=") for zone in row["tb_zones"].split())
    assert {zone: float(text) for zone, text in zones.items()} == pytest.approx(prediction.finding.zones, abs=6e-4)
    picture = np.asarray(Image.open("out/xray_evidence.png")).astype(int)
    coloured = picture.max(axis=-1) != picture.min(axis=-1)
    rows, columns = np.nonzero(prediction.mask)
    away = np.ones_like(coloured)
    away[rows.min() - 4 : rows.max() + 5, columns.min() - 4 : columns.max() + 5] = False  # the contour lies in here
    assert not coloured[away].any()
    assert coloured[prediction.mask].mean() > 0.5
    plain = overlay(phantom, prediction.mask, None).astype(int)
    assert (picture[~prediction.mask] == plain[~prediction.mask]).all()

    again = run("predict", "input=xray.png", "output=out", "tuberculosis=gout.json", "skip_existing=true")
    assert "Left alone 1 radiograph" in again.out
    without = run("predict", "input=xray.png", "output=out", "skip_existing=true")
    assert "1 of them replaced masks of other weights or settings." in without.out
    assert rows_of("out")["xray.png"]["tb_score"] == ""


def test_a_mirrored_file_has_the_same_score_and_zones(phantom: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(second_step=Assessor("gout.json"))
    usual = predictor.predict(phantom).finding

    def as_mirrored(path: Path, *settings: object) -> Radiograph:
        return open_radiograph(path, *settings)._replace(mirrored=True)

    write_image(Path("mirrored.png"), np.ascontiguousarray(phantom[:, ::-1]))
    monkeypatch.setattr("lung_seg.prediction.predictor.open_radiograph", as_mirrored)
    mirrored = predictor.predict("mirrored.png").finding
    assert usual
    assert mirrored
    assert (mirrored.score, mirrored.zones) == (usual.score, usual.zones)
    assert usual.picture is not None
    assert mirrored.picture is not None
    np.testing.assert_allclose(mirrored.picture[:, ::-1].astype(int), usual.picture, atol=120)
    assert np.abs(mirrored.picture[:, ::-1].astype(int) - usual.picture).mean() < 1  # the contour's smoothing


def test_a_doubtful_mask_is_refused_with_its_reason(phantom: np.ndarray, run: Run) -> None:
    write_image(Path("noise.png"), np.random.default_rng(0).integers(0, 255, (SIZE_PX, SIZE_PX), dtype=np.uint8))
    assert run("predict", "input=*.png", "output=out", "tuberculosis=gout.json").code == 0
    noise, xray = rows_of("out")["noise.png"], rows_of("out")["xray.png"]
    assert noise["tb_score"] == noise["tb_zones"] == ""
    assert noise["tb_text"].startswith("Not assessed: ")
    assert noise["warning"] in noise["tb_text"]
    assert xray["tb_score"]
    assert [path.name for path in Path("out").glob("*_evidence.png")] == ["xray_evidence.png"]
    assert "Left alone 2 radiographs" in run(
        "predict", "input=*.png", "output=out", "tuberculosis=gout.json", "skip_existing=true"
    ).out  # fmt: skip


def test_included_classifiers_belong_to_the_included_weights(phantom: np.ndarray) -> None:
    for name, path in SHIPPED_CLASSIFIERS.items():
        assert path.stat().st_size < 1_000_000
        file = ClassifierFile.read(path)
        assert (file.encoder, file.finding, file.image_size_px) == (name, "tuberculosis", 512)
    finding = Predictor(second_step=Assessor()).predict(phantom).finding
    assert finding
    assert finding.score is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no classifier of this program: "),
        ("[]", "is no classifier of this program: "),
        ("[" * 100_000, "is no classifier of this program: it does not hold the numbers of one."),
        (" " * 1_000_001, "it has more than 1000000 bytes"),
        ({"encoder": "resnet"}, "its encoder is 'resnet'"),
        ({"image_size_px": 10**9}, "its image_size_px is 1000000000"),
        ({"image_size_px": 128.0}, "its image_size_px is 128.0"),
        ({"evidence_scale": float("nan")}, "its numbers are not finite"),
        ({"evidence_scale": "wide"}, "is no classifier of this program: "),
        ({"unknown": 1}, "its entry 'unknown' is not known"),
        ({"finding": "tuberculosis\r=1+1"}, "its finding and encoder_sha256 must be text"),
        ({"encoder_sha256": "0" * 64}, "was fitted on the encoder of another network (SHA-256 000000000000…)"),
        ({"classifier": {"weights": [1.0], "bias": 0.0, "means": [1.0]}}, "has 1 weights, its encoder 496 numbers"),
        ({"classifier": {"weights": [[1.0]], "bias": 0.0, "means": [[1.0]]}}, "is no classifier of this program: "),
        ({"classifier": {"weights": ["x"], "bias": 0.0, "means": [1.0]}}, "is no classifier of this program: "),
    ],
)
def test_strange_classifiers_are_refused_in_two_lines(
    phantom: np.ndarray, run: Run, text: str | dict[str, object], message: str
) -> None:
    path = Path("gout.json")
    path.write_text(text if isinstance(text, str) else json.dumps(json.loads(path.read_text()) | text))
    refused = run("predict", "input=xray.png", "output=out", "tuberculosis=gout.json")
    assert refused.code == 2
    first, second = refused.err.splitlines()
    assert first.startswith("gout.json ")
    assert message in first
    assert second
    assert not Path("out/predictions.csv").exists()


def test_a_classifier_that_is_not_there_is_refused_in_two_lines(phantom: np.ndarray, run: Run) -> None:
    refused = run("predict", "input=xray.png", "output=out", "tuberculosis=runs/nothing")
    assert refused.code == 2
    assert refused.err.splitlines()[0].startswith("runs/nothing is no classifier of this program: No such file")
    assert len(refused.err.splitlines()) == 2


def test_assessing_needs_no_scikit_learn(phantom: np.ndarray) -> None:
    code = "import sys; sys.modules['sklearn'] = None; import lung_seg.second_step.assessment"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_one_lung_is_not_assessed(phantom: np.ndarray) -> None:
    prediction = Predictor().predict(phantom)
    nothing = np.zeros_like(prediction.left)
    alone = Prediction(prediction.right, nothing, 1.0, "", prediction.network_probability, "stretch")
    assert Assessor("gout.json")(phantom, alone).text == "Not assessed: two lungs were not found."


def test_without_torch_the_extra_is_named(phantom: np.ndarray, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lung_seg.second_step.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    refused = run("predict", "input=xray.png", "output=out", "tuberculosis=true")
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "tuberculosis=true needs torch, which is not installed.",
        'Install it: pip install "lung_seg[train]"',
    ]
