"""The description in a file of weights, checked before a network is built from it: the file may be a stranger's."""

import math
from collections.abc import Mapping
from typing import Any

from lung_seg.config import DataConfig, ModelConfig
from lung_seg.errors import UnusableFileError, UserError, first_line


def check_description(description: Mapping[str, Any]) -> None:
    """Check that a network of this size can be made and fed, as the configuration would.

    Raises:
        UnusableFileError: a value is out of its range, or of another type.
        LookupError, TypeError: a part is missing, or no mapping.
    """
    network, data, ranges = description["network"], description["data"], description["ranges"]
    sizes = {name: network[name] for name in ("base_channels", "depth", "max_channels")}
    size_px = data["image_size_px"]
    if any(type(size) is not int for size in (*sizes.values(), size_px)):
        raise UnusableFileError("the sizes of its network are no whole numbers")
    try:
        ModelConfig(**sizes, normalization=network["normalization"])
        DataConfig(image_size_px=size_px, resize=data["resize"])
    except UserError as error:
        raise UnusableFileError(f"its {first_line(error)}") from error
    if size_px % 2 ** sizes["depth"]:
        raise UnusableFileError(f"its data.image_size_px={size_px} cannot be halved {sizes['depth']} times")
    for name, (low, high) in ranges.items():
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UnusableFileError(f"its range of {name:.40} is {low} to {high}")
