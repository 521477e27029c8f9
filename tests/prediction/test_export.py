"""Exported files match the checkpoint, describe themselves, and are not written if they differ from PyTorch."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from safetensors import safe_open

from lung_seg import Predictor
from lung_seg.config import FORMATS
from lung_seg.model.checkpoint import load_network, write_safetensors
from lung_seg.model.unet import UNet
from lung_seg.prediction.export import CARD, FILES, export
from lung_seg.raw.phantom.draw_phantom import draw_phantom
from tests.cli.test_wrong_input import assert_refused
from tests.conftest import Run

SIZES = ((1, 32, 32), (4, 40, 36), (2, 64, 32))  # images, height, width; the network halves them twice


@pytest.fixture(scope="session")
def exported(_trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that export.py writes, by the command of docs/exporting.md; not to be changed."""
    place = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "argv", ["export.py", f"checkpoint={_trained_once / 'runs/first'}", "format=all"])
        importlib.import_module("export").main()
    (folder,) = (place / "runs/export").iterdir()
    return folder


@pytest.fixture
def network(_trained_once: Path) -> UNet:
    return load_network(_trained_once / "runs/first/checkpoints/best.ckpt")[0]


def phantoms(count: int, height_px: int, width_px: int) -> torch.Tensor:
    drawn = [draw_phantom(100 + seed, height_px, width_px).image for seed in range(count)]
    return torch.from_numpy(np.stack(drawn))[:, None]


def described(folder: Path, name: str) -> dict[str, object]:
    """The description in a file, read without this package."""
    path = folder / FILES[name]
    match name:
        case "onnx":
            text = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["lung_seg"]
        case "torch_export":
            files = {"lung_seg": ""}
            torch.export.load(path, extra_files=files)
            text = files["lung_seg"]
        case _:
            with safe_open(path, framework="np") as file:
                text = file.metadata()["lung_seg"]
    return dict(json.loads(text))


def test_every_format_is_written_and_nothing_else(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {*FILES.values(), CARD}
    assert tuple(FILES) == FORMATS


@pytest.mark.parametrize("size", SIZES)
def test_the_onnx_file_matches_the_checkpoint(exported: Path, network: UNet, size: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(exported / "lungs.onnx")
    images = phantoms(*size)
    (logits,) = session.run(["logits"], {"image": images.numpy()})
    assert logits.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(logits), network(images).detach(), atol=1e-4, rtol=0)


def test_the_torch_export_matches_the_checkpoint(exported: Path, network: UNet) -> None:
    program = torch.export.load(exported / "lungs.pt2").module()
    for size in SIZES:
        images = phantoms(*size)
        torch.testing.assert_close(program(images), network(images), atol=1e-4, rtol=0)


def test_the_onnx_file_names_its_input_and_takes_any_batch_and_size(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "lungs.onnx")
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["batch", 1, "height", "width"])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 1, "height", "width"])


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_describes_its_use_and_its_origin(exported: Path, trained: Path, name: str) -> None:
    description = described(exported, name)
    data, usage = description["data"], description["usage"]
    assert isinstance(data, dict)
    assert isinstance(usage, dict)
    assert (data["image_size_px"], data["resize"]) == (32, "stretch")
    assert "multiples of 4" in usage["image"]
    assert "inside the network" in usage["standardisation"]
    assert description["run"] == json.loads((trained / "runs/first/summary.json").read_text())
    seen = description["seen"]
    assert isinstance(seen, dict)
    names = {split: {name for name in seen[split] if name.startswith("montgomery/")} for split in seen}
    assert {split: len(names[split]) for split in seen} == {"training": 12, "validation": 3}


def test_no_file_names_a_folder_of_the_machine_that_wrote_it(exported: Path) -> None:
    here = str(Path(__file__).parents[2]).encode()
    assert not [path.name for path in exported.iterdir() if here in path.read_bytes()]


def test_safetensors_hold_kernels_in_half_precision_and_are_scored_as_the_checkpoint(
    exported: Path, trained: Path, run: Run
) -> None:
    with safe_open(exported / "lungs.safetensors", framework="pt") as file:
        assert file.get_tensor("head.weight").dtype == torch.float16
        assert file.get_tensor("encoders.0.1.running_var").dtype == torch.float32
    outcome = run("evaluate", f"checkpoint={exported / 'lungs.safetensors'}", "trainer=cpu", "hydra.run.dir=runs/half")
    assert outcome.code == 0, outcome.err
    half, whole = (json.loads((trained / f"runs/{name}/summary.json").read_text()) for name in ("half", "first"))
    assert half["scores"]["all"]["dice"]["mean"] == pytest.approx(whole["scores"]["all"]["dice"]["mean"], abs=1e-3)


def test_whole_precision_keeps_every_bit(trained: Path, run: Run) -> None:
    outcome = run("export", "checkpoint=runs/first", "format=safetensors", "half=false", "output=out")
    assert outcome.code == 0, outcome.err
    assert "out/lungs.safetensors (0.05 MB): probability at most " in outcome.out
    assert "Dice of the masks at least 1.00000" in outcome.out
    ours, theirs = (load_network(Path(path)) for path in ("runs/first/checkpoints/best.ckpt", "out/lungs.safetensors"))
    assert all(torch.equal(weight, theirs[0].state_dict()[name]) for name, weight in ours[0].state_dict().items())
    assert json.loads(json.dumps(ours[1])).items() <= theirs[1].items()


def test_the_predictor_needs_no_torch_and_sends_no_telemetry(exported: Path, trained: Path) -> None:
    radiograph = trained / "raw/MontgomerySet/CXR_png/MCUCXR_0003_0.png"
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from lung_seg import Predictor\n"
        f"lungs = Predictor({str(exported / 'lungs.onnx')!r}).predict({str(radiograph)!r})\n"
        "np.savez('lungs.npz', right=lungs.right, left=lungs.left)"
    )
    home = trained / "home"
    home.mkdir()
    alone = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
    alone["HOME"] = str(home)
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=alone)
    assert finished.returncode == 0, finished.stderr
    assert not list(home.rglob("*onnxruntime*"))
    without_torch, with_torch = np.load("lungs.npz"), Predictor("runs/first", precision="32-true").predict(radiograph)
    assert with_torch.mask.any()
    np.testing.assert_array_equal(without_torch["right"], with_torch.right)
    np.testing.assert_array_equal(without_torch["left"], with_torch.left)


def test_the_model_card_has_data_training_and_scores_and_keeps_them(exported: Path, trained: Path, run: Run) -> None:
    summary = json.loads((trained / "runs/first/summary.json").read_text())
    again = run("export", f"checkpoint={exported / 'lungs.safetensors'}", "format=safetensors", "output=again")
    assert again.code == 0, again.err
    for card in ((exported / CARD).read_text(), Path("again", CARD).read_text()):
        front = yaml.safe_load(card.split("---")[1])
        assert (front["license"], front["pipeline_tag"]) == ("mit", "image-segmentation")
        assert "Not a medical device" in card
        assert f"`{summary['command']}`" in card
        assert summary["data"]["manifest_sha256"] in card
        assert f"torch {torch.__version__}" in card
        dice = summary["scores"]["all"]["dice"]
        assert f"| all | 5 | {dice['mean']:.4f} ({dice['low']:.4f}–{dice['high']:.4f}) |" in card
        assert "| tuberculosis | " in card


def test_scores_of_another_checkpoint_are_not_claimed(trained: Path, run: Run) -> None:
    last = "checkpoint=runs/first/checkpoints/last.ckpt"
    assert run("export", last, "format=safetensors", "output=out").code == 0
    card = Path("out", CARD).read_text()
    assert "None came with the checkpoint" in card
    assert "Cases seen in training and validation: 15" in card


@pytest.mark.parametrize(("normalization", "name"), [("instance", "torch_export"), ("group", "onnx")])
def test_other_kinds_of_network_can_be_exported(trained: Path, normalization: str, name: str) -> None:
    _, description = load_network(Path("runs/first/checkpoints/best.ckpt"))
    description["network"] |= {"base_channels": 8, "normalization": normalization}
    write_safetensors(UNet(**description["network"]), description, Path("other.safetensors"), half=False)
    assert len(export(Path("other.safetensors"), Path("out"), [name], half=True)) == 1


def test_a_file_that_differs_from_pytorch_is_not_written(trained: Path, run: Run) -> None:
    path = Path("runs/first/checkpoints/best.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["network.encoders.0.0.weight"] *= 1e7  # more than half precision can hold
    torch.save(checkpoint, path)
    outcome = run("export", "checkpoint=runs/first", "format=safetensors", "output=out")
    assert outcome.code == 1
    assert len(outcome.err.strip().splitlines()) == 2
    assert "out/lungs.safetensors: a probability of lung differs by nan from PyTorch's, more than 0.05" in outcome.err
    assert "half=false" in outcome.err
    assert not list(Path("out").iterdir())
    assert run("export", "checkpoint=runs/first", "format=safetensors", "half=false", "output=out").code == 0


def test_wrong_input_is_refused_and_leaves_nothing(trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("text.ckpt").write_text("not a checkpoint")
    Path("file").write_text("where a folder should be")
    best, quick = "checkpoint=runs/first", "format=safetensors"
    assert_refused(run("export", best, "format=tflite", "output=out"), "format=tflite", "onnx | torch_export")
    assert_refused(run("export", best, quick, "half=perhaps", "output=out"), "half", "perhaps")
    assert_refused(run("export", "checkpoint=text.ckpt", quick, "output=out"), "text.ckpt is no whole checkpoint")
    assert_refused(run("export", "checkpoint=nowhere", quick, "output=out"), "checkpoint=nowhere")
    assert_refused(run("export", best, quick, "output=file"), "file: ", "another folder")
    assert_refused(run("export", best, quick, "output=file/inside"), "file/inside: ")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for wanted in ("onnx", "all"):
        outcome = run("export", best, f"format={wanted}", "output=out")
        assert_refused(outcome, "format=onnx needs onnxscript", 'pip install "lung_seg[onnx]"')
    assert not list(Path("out").iterdir())
    assert Path("file").read_text() == "where a folder should be"
