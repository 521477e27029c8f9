"""Checkpoints: Lightning's .ckpt, from which a training resumes, and .safetensors, which is shipped.

Only tensors and plain values are ever unpickled. The description in both is a dictionary of plain values:

    network      arguments of ``UNet``
    data         settings of the data that it was trained on
    seed         of the training
    seen_before  identities of the radiographs that the network it started from had seen
    recipe       all settings that the weights follow from, by their keys

``load_network`` adds to the description of a checkpoint, and an exported file holds

    cases        SHA-256 of the prepared radiograph and mask of each case, by split
    seen         identities (``manifest.Row.identities``) of the radiographs seen in "training", now or before, and in
                 "validation"; None if an earlier version wrote the file, which kept none
    ranges       range of each feature of their lungs (``quality.features``)
"""

import json
import pickle
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lung_seg.config import SPLITS
from lung_seg.environment import as_command
from lung_seg.errors import UnusableFileError, UserError
from lung_seg.model import DESCRIPTION_KEY
from lung_seg.model.description import check_description
from lung_seg.model.unet import UNet

Seen = dict[str, list[str]]  # identities of radiographs in "training" and in "validation"

BEST = Path("checkpoints") / "best.ckpt"  # in a run directory
EXPORTED = "lungs.safetensors"  # in the folder of an export
MAX_EXPANSION = 4  # of a .ckpt, which torch writes without compression
NO_TRAINING = "is no whole checkpoint of a training.\nStart a new one."
DATA_KEY = "LungDataModule"  # where Lightning puts the data module's state
# What reading another or a damaged file raises, in torch.load and in the look-ups that follow.
READ_ERRORS = (
    pickle.UnpicklingError, SafetensorError, RuntimeError, LookupError, TypeError, ValueError, AttributeError,
    EOFError, OSError, zipfile.BadZipFile,
)  # fmt: skip


def find_checkpoint(path: Path, key: str = "checkpoint") -> Path:
    """The checkpoint file itself, the best one of a run directory, or the .safetensors file of an export's folder.

    Args:
        path: what was given.
        key: the setting that it was given for.

    Raises:
        UserError: there is none.
    """
    path = path.parent / path.readlink() if path.is_symlink() and path.is_dir() else path  # runs/train/latest
    for candidate in (path, path / BEST, path / EXPORTED):
        if candidate.is_file():
            return candidate
    found = (best for best in path.glob(f"*/{BEST}") if not best.parents[1].is_symlink())
    trainings = sorted(found, key=lambda best: best.stat().st_mtime)
    if trainings:
        example = shlex.quote(f"{key}={trainings[-1].parent.parent}")
        raise UserError(
            f"{key}={path} is a folder of {len(trainings)} trainings.\nGive one, e.g. the latest: {example}"
        )
    if (path / BEST.with_name("last.ckpt")).is_file():
        resume = as_command("train", f"resume={path}")
        raise UserError(f"{key}={path} is a training that has not finished an epoch.\nResume it: {resume}")
    for onnx in path.glob("*.onnx"):
        file = shlex.quote(f"checkpoint={onnx}")
        raise UserError(f"{key}={path} holds no PyTorch weights.\npredict.py takes the file: {file}")
    missing = "is a folder without a checkpoint" if path.is_dir() else "does not exist"
    raise UserError(f"{key}={path} {missing}.\nGive a checkpoint or a run directory; python train.py makes one.")


def load_network(path: Path) -> tuple[UNet, dict[str, Any]]:
    """The network of a checkpoint, ready to predict, and the checkpoint's description.

    Raises:
        UserError: the file is no checkpoint of this project.
    """
    try:
        weights, description = _read(path)
        arguments = dict(description["network"])
        arguments.pop("dropout", None)  # of earlier versions; acts in training only
        upsampling = arguments.pop("upsampling", "transposed")  # of earlier versions
        if upsampling != "transposed":
            raise UserError(
                f"{path} was trained with model.upsampling={upsampling}, which is no longer supported.\n"
                "Train the network again, or predict with the version of lung_seg that trained it."
            )
        check_description(description | {"network": arguments})
        with torch.device("meta"):  # without memory: the file may ask for more than its weights
            network = UNet(**arguments)
        network.load_state_dict({name: _as_float32(weight) for name, weight in weights.items()}, assign=True)
    except READ_ERRORS as error:
        known = isinstance(error, UnusableFileError)
        reason = str(error) if known else "it does not hold the plain values and weights of one"
        raise UserError(
            f"{path} is no whole checkpoint of this project: {reason}.\n"
            "Give one that train.py wrote, e.g. checkpoint=runs/train/<time>/checkpoints/best.ckpt"
        ) from error
    network = network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return network, description | {"network": arguments}


def load_training(path: Path) -> tuple[int, dict[str, Any]]:
    """Optimizer steps that led to a training's checkpoint, and the checkpoint's description."""
    try:
        checkpoint = _load(path)
        return int(checkpoint["global_step"]), dict(checkpoint[DESCRIPTION_KEY])
    except READ_ERRORS as error:
        raise UserError(f"{path} {NO_TRAINING}") from error


def write_safetensors(network: UNet, description: dict[str, Any], path: Path, half: bool) -> None:
    """Write weights and description as ``load_network`` reads them.

    With ``half`` the kernels, nearly all of the weights, are written in half precision. Values per channel stay
    float32: a running variance may be too small for half precision.
    """
    kernel_type = torch.float16 if half else torch.float32
    weights = {
        name: (weight.to(kernel_type) if weight.dim() > 1 else weight).contiguous()
        for name, weight in network.state_dict().items()
    }
    # save_file would make the file readable by its owner only.
    path.write_bytes(save(weights, {DESCRIPTION_KEY: json.dumps(description)}))


def start_from(path: Path, arguments: dict[str, Any]) -> tuple[UNet, list[str] | None, dict[str, tuple[float, float]]]:
    """A network to train further, what it has seen, and the ranges of the features of the lungs it was trained on.

    What it has seen are identities of radiographs, None if they are not known.

    Raises:
        UserError: there is no such network, or it differs from the requested arguments of ``UNet``.
    """
    network, description = load_network(find_checkpoint(path, "init"))
    saved = description["network"]
    differing = [f"model.{name}={saved.get(name)}" for name in sorted(arguments) if arguments[name] != saved.get(name)]
    if differing:
        remedy = f"To start from it add: {' '.join(differing)}"
        raise UserError(f"init={path} is a network of another shape than model.\n{remedy}")
    seen = description["seen"]
    ranges = {name: (low, high) for name, (low, high) in description["ranges"].items()}
    return network.train(), seen and sorted({*seen["training"], *seen["validation"]}), ranges


def _as_float32(weight: torch.Tensor) -> torch.Tensor:
    return weight.float() if weight.is_floating_point() else weight


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights by name, and the description."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            description = json.loads(file.metadata()[DESCRIPTION_KEY])
            seen = description.get("seen")
            return weights, description | {"seen": seen if isinstance(seen, dict) else None}
    checkpoint = _load(path)
    state, data, description = checkpoint["state_dict"], checkpoint[DATA_KEY], checkpoint[DESCRIPTION_KEY]
    weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
    before, identities = description.get("seen_before", []), data.get("identities")
    seen = None
    if before is not None and identities is not None:
        seen = {"training": sorted({*identities["train"], *before}), "validation": identities["validation"]}
    cases = {split: data[split] for split in SPLITS}
    return weights, description | {"cases": cases, "seen": seen, "ranges": data["ranges"]}


def _load(path: Path) -> dict[str, Any]:
    """The content of a .ckpt; UnusableFileError if it asks for much more memory than the file is large.

    The file may be compressed, a tensor may show one stored number many times, and a list may hold another many times.
    """
    most = MAX_EXPANSION * path.stat().st_size
    with zipfile.ZipFile(path) as file:
        if sum(entry.file_size for entry in file.infolist()) > most:
            raise UnusableFileError(f"it unpacks to over {MAX_EXPANSION} times its size")
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    tensor_bytes = 0
    for count, value in enumerate(_nested(checkpoint)):
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_meta or value.is_complex():
                raise UnusableFileError("it holds a tensor that is no plain array of numbers")
            tensor_bytes += value.nbytes
        if max(count, tensor_bytes) > most:
            raise UnusableFileError("its values are many more than are stored in it")
    return checkpoint


def _nested(value: Any) -> Iterator[Any]:
    """A value, and what nested dictionaries, lists and tuples in it hold."""
    yield value
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _nested(part)
