"""The description in a file of weights, checked before a network is built from it: the file may be a stranger's."""

import math
from collections.abc import Mapping
from typing import Any

from lung_seg.config import DataConfig, ModelConfig
from lung_seg.errors import UserError


def check_description(description: Mapping[str, Any]) -> None:
    """Check that a network of this size can be made and fed, as the configuration would.

    Raises:
        ValueError: a value is out of its range, or of another type.
        LookupError, TypeError: a part is missing, or no mapping.
    """
    network, data, ranges = description["network"], description["data"], description["ranges"]
    sizes = {name: network[name] for name in ("base_channels", "depth", "max_channels")}
    size_px = data["image_size_px"]
    if any(type(size) is not int for size in (*sizes.values(), size_px)):
        raise ValueError(f"sizes must be whole numbers: {sizes}, image_size_px={size_px}")
    try:
        ModelConfig(**sizes, normalization=network["normalization"])
        DataConfig(image_size_px=size_px, resize=data["resize"])
    except UserError as error:
        raise ValueError(str(error)) from error
    if size_px % 2 ** sizes["depth"]:
        raise ValueError(f"image_size_px={size_px} cannot be halved {sizes['depth']} times")
    for name, (low, high) in ranges.items():
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"range of {name}: {low} to {high}")
