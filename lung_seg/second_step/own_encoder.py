"""A network of the user's whose feature maps describe a radiograph."""

import hashlib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from lung_seg.errors import UserError, first_line
from lung_seg.second_step.encoder import Encoder


class _OwnNetwork(nn.Module):
    """A network of the user's, whose output is checked."""

    def __init__(self, name: str, network: nn.Module):
        super().__init__()
        self.name = name
        self.network = network

    def forward(self, image: Tensor) -> list[Tensor]:
        try:
            output = self.network(image)
        except Exception as error:
            raise self._refusal(f"fails with an image {tuple(image.shape)}: {first_line(error)}") from error
        if isinstance(output, Mapping):
            output = list(output.values())
        levels = [output] if isinstance(output, Tensor) else output
        if not isinstance(levels, list | tuple) or not levels:
            raise self._refusal(f"returns {type(output).__name__}, not feature maps (1, channels, height, width)")
        for level in levels:
            shape = tuple(getattr(level, "shape", ()))
            if len(shape) != 4 or shape[2] != shape[3] or not 2 <= shape[2] <= image.shape[2]:
                got = f"a tensor {shape}" if shape else type(level).__name__
                raise self._refusal(f"returns {got}, not feature maps (1, channels, height, width)")
            if not level.isfinite().all():
                raise self._refusal("returns values that are not finite")
        return [level.float() for level in levels]

    def _refusal(self, reason: str) -> UserError:
        return UserError(
            f"The encoder {self.name} {reason}.\n"
            "Return a network without its pooling and classifier, such as a backbone that returns its stages."
        )


def own_encoder(name: str) -> Encoder:
    """The network that a function of the user's returns, called without arguments; its name is ``module:function``.

    The network takes images whose lungs reach from -1 to 1, with as many channels as its first convolution, and returns
    a feature map (1, C, h, h), or several in a list, tuple or mapping.

    Raises:
        UserError: there is no such function, or it fails or returns something else.
    """
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # nor is it for an installed command
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
        network = getattr(module, function_name)()
        if not isinstance(network, nn.Module):
            raise TypeError(f"it returns {type(network).__name__}, not a torch.nn.Module")
    except Exception as error:
        raise UserError(
            f"The encoder {name} cannot be made: {first_line(error)}.\n"
            "Name a function without arguments that returns a torch.nn.Module, of a module here or an installed one."
        ) from error
    channels = next((part.in_channels for part in network.modules() if isinstance(part, nn.Conv2d)), 3)
    return Encoder(name, _digest(network, module), _OwnNetwork(name, network), channels)


def _digest(network: nn.Module, module: ModuleType) -> str:
    """SHA-256 of the weights and of the module's file."""
    digest = hashlib.sha256(Path(str(module.__file__)).read_bytes())
    for name, values in network.state_dict().items():
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
