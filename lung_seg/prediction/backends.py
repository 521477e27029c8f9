"""What runs a network: PyTorch for checkpoints and safetensors, onnxruntime for ONNX files, PyTorch there or not."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lung_seg.errors import UserError

Batch = NDArray[np.uint8]
Logits = NDArray[np.float32]

DESCRIPTION_KEY = "lung_seg"  # where a file of weights holds the description, as JSON


class InferenceBackend(Protocol):
    """A network ready to run.

    Attributes:
        description: what the file says of itself, see ``model.checkpoint.load_network``.
        best_batch_size: how many radiographs to run at once.
    """

    description: dict[str, Any]
    best_batch_size: int

    def __call__(self, images: Batch) -> Logits:
        """Logits (N, S, S) of radiographs (N, S, S)."""


def open_backend(
    path: Path, device: str = "auto", threads: int | None = None, precision: str = "auto"
) -> InferenceBackend:
    """The runtime that a file of weights is for, by its suffix.

    Args:
        path: a checkpoint, a run directory, a .safetensors or an .onnx file.
        device: "cpu", "cuda", "mps", or "auto" for the fastest there is; onnxruntime chooses by itself.
        threads: cores of the CPU that one call uses; None: as many as the process gives to PyTorch, and all to ONNX.
        precision: of PyTorch: "32-true", "bf16-mixed", or "auto" for the faster of them on this hardware.

    Raises:
        UserError: the file is not there or of another kind, or what runs it is not installed.
    """
    return OnnxBackend(path, threads) if path.suffix == ".onnx" else TorchBackend(path, device, threads, precision)


class TorchBackend:
    """A network in PyTorch."""

    def __init__(self, path: Path, device: str = "auto", threads: int | None = None, precision: str = "auto"):
        import torch  # takes seconds, and whoever predicts by ONNX may not have it

        from lung_seg.model.checkpoint import find_checkpoint, load_network
        from lung_seg.model.precision import choose_precision

        self.threads, self.threads_outside = threads, torch.get_num_threads()
        network, self.description = load_network(find_checkpoint(path))
        self.device = _choose(torch, device)
        self.precision = choose_precision(precision, self.device)
        self.best_batch_size = 1 if self.device == "cpu" else 8  # a GPU is idle with one; a CPU gains nothing by more
        self.network = network.to(self.device)

    def __call__(self, images: Batch) -> Logits:
        """Logits (N, S, S) of radiographs (N, S, S)."""
        import torch

        from lung_seg.model.precision import autocast

        with (
            torch.inference_mode(),
            _threads(torch, self.threads, self.threads_outside),
            autocast(self.device, self.precision),
        ):
            batch = torch.from_numpy(images[:, None]).to(self.device)
            logits: Logits = self.network(batch)[:, 0].float().cpu().numpy()
        return logits


class OnnxBackend:
    """A network in onnxruntime."""

    best_batch_size = 1

    def __init__(self, path: Path, threads: int | None = None):
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # since 1.29 it tells Microsoft of each network it opens
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f'{path} needs onnxruntime.\nInstall it: pip install -e ".[onnx]"') from error
        if not path.is_file():
            raise UserError(f"checkpoint={path} is not there.\nMake it: python export.py format=onnx")
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads or 0
            self.session = onnxruntime.InferenceSession(path, options, onnxruntime.get_available_providers())
            metadata = self.session.get_modelmeta().custom_metadata_map
            self.description: dict[str, Any] = json.loads(metadata[DESCRIPTION_KEY])
        except Exception as error:  # onnxruntime's own errors have no common class but this
            raise UserError(
                f"{path} is no network of this project that onnxruntime can open.\n"
                "Make one: python export.py format=onnx"
            ) from error

    def __call__(self, images: Batch) -> Logits:
        """Logits (N, S, S) of radiographs (N, S, S)."""
        (logits,) = self.session.run(None, {"image": images[:, None]})
        found: Logits = logits[:, 0]
        return found


@contextmanager
def _threads(torch: Any, inside: int | None, outside: int) -> Iterator[None]:
    """Have PyTorch use so many threads meanwhile, where a number is given.

    What was outside is told, not asked for, because it holds for the whole process: in the midst of another call it
    would be that call's. A training that followed would have it, and one in a forked process would wait forever.
    """
    if not inside:
        yield
        return
    torch.set_num_threads(inside)
    try:
        yield
    finally:
        torch.set_num_threads(outside)


def _choose(torch: Any, device: str) -> str:
    """A device that is there.

    Raises:
        UserError: the one asked for is not.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise UserError(f"device={device} is not on this machine.\nUse device=auto, which takes what there is.")
    return device
