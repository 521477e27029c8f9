"""Inference backends: PyTorch for checkpoints and safetensors, onnxruntime for ONNX files. Either may be missing.

Each holds the ``path`` of its file, the ``description`` of its network (see ``model.checkpoint.load_network``) and its
``precision``.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lung_seg.errors import UnusableFileError, UserError
from lung_seg.model import DESCRIPTION_KEY
from lung_seg.model.description import check_description
from lung_seg.prediction.onnx_graph import check_graph

Batch = NDArray[np.uint8]
Logits = NDArray[np.float32]

# Of onnxruntime, by device.
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}


class TorchBackend:
    """Inference with PyTorch."""

    def __init__(self, path: Path, device: str, threads: int | None, precision: str):
        try:
            import torch  # optional, and takes seconds to import

            from lung_seg.model.checkpoint import find_checkpoint, load_network
            from lung_seg.model.precision import choose_precision
        except ModuleNotFoundError as error:
            raise UserError(
                f"checkpoint={path} needs {error.name}, which is not installed.\n"
                'Run: pip install "lung_seg[train]", or export it with PyTorch elsewhere: python export.py format=onnx'
            ) from error

        self.threads, self.default_threads = threads, torch.get_num_threads()
        self.path = find_checkpoint(path)
        network, self.description = load_network(self.path)
        self.device = _available_device(torch, device)
        self.precision = choose_precision(precision, self.device)
        # Larger batches keep a GPU busy and gain nothing on a CPU.
        self.best_batch_size = 1 if self.device == "cpu" else 8
        self.network = network.to(self.device)

    def __call__(self, batch: Batch) -> Logits:
        """Logits (N, S, S) of network inputs (N, S, S)."""
        import torch

        from lung_seg.model.precision import autocast
        from lung_seg.model.threads import limit_threads

        threads = limit_threads(self.threads, self.default_threads)
        with threads, torch.inference_mode(), autocast(self.device, self.precision):
            images = torch.from_numpy(batch[:, None]).to(self.device)
            logits: Logits = self.network(images)[:, 0].float().cpu().numpy()
        return logits


class OnnxBackend:
    """Inference with onnxruntime."""

    best_batch_size = 1
    precision = "32-true"

    def __init__(self, path: Path, device: str = "auto", threads: int | None = None):
        self.path = path
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # since 1.29 it reports each opened network to Microsoft
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise UserError(
                f'checkpoint={path} needs onnxruntime, which is not installed.\nRun: pip install "lung_seg[onnx]"'
            ) from error
        available = onnxruntime.get_available_providers()
        if device != "auto" and PROVIDERS[device] not in available:
            raise _unavailable(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            check_graph(path)
            providers = available if device == "auto" else [PROVIDERS[device]]
            self.session = onnxruntime.InferenceSession(path, options, providers)
            metadata = self.session.get_modelmeta().custom_metadata_map
            self.description: dict[str, Any] = json.loads(metadata[DESCRIPTION_KEY])
            check_description(self.description)
        except UnusableFileError as error:
            raise UserError(
                f"checkpoint={path} is not used: {error}.\n"
                "Export it again from its checkpoint: python export.py format=onnx"
            ) from error
        except Exception as error:  # the errors of onnxruntime have no narrower common class
            raise UserError(
                f"checkpoint={path} does not exist or is not an ONNX file of this project.\n"
                "Create it: python export.py format=onnx"
            ) from error

    def __call__(self, batch: Batch) -> Logits:
        """Logits (N, S, S) of network inputs (N, S, S).

        Raises:
            UserError: the graph computes something else, or cannot be run.
        """
        images = batch[:, None]
        try:
            logits: Logits = self.session.run(None, {"image": images})[0]
            if logits.shape != images.shape:
                raise ValueError(f"logits of shape {logits.shape}")
        except Exception as error:  # the errors of onnxruntime have no narrower common class
            raise UserError(
                f"checkpoint={self.path} computes no mask of {batch.shape[1]} px: it is damaged, or memory is full.\n"
                "Export it again from its checkpoint: python export.py format=onnx"
            ) from error
        return logits[:, 0]


def open_backend(path: Path, device: str, threads: int | None, precision: str) -> TorchBackend | OnnxBackend:
    """Open a checkpoint with the backend for its suffix; for the arguments see ``Predictor``.

    Raises:
        UserError: the file is missing or cannot be used, or its backend is not installed.
    """
    if device not in ("auto", *PROVIDERS):
        raise UserError(f"device={device} must be one of {' | '.join(('auto', *PROVIDERS))}.")
    if path.suffix.lower() == ".onnx":
        return OnnxBackend(path, device, threads)
    return TorchBackend(path, device, threads, precision)


def _available_device(torch: Any, device: str) -> str:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[device]:
        raise _unavailable(device)
    return device


def _unavailable(device: str) -> UserError:
    return UserError(f"device={device} is not available on this machine.\nUse device=auto.")
