"""A checkpoint: weights, and the plain numbers and strings that rebuild the network.

Two files hold one: Lightning's .ckpt, which a training goes on from, and .safetensors, which is shipped.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lung_seg.errors import UserError
from lung_seg.model.unet import UNet

NOT_OURS = (  # what torch.load and the look-ups after it make of other and of broken files
    pickle.UnpicklingError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    EOFError,
    OSError,
    SafetensorError,
)
FORMAT_KEY = "lung_seg"  # where a checkpoint holds the description
DATA_KEY = "LungDataModule"  # where Lightning puts the data module's state

Content = tuple[dict[str, torch.Tensor], dict[str, Any]]  # weights by name, description


def describe(network: dict[str, Any], data: dict[str, Any], seed: int, seen_before: list[str]) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Args:
        network: arguments of ``UNet``.
        data: settings of the data it was trained on.
        seed: of the training.
        seen_before: SHA-256 of the prepared radiographs that the network it started from had seen.
    """
    return {"network": network, "data": data, "seed": seed, "seen_before": seen_before}


def find_checkpoint(path: Path) -> Path:
    """The checkpoint file itself, or the best one of a run directory.

    Raises:
        UserError: there is none.
    """
    best = path / "checkpoints" / "best.ckpt"
    if path.is_file() or best.is_file():
        return path if path.is_file() else best
    raise UserError(
        f"checkpoint={path} is neither a checkpoint nor a run directory with one.\nTrain first: python train.py"
    )


def load_network(path: Path) -> tuple[UNet, dict[str, Any]]:
    """The network of a checkpoint, ready to predict, and the checkpoint's description.

    The description is that of ``describe``, with ``seen``: the SHA-256 of each prepared radiograph used for training
    or validation, and ``ranges``: between which values their lungs' features lie (``quality.features``). Nothing but
    tensors and plain values is ever unpickled.

    Raises:
        UserError: the file is no checkpoint of this project.
    """
    try:
        weights, description = _read_safetensors(path) if path.suffix == ".safetensors" else _read_lightning(path)
        description["network"] = _network_arguments(description["network"])
        network = UNet(**description["network"])
        network.load_state_dict(weights)
    except NOT_OURS as error:
        raise UserError(
            f"{path} is no whole checkpoint of this project: it does not hold the plain values and weights of one.\n"
            "Give one that train.py wrote, e.g. checkpoint=runs/train/<time>/checkpoints/best.ckpt"
        ) from error
    return network.to(memory_format=torch.channels_last).eval(), description  # type: ignore[call-overload]


def steps_done(path: Path) -> int:
    """How many optimizer steps led to a training's checkpoint.

    Raises:
        UserError: the file is no checkpoint of a training.
    """
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except NOT_OURS as error:
        raise UserError(f"{path} is no whole checkpoint of a training.\nStart a new one.") from error


def write_safetensors(network: UNet, description: dict[str, Any], path: Path, half: bool) -> None:
    """Write weights and description as ``load_network`` reads them.

    Args:
        network: whose weights to write.
        description: plain values, see ``load_network``.
        path: ends in .safetensors.
        half: kernels, nearly all of the weights, in half precision. Numbers per channel stay whole: a running variance
            may be smaller than half precision can tell from 0.
    """
    kernel_type = torch.float16 if half else torch.float32
    weights = {
        name: (weight.to(kernel_type) if weight.dim() > 1 else weight).contiguous()
        for name, weight in network.state_dict().items()
    }
    path.write_bytes(save(weights, {FORMAT_KEY: json.dumps(description)}))  # save_file hides it from other users


def start_from(path: Path, shape: dict[str, Any]) -> tuple[UNet, list[str]]:
    """A network to train further, and the SHA-256 of the prepared radiographs it has seen.

    Args:
        path: a checkpoint, a run directory or a .safetensors file.
        shape: the arguments of ``UNet`` that the settings ask for.

    Raises:
        UserError: there is no such network, or it is of another shape.
    """
    network, description = load_network(find_checkpoint(path))
    theirs = description["network"]
    differing = sorted(name for name in shape if shape[name] != theirs.get(name))
    if differing:
        wanted = " ".join(f"model.{name}={theirs.get(name)}" for name in differing)
        raise UserError(f"init={path} is a network of another shape than model.\nTo start from it add: {wanted}")
    return network.train(), description["seen"]


def _network_arguments(saved: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``UNet``; those that only earlier versions knew are dropped where they changed nothing."""
    arguments = dict(saved)
    arguments.pop("dropout", None)  # acts in training only
    if arguments.pop("upsampling", "transposed") != "transposed":
        raise ValueError("bilinear upsampling was removed in version 0.2")
    return arguments


def _read_lightning(path: Path) -> Content:
    """Weights and description of a training's checkpoint."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    state, data = checkpoint["state_dict"], checkpoint[DATA_KEY]
    weights = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    description = checkpoint[FORMAT_KEY]
    seen = sorted({*data["train"], *data["validation"], *description.get("seen_before", [])})
    return weights, description | {"seen": seen, "ranges": data["ranges"]}


def _read_safetensors(path: Path) -> Content:
    """Weights and description of what ``write_safetensors`` wrote; half precision becomes single."""
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        description: dict[str, Any] = json.loads(file.metadata()[FORMAT_KEY])
    return weights, description
