"""A checkpoint: weights, and the plain numbers and strings that rebuild the network."""

import pickle
from pathlib import Path
from typing import Any

import torch

from lung_seg.errors import UserError
from lung_seg.model.unet import UNet

FORMAT_KEY = "lung_seg"  # where a checkpoint holds the description


DATA_KEY = "LungDataModule"  # where Lightning puts the data module's state


def describe(network: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of itself: the arguments of ``UNet``, and the settings of the data it is trained with."""
    return {"network": network, "data": data}


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

    The description holds ``network`` and ``data`` (see ``describe``) and ``seen``, the SHA-256 of each prepared
    radiograph used for training and validation. Nothing but tensors and plain values is ever unpickled.

    Raises:
        UserError: the file is no checkpoint of this project.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        description: dict[str, Any] = checkpoint[FORMAT_KEY] | checkpoint[DATA_KEY]
        network = UNet(**description["network"])
        network.load_state_dict(_network_weights(checkpoint["state_dict"]))
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} is no checkpoint of this project ({reason[:120]}).\n"
            "Give one that train.py wrote, e.g. checkpoint=runs/train/<time>/checkpoints/best.ckpt"
        ) from error
    return network.to(memory_format=torch.channels_last).eval(), description  # type: ignore[call-overload]


def _network_weights(state: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
