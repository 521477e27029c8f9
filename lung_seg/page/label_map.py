"""Label maps: a byte per pixel, 0 background, 1 right lung (the patient's), 2 left lung."""

import io
import math
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lung_seg.errors import UserError
from lung_seg.files import atomic_path
from lung_seg.prediction.measurements import Box
from lung_seg.prediction.postprocess import LEFT, RIGHT, nearest_lung_map
from lung_seg.prediction.predictor import mirror
from lung_seg.raw.image_file import Grey, Spacing, open_image
from lung_seg.raw.masks import Mask
from lung_seg.raw.resize import to_network_input, to_original_size

LabelMap = NDArray[np.uint8]

DELETE = "Delete the file to have it made again."
SIDES_AT_PX = 512  # which lung a pixel belongs to is decided at this size
# Orange and blue. Their brightest channels are equal, so that a reader of masks without labels sees one value.
PALETTE = (0, 0, 0, 255, 146, 43, 45, 180, 255)


def to_labels(right: Mask, left: Mask) -> LabelMap:
    """The label map of two lungs (H, W) that do not overlap."""
    return right.view(np.uint8) * np.uint8(RIGHT) + left.view(np.uint8) * np.uint8(LEFT)


def label_lungs(mask: Mask, mirrored: bool) -> LabelMap:
    """The label map of a mask of both lungs (H, W): each pixel belongs to the nearest lung."""
    height_px, width_px = mask.shape
    upright = mirror(mask) if mirrored else mask
    small = to_network_input(upright.view(np.uint8) * np.uint8(255), SIDES_AT_PX, "stretch") >= 128
    sides = to_original_size(nearest_lung_map(small), height_px, width_px, "stretch", cv2.INTER_NEAREST)
    labels: LabelMap = (mirror(sides) if mirrored else sides) * mask
    return labels


def decode_labels(content: bytes, compressed: bool, height_px: int, width_px: int) -> LabelMap:
    """A label map (height_px, width_px) from its bytes, row by row, of which no more are unpacked than it needs.

    Raises:
        UserError: the bytes are of another size, or not of labels.
    """
    size = height_px * width_px
    if compressed:
        try:
            content = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(content, size + 1)
        except zlib.error as error:
            raise UserError("The mask is no gzip stream.\nSend a byte per pixel, compressed by gzip.") from error
    if len(content) != size:
        got = f"more than {size}" if len(content) > size else str(len(content))
        raise UserError(
            f"The mask has {got} bytes; a radiograph of {width_px} x {height_px} px needs {size}.\n"
            "Send a byte per pixel, row by row."
        )
    labels = np.frombuffer(content, np.uint8).reshape(height_px, width_px)
    if labels.max(initial=0) > LEFT:
        raise UserError(
            f"The mask holds the value {labels.max()}.\nIts values are 0, 1 (right lung) and 2 (left lung)."
        )
    return labels


def write_labels(path: Path, labels: LabelMap) -> None:
    """Write a PNG whose palette indices are the labels, atomically."""
    picture = Image.fromarray(labels, "P")
    picture.putpalette(PALETTE)
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=1)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())


def read_labels(path: Path, shape_px: tuple[int, ...]) -> LabelMap:
    """Read what ``write_labels`` wrote of a radiograph (H, W); somebody else may have written the file.

    Raises:
        UserError: it is no label map of that size.
    """
    labels = read_channel(path, shape_px)
    if labels.max(initial=0) > LEFT:
        raise UserError(f"{path} holds the value {labels.max()}, which is neither lung.\n{DELETE}")
    return labels


def read_channel(path: Path, shape_px: tuple[int, ...]) -> Grey:
    """The only channel of a PNG that belongs to a radiograph (H, W).

    Raises:
        UserError: it cannot be read, has another size or several channels.
    """
    pixels = np.array(open_image(path, math.ceil(math.prod(shape_px) / 1e6)))
    if pixels.shape != shape_px:
        raise UserError(f"{path} is no mask of {shape_px[1]} x {shape_px[0]} px, the size of its radiograph.\n{DELETE}")
    return pixels.astype(np.uint8, copy=False)


def run_lengths(labels: LabelMap) -> list[int]:
    """A label map, row by row, as value, length, value, length …"""
    flat = labels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    lengths = np.diff(np.append(starts, flat.size))
    return np.stack([flat[starts].astype(np.int64), lengths], axis=1).ravel().tolist()


def measure_lungs(labels: LabelMap, spacing_mm: Spacing | None) -> dict[str, Any]:
    """Area and box of each lung, as JSON."""
    measured = {}
    for name, label in (("right", RIGHT), ("left", LEFT)):
        lung = (labels == label).view(np.uint8)
        area_px = int(np.count_nonzero(lung))
        measured[name] = {
            "area_px": area_px,
            "area_mm2": round(area_px * spacing_mm[0] * spacing_mm[1], 1) if spacing_mm else None,
            "box": Box(*cv2.boundingRect(lung))._asdict() if area_px else None,
        }
    return measured
