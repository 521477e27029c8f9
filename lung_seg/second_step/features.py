"""What is inside the lungs as numbers: feature maps of an encoder, averaged over the lungs.

The lungs are those that a network found. Pixels outside them are not blacked out, which would draw an edge that a
classifier reads: they are left out of the averages.
"""

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lung_seg.environment import usable_cores
from lung_seg.errors import UserError
from lung_seg.files import atomic_path, locked, sha256
from lung_seg.prediction.predictor import Prediction, Predictor
from lung_seg.prediction.quality import features as shape_features
from lung_seg.prepared.manifest import Row, read_manifest
from lung_seg.prepared.store import MANIFEST, read_case, refuse_changed
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask
from lung_seg.second_step.encoder import Encoder, FeatureMap

Vector = NDArray[np.float64]

LUNGS = "lungs"
WHOLE, OUTSIDE, SHAPE = "whole radiograph", "lungs blacked out", "shape of the lungs"
CONTROLS = (WHOLE, OUTSIDE, SHAPE)  # a sign of disease is read from the lungs only if none of these does as well
VERSION = 2  # of the features, to be raised by every change of their values

DARK_QUANTILE, BRIGHT_QUANTILE = 0.02, 0.98
DARKEST, BRIGHTEST = -3.0, 5.0  # of a normalised radiograph: its lungs reach from -1 to 1, bone lies above
INNER = 0.95  # share of lung of a cell that counts: at the border a cell shows ribs, heart and the lung's outline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """Features of the radiographs in which two lungs were found.

    Attributes:
        rows: the radiographs.
        values: (radiographs, numbers) of "lungs" and of each of the CONTROLS.
        widths: numbers of each level of the encoder, in their order; their sum is the width of all but the shape.
        without_lungs: radiographs that were left out.
    """

    rows: list[Row]
    values: dict[str, Vector]
    widths: list[int]
    without_lungs: list[str]


def normalise(image: Grey, region: Mask) -> NDArray[np.float32]:
    """The image (S, S) with the grey levels of a region from -1 to 1, so that exposure and scanner matter less."""
    dark, bright = np.quantile(image[region], (DARK_QUANTILE, BRIGHT_QUANTILE))
    scaled = 2 * (image.astype(np.float32) - dark) / max(bright - dark, 1.0) - 1
    clipped: NDArray[np.float32] = np.clip(scaled, DARKEST, BRIGHTEST).astype(np.float32)
    return clipped


def cell_numbers(size_px: int, cells: int) -> NDArray[np.int64]:
    """The cell of each row or column of the image, for a feature map of so many cells each way."""
    return np.arange(size_px) * cells // size_px


def counted_pixels(region: Mask, cells: int) -> NDArray[np.float32]:
    """How many pixels of a region (S, S) lie in each cell (cells, cells), 0 where the cell is not inside the region.

    A region too thin to fill a cell has the fullest ones.
    """
    starts = np.searchsorted(cell_numbers(len(region), cells), np.arange(cells))
    per_side = np.diff(starts, append=len(region)).astype(np.float32)
    pixels = np.add.reduceat(np.add.reduceat(region.astype(np.float32), starts, axis=0), starts, axis=1)
    share = pixels / np.outer(per_side, per_side)
    inside: NDArray[np.float32] = np.where(share >= min(INNER, share.max()), pixels, np.float32(0))
    return inside


def averages(maps: list[FeatureMap], region: Mask) -> Vector:
    """Mean over a region (S, S) of every channel of the maps, one after the other."""
    means = []
    for values in maps:
        weights = counted_pixels(region, values.shape[-1])
        means.append((values * weights).sum(axis=(1, 2), dtype=np.float64) / weights.sum())
    return np.concatenate(means)


def has_lungs(prediction: Prediction) -> bool:
    """Whether both lungs were found."""
    return bool(prediction.right.any() and prediction.left.any())


def radiograph_features(
    image: Grey, prediction: Prediction, encoder: Encoder, threads: int | None = None
) -> dict[str, Vector]:
    """Features of one radiograph (S, S): of its lungs, and of each of the CONTROLS; by so many CPU threads."""
    lungs, everything = prediction.mask, np.ones_like(prediction.mask)
    maps = encoder.maps(normalise(image, lungs), threads)
    blacked_out = np.where(lungs, np.float32(DARKEST), normalise(image, ~lungs))
    shape = shape_features(image, prediction.right, prediction.left)
    del shape["darkness"]
    return {
        LUNGS: averages(maps, lungs),
        WHOLE: averages(maps, everything),
        OUTSIDE: averages(encoder.maps(blacked_out, threads), everything),
        SHAPE: np.array(list(shape.values())),
    }


def read_features(folder: Path, encoder: Encoder, predictor: Predictor) -> Features:
    """Features of a prepared set, computed on first use and kept in a file beside the set's folder.

    The predictor is to use one thread: each core takes a radiograph of its own.

    Raises:
        UserError: the set is not prepared, its files have changed, or lungs were found in none of its radiographs.
    """
    refuse_changed(folder, all_files=False)
    parts = [encoder.digest, *(sha256(backend.path) for backend in predictor.backends), sha256(folder / MANIFEST)]
    digest = hashlib.sha256(f"{VERSION} {parts}".encode()).hexdigest()
    path = folder.with_name(f"{folder.name}-{encoder.name.replace(':', '.')}-{digest[:12]}.npz")
    with locked(path):
        if not path.is_file():
            _write(path, folder, encoder, predictor)
    with np.load(path) as file:
        stored = {name: file[name] for name in file.files}
    found = stored.pop("found")
    rows = read_manifest(folder / MANIFEST)
    return Features(
        [row for row, two_lungs in zip(rows, found, strict=True) if two_lungs],
        {name: stored[name] for name in (LUNGS, *CONTROLS)},
        stored["widths"].tolist(),
        [row.case_id for row, two_lungs in zip(rows, found, strict=True) if not two_lungs],
    )


def _write(path: Path, folder: Path, encoder: Encoder, predictor: Predictor) -> None:
    def features(row: Row) -> dict[str, Vector] | None:
        image, _ = read_case(folder, row.case_id)
        prediction = predictor.predict(image)
        return radiograph_features(image, prediction, encoder, threads=1) if has_lungs(prediction) else None

    rows = read_manifest(folder / MANIFEST)
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = list(
            tqdm(pool.map(features, rows), "Features", len(rows), unit=" radiographs", leave=False, disable=None)
        )
    radiographs = [radiograph for radiograph in found if radiograph is not None]
    if not radiographs:
        raise UserError(
            f"Two lungs were found in none of the {len(found)} radiographs of {folder}.\nLook at its preview.png."
        )
    values = {name: np.array([radiograph[name] for radiograph in radiographs]) for name in (LUNGS, *CONTROLS)}
    image, _ = read_case(folder, rows[0].case_id)
    widths = [len(level) for level in encoder.maps(np.zeros(image.shape, np.float32))]
    two_lungs = np.array([radiograph is not None for radiograph in found])
    with atomic_path(path) as temporary:
        np.savez(temporary, found=two_lungs, widths=np.array(widths), **values)  # type: ignore[arg-type]
    log.info("Wrote the features of %d radiographs to %s.", len(radiographs), path)
