"""A network in the formats of other runtimes, each file held against PyTorch before it appears."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from lung_seg.errors import FailureError, UserError
from lung_seg.files import atomic_path, write_text
from lung_seg.model.checkpoint import find_checkpoint, load_network, write_safetensors
from lung_seg.model.metrics import overlap_counts, overlap_scores, predict_mask
from lung_seg.model.unet import UNet
from lung_seg.prediction.backends import DESCRIPTION_KEY, OnnxBackend
from lung_seg.prediction.model_card import model_card
from lung_seg.raw.phantom.draw_phantom import draw_phantom

FILES = {"onnx": "lungs.onnx", "torch_export": "lungs.pt2", "safetensors": "lungs.safetensors"}
CARD = "MODEL_CARD.md"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ONNX_OPSET = 18  # the one that torch writes without converting it; onnxruntime reads it since 1.14, of 2023

# How far a pixel's probability of lung may be from PyTorch's. In float32 runtimes sum the same in another order:
# with the weights that ship ONNX is 1.3e-5 off at the size of training, and 2.4e-4 at one pixel of a phantom twice as
# wide as high. Half precision rounds kernels to three digits (3.9e-2). What does something else is off by far more.
TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-2

Images = Tensor  # (N, 1, H, W) uint8
Network = Callable[[Images], Tensor]
Description = dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """A written file, and how far what it does is from PyTorch, over some phantoms.

    Attributes:
        path: of the file.
        difference: the largest, of a pixel's probability of lung.
        dice: the smallest, between the two masks of a phantom.
    """

    path: Path
    difference: float
    dice: float


def export(checkpoint: Path, folder: Path, formats: Sequence[str], half: bool) -> list[Exported]:
    """Write a network in some formats, with a model card beside them: all files appear, or none does.

    Args:
        checkpoint: a checkpoint file, or the run directory it lies in.
        folder: where to write.
        formats: keys of ``FILES``.
        half: safetensors in half precision, half as large.

    Raises:
        UserError: there is no such checkpoint, or a package that writes a format is not installed.
        FailureError: a file does not do what PyTorch does.
    """
    path = find_checkpoint(checkpoint)
    network, description = load_network(path)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # as files hold weights
    description |= {"usage": _usage(description), "run": description.get("run") or _run_of(path)}
    if "onnx" in formats:
        _require_onnx()
    with ExitStack() as until_all_are_checked:
        exported = []
        for name in formats:
            target = folder / FILES[name]
            temporary = until_all_are_checked.enter_context(atomic_path(target))
            _write(name, network, description, half, temporary)
            exported.append(Exported(target, *_parity(network, _open(temporary), description)))
            _check(exported[-1], HALF_TOLERANCE if half and name == "safetensors" else TOLERANCE)
        write_text(folder / CARD, model_card(description, exported))
    return exported


def _usage(description: Description) -> dict[str, str]:
    """What goes in and what comes out, for those who open a file without this project."""
    data = description["data"]
    return {
        "image": f"uint8 (N, 1, H, W), grey, air dark and bone bright; H and W are multiples of {_step(description)}",
        "size": f"in training {data['image_size_px']} x {data['image_size_px']} pixels, reached by {data['resize']}",
        "standardisation": "inside the network: each image to mean 0 and standard deviation 1",
        "logits": "float32 (N, 1, H, W); lung where they are at least 0",
    }


def _run_of(checkpoint: Path) -> dict[str, Any] | None:
    """The summary.json of the training that a checkpoint lies with, if that is the checkpoint it speaks of."""
    summary = checkpoint.parent.parent / "summary.json"
    if not summary.is_file():
        return None
    run: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return run if Path(run["checkpoint"]).name == checkpoint.name else None


def _step(description: Description) -> int:
    """What the sides of an image must be multiples of."""
    return int(2 ** description["network"]["depth"])


def _require_onnx() -> None:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f'format=onnx needs {missing[0]}, which is not installed.\nInstall it: pip install -e ".[onnx]"'
        )


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
    """The network's computation, for any number of images with sides that are multiples of ``step``."""
    example = torch.zeros((2, 1, 2 * step, 3 * step), dtype=torch.uint8)  # a 1 would be taken for a constant
    sizes = {0: Dim("batch"), 2: step * Dim("rows"), 3: step * Dim("columns")}
    program = torch.export.export(network, (example,), dynamic_shapes={"image": sizes})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def _write_onnx(network: UNet, description: Description, path: Path) -> None:
    program = _trace(network, _step(description))
    with _hushed():
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: "batch", 2: "height", 3: "width"}},  # what the file calls them
            opset_version=ONNX_OPSET,
            verbose=False,
        )
    assert onnx is not None  # it is without dynamo
    onnx.model.metadata_props[DESCRIPTION_KEY] = json.dumps(description)
    onnx.save(path, external_data=False)


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep off the screen what the ONNX exporter says and no user of this project can act on."""
    for name, level in (
        ("onnxscript", logging.WARNING),  # every step of its optimiser
        ("onnx_ir", logging.WARNING),
        ("torch.onnx._internal.exporter._registration", logging.ERROR),  # lacks torchvision, whose layers are not used
    ):
        logging.getLogger(name).setLevel(level)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)")  # torch calls an old function of torch
        yield


def _open(path: Path) -> Network:
    """What a written file does, run by the runtime it is for."""
    match path.suffix:
        case ".onnx":
            runtime = OnnxBackend(path)
            return lambda images: torch.from_numpy(runtime(images[:, 0].numpy()))[:, None]
        case ".pt2":
            return torch.export.load(path).module()
        case _:
            return load_network(path)[0]


def _parity(network: Network, exported: Network, description: Description) -> tuple[float, float]:
    """Over some phantoms: largest difference of a probability (NaN if one is none), smallest Dice of two masks."""
    differences, dices = [], []
    for images in _phantoms(description["data"]["image_size_px"], _step(description)):
        with torch.inference_mode():
            ours, theirs = network(images), exported(images)
        differences.append((ours.sigmoid() - theirs.sigmoid()).abs().max())
        dices.append(overlap_scores(overlap_counts(theirs, predict_mask(ours)))["dice"].min())
    return float(torch.stack(differences).max()), float(torch.stack(dices).min())


def _phantoms(size_px: int, step: int) -> Iterator[Images]:
    """One image and three of the size of training, and one of another height and width."""
    for count, height_px, width_px in ((1, size_px, size_px), (3, size_px, size_px), (1, size_px + step, 2 * size_px)):
        drawn = [draw_phantom(seed, height_px, width_px).image for seed in range(count)]
        yield torch.from_numpy(np.stack(drawn))[:, None]


def _check(exported: Exported, tolerance: float) -> None:
    """Raise an FailureError where a file is further from PyTorch than its format excuses."""
    if not exported.difference <= tolerance:  # NaN is not
        raise FailureError(
            f"{exported.path}: a probability of lung is {exported.difference:.2g} off PyTorch's, more than "
            f"{tolerance:g}.\nNothing was written. Try half=false, or the package versions of requirements-dev.txt."
        )
