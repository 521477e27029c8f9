"""A checkpoint: weights, and the plain numbers and strings that rebuild the network."""

import pickle
from pathlib import Path
from typing import Any

import torch

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
)
FORMAT_KEY = "lung_seg"  # where a checkpoint holds the description


DATA_KEY = "LungDataModule"  # where Lightning puts the data module's state


def describe(network: dict[str, Any], data: dict[str, Any], seed: int) -> dict[str, Any]:
    """What a checkpoint says of itself: arguments of ``UNet``, settings of its data, seed of its training."""
    return {"network": network, "data": data, "seed": seed}


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

    The description is that of ``describe``, and ``seen``: the SHA-256 of each prepared radiograph used for training or
    validation. Nothing but tensors and plain values is ever unpickled.

    Raises:
        UserError: the file is no checkpoint of this project.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        splits = checkpoint[DATA_KEY]
        description: dict[str, Any] = checkpoint[FORMAT_KEY] | {"seen": {*splits["train"], *splits["validation"]}}
        network = UNet(**description["network"])
        network.load_state_dict(_network_weights(checkpoint["state_dict"]))
    except NOT_OURS as error:
        raise UserError(
            f"{path} is no whole checkpoint of this project: it does not hold the plain values and weights of one.\n"
            "Give one that train.py wrote, e.g. checkpoint=runs/train/<time>/checkpoints/best.ckpt"
        ) from error
    return network.to(memory_format=torch.channels_last).eval(), description  # type: ignore[call-overload]


def _network_weights(state: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
