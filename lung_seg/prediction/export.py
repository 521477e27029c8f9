"""Export a network to other runtimes; each file is checked against PyTorch before it is moved into place."""

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from lung_seg import __version__
from lung_seg.environment import git_revision
from lung_seg.errors import FailureError, UserError
from lung_seg.files import atomic_path, write_text
from lung_seg.model import DESCRIPTION_KEY
from lung_seg.model.checkpoint import find_checkpoint, load_network, write_safetensors
from lung_seg.model.metrics import overlap_counts, overlap_scores, predict_mask
from lung_seg.model.unet import UNet
from lung_seg.prediction.backends import OnnxBackend
from lung_seg.raw.phantom.draw_phantom import draw_phantom
from lung_seg.templates import template

FILES = {"onnx": "lungs.onnx", "torch_export": "lungs.pt2", "safetensors": "lungs.safetensors"}
CARD = "MODEL_CARD.md"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ONNX_OPSET = 18  # written by torch without conversion; read by onnxruntime since 1.14 (2023)

# Largest difference of a pixel's probability from PyTorch's. In float32 the order of summation differs: with the
# shipped weights ONNX differs by 1.3e-5 at the size of training, and by 2.4e-4 at one pixel of a phantom twice as wide
# as high. Half precision rounds kernels to three digits (3.9e-2). A wrong export differs by far more.
TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-2

Network = Callable[[Tensor], Tensor]  # logits of images, (N, 1, H, W) each
Description = dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """A written file and its differences from PyTorch over some phantoms."""

    path: Path
    difference: float  # the largest of a pixel's probability of lung
    dice: float  # the smallest between the two masks of a phantom


def export(checkpoint: Path, folder: Path, formats: Sequence[str], half: bool) -> list[Exported]:
    """Write a network in formats of ``FILES`` with a model card: either all files appear, or none does.

    With ``half`` safetensors are written in half precision, half as large.

    Raises:
        UserError: the checkpoint does not exist, or a package that writes a format is not installed.
        FailureError: the output of a file differs from PyTorch's.
    """
    path = find_checkpoint(checkpoint)
    network, description = load_network(path)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # the layout of weights in files
    description |= {"usage": _usage(description), "run": description.get("run") or _run_summary(path)}
    with ExitStack() as checked:  # temporary files are moved into place when it closes
        exported = []
        for name in formats:
            target = folder / FILES[name]
            temporary = checked.enter_context(atomic_path(target))
            _write(name, network, description, half, temporary)
            difference, dice = _compare(network, _open(temporary), description)
            tolerance = HALF_TOLERANCE if half and name == "safetensors" else TOLERANCE
            if not difference <= tolerance:  # also true for NaN
                raise FailureError(
                    f"{target}: a probability of lung differs by {difference:.2g} from PyTorch's, more than "
                    f"{tolerance:g}.\nNothing was written. Try half=false, or the package versions of "
                    "requirements-dev.txt."
                )
            exported.append(Exported(target, difference, dice))
        write_text(folder / CARD, _model_card(description, exported))
    return exported


def _usage(description: Description) -> dict[str, str]:
    """Inputs and outputs, for users who open a file without this package."""
    data = description["data"]
    return {
        "image": f"uint8 (N, 1, H, W), grey, air dark and bone bright; H and W are multiples of {_step(description)}",
        "size": f"in training {data['image_size_px']} x {data['image_size_px']} pixels, reached by {data['resize']}",
        "standardisation": "inside the network: each image to mean 0 and standard deviation 1",
        "logits": "float32 (N, 1, H, W); lung where they are at least 0",
    }


def _run_summary(checkpoint: Path) -> dict[str, Any] | None:
    """The summary.json of the checkpoint's run, if it describes this checkpoint."""
    summary = checkpoint.parent.parent / "summary.json"
    if not summary.is_file():
        return None
    run: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return run if Path(run["checkpoint"]).name == checkpoint.name else None


def _step(description: Description) -> int:
    """The sides of an image must be multiples of it."""
    return int(2 ** description["network"]["depth"])


def _write(name: str, network: UNet, description: Description, half: bool, path: Path) -> None:
    match name:
        case "onnx":
            _write_onnx(network, description, path)
        case "torch_export":
            files = {DESCRIPTION_KEY: json.dumps(description)}
            torch.export.save(_trace(network, _step(description)), path, extra_files=files)
        case "safetensors":
            write_safetensors(network, description, path, half)


def _trace(network: UNet, step: int) -> ExportedProgram:
    """The network's graph for any batch size and image sides that are multiples of ``step``."""
    example = torch.zeros((2, 1, 2 * step, 3 * step), dtype=torch.uint8)  # torch specialises sizes of 1
    sizes = {0: Dim("batch"), 2: step * Dim("rows"), 3: step * Dim("columns")}
    program = torch.export.export(network, (example,), dynamic_shapes={"image": sizes})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # holds paths of this machine
    return program


def _write_onnx(network: UNet, description: Description, path: Path) -> None:
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f'format=onnx needs {missing[0]}, which is not installed.\nRun: pip install "lung_seg[onnx]"')
    # They log every optimisation, and warn that torchvision is missing, which is not used.
    for name in ("onnxscript", "onnx_ir", "torch.onnx._internal.exporter._registration"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)")  # from torch's own code
        onnx = torch.onnx.export(
            _trace(network, _step(description)),
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: "batch", 2: "height", 3: "width"}},  # names in the file
            opset_version=ONNX_OPSET,
            verbose=False,
        )
    assert onnx is not None  # as always with dynamo=True
    onnx.model.metadata_props[DESCRIPTION_KEY] = json.dumps(description)
    onnx.save(path, external_data=False)


def _open(path: Path) -> Network:
    """Open a written file with its own runtime."""
    match path.suffix:
        case ".onnx":
            backend = OnnxBackend(path)
            return lambda images: torch.from_numpy(backend(images[:, 0].numpy()))[:, None]
        case ".pt2":
            return torch.export.load(path).module()
        case _:
            return load_network(path)[0]


def _compare(network: Network, exported: Network, description: Description) -> tuple[float, float]:
    """Largest difference of a probability (NaN if one is NaN) and smallest Dice of two masks, over some phantoms."""
    side_px = description["data"]["image_size_px"]
    unlike_training = (1, side_px + _step(description), 2 * side_px)
    differences, dices = [], []
    for count, height_px, width_px in ((1, side_px, side_px), (3, side_px, side_px), unlike_training):
        drawn = [draw_phantom(seed, height_px, width_px).image for seed in range(count)]
        images = torch.from_numpy(np.stack(drawn))[:, None]
        with torch.inference_mode():
            expected, actual = network(images), exported(images)
        differences.append((expected.sigmoid() - actual.sigmoid()).abs().max())
        dices.append(overlap_scores(overlap_counts(actual, predict_mask(expected)))["dice"].min())
    return float(torch.stack(differences).max()), float(torch.stack(dices).min())


def _model_card(description: Description, exported: Sequence[Exported]) -> str:
    """Data, training, scores, versions and limits in the format of the Hugging Face Hub: YAML and Markdown."""
    run = description["run"]
    scores = {"all": run["scores"]["all"], **run["scores"]["source"], **run["scores"]["tb_label"]} if run else {}
    # Each radiograph has its file's hash among its identities; names of public sets contain a slash.
    hashes = {name for use in (description["seen"] or {}).values() for name in use if "/" not in name}
    facts = {"count_seen": len(hashes), "package_version": __version__, "git_revision": git_revision()}
    return template(Path(__file__).parent / "model_card.md.j2").render(
        description, files=exported, scores=scores, **facts
    )
