"""How training radiographs are varied, on albumentations."""

import random
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import AugmentationConfig

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

HALF_OF_SAMPLES = (
    0.5  # share of the samples that noise, blur and elastic deformation touch: clean films must stay known
)
ELASTIC_GRID = (5, 5)  # as far apart as a lung is wide
CURVE_SIZE = (40, 40)  # enough points between the knots to look smooth; cubic interpolation of all pixels is dear
OPACITY_GRID = (6, 6)  # patches of density in an opacity
OPACITY_PX = 64  # along each axis of an opacity: enough, its edges are soft
TONE_CURVE_KNOTS = 8  # stretches of a tone curve, each steeper or flatter by chance
SHADING_GRID = (3, 3)  # parts of a film that are exposed more or less


class Augment:
    """Varies a radiograph and its mask together, alike for the same seed.

    Args:
        knobs: the range of each variation.
        size_px: height and width of the samples.
    """

    def __init__(self, params: AugmentationConfig, size_px: int):
        self.transforms = _transforms(params, size_px)

    def __call__(self, image: Pixels, mask: Pixels, seed: tuple[int, ...]) -> tuple[Pixels, Pixels]:
        """Vary one sample, (S, S) uint8 each; the mask's values stay what they were."""
        sample = {"image": np.asarray(image), "mask": np.asarray(mask)}
        generator = np.random.default_rng(seed)
        python_random = random.Random(int(generator.integers(2**63)))  # noqa: S311 - no secret
        for transform in self.transforms:
            # All draw from the same two streams; A.Compose seeds all alike: each flip as dark as the last.
            transform.set_random_state(generator, python_random)
            sample = transform(**sample)
        return sample["image"], sample["mask"]


def _transforms(params: AugmentationConfig, size_px: int) -> list[A.BasicTransform]:
    """Geometry first, then disease, exposure, and what the detector adds; a knob at 0 leaves its transform out."""
    transforms = (
        (params.horizontal_flip, A.HorizontalFlip(p=params.horizontal_flip)),
        (params.rotation_deg or params.scale or params.shift, _affine(params)),
        (params.elastic, Elastic(params.elastic * size_px)),
        (params.opacity, Opacity(p=params.opacity)),
        (params.brightness or params.contrast, A.RandomBrightnessContrast(params.brightness, params.contrast, p=1)),
        (params.gamma, A.RandomGamma((100 * (1 - params.gamma), 100 * (1 + params.gamma)), p=1)),
        (params.tone_curve, ToneCurve(p=params.tone_curve)),
        (params.shading, Shading(params.shading)),
        (params.invert, A.InvertImg(p=params.invert)),
        (params.blur_px, A.GaussianBlur(blur_limit=0, sigma_limit=(0, params.blur_px), p=HALF_OF_SAMPLES)),
        (params.noise, A.GaussNoise(std_range=(0, params.noise), p=HALF_OF_SAMPLES)),
    )
    return [transform for knob, transform in transforms if knob]


def _affine(params: AugmentationConfig) -> A.Affine:
    return A.Affine(
        scale=(1 - params.scale, 1 + params.scale),
        translate_percent=(-params.shift, params.shift),
        rotate=(-params.rotation_deg, params.rotation_deg),
        interpolation=cv2.INTER_LINEAR,
        p=1,
    )


def _smooth(knots: Map) -> Map:
    """A curved surface through few values from -1 to 1, on CURVE_SIZE points."""
    return cv2.resize(knots, CURVE_SIZE, interpolation=cv2.INTER_CUBIC).clip(-1, 1).astype(np.float32, copy=False)


class Elastic(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Displaces each point smoothly, by at most ``displacement_px`` along each axis.

    The displacement is drawn on a coarse grid and enlarged, which takes a tenth of the time of albumentations' own.
    """

    def __init__(self, displacement_px: float):
        super().__init__(p=HALF_OF_SAMPLES)
        self.displacement_px = displacement_px

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Where each pixel comes from; for masks albumentations replaces the interpolation by the nearest pixel."""
        height_px, width_px = params["shape"][:2]
        knots = self.random_generator.uniform(-1, 1, (2, *ELASTIC_GRID)).astype(np.float32)
        dx, dy = (cv2.resize(self.displacement_px * _smooth(axis), (width_px, height_px)) for axis in knots)
        columns, rows = np.arange(width_px, dtype=np.float32), np.arange(height_px, dtype=np.float32)
        return {"map_x": columns + dx, "map_y": rows[:, None] + dy, "interpolation": cv2.INTER_LINEAR}

    def apply(self, img: Pixels, map_x: Map, map_y: Map, interpolation: int, **_: Any) -> Pixels:
        """Fetch each pixel from where it comes from; outside is black."""
        return cv2.remap(img, map_x, map_y, interpolation).astype(np.uint8, copy=False)


class Opacity(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Veils patches of a radiograph up to the brightness of its soft tissue, as pneumonia and fluid do.

    The mask stays as it was: a lung that cannot be seen through is lung.
    """

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """How dense the veil is at each pixel: one to three cloudy ellipses with soft edges."""
        height_px, width_px = params["shape"][:2]
        rng = self.random_generator
        opacity = np.zeros((OPACITY_PX, OPACITY_PX), np.float32)
        along = (np.arange(OPACITY_PX, dtype=np.float32) + 0.5) / OPACITY_PX
        for _ in range(rng.integers(1, 4)):
            row, column = rng.uniform(0.15, 0.85, 2)
            half_height, half_width = rng.uniform(0.05, 0.3, 2)
            rows, columns = ((along - row) / half_height) ** 2, ((along - column) / half_width) ** 2
            clouds = cv2.resize(rng.uniform(0.5, 1, OPACITY_GRID).astype(np.float32), opacity.shape)
            opacity = np.maximum(opacity, rng.uniform(0.4, 1) * clouds * np.exp(-((rows[:, None] + columns) ** 2)))
        return {"veil": cv2.resize(opacity.astype(np.float32), (width_px, height_px))}

    def apply(self, img: Pixels, opacity: Map, **_: Any) -> Pixels:
        """Raise what is darker than soft tissue; what is brighter stays."""
        soft_tissue = np.quantile(img[::4, ::4], 0.85)
        return (img + opacity * np.maximum(soft_tissue - img.astype(np.float32), 0)).astype(np.uint8)


class ToneCurve(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Shows each brightness as another, brighter ones still as brighter: what scanners and their software differ in.

    Trained on one hospital, a network finds the lungs of another better so, together with ``Shading``, than with
    albumentations' own curve and illumination (docs/scores.md).
    """

    def get_params(self) -> dict[str, Any]:
        """What each of the 256 values becomes."""
        rng = self.random_generator
        reached = np.concatenate([[0], rng.gamma(1.5, size=TONE_CURVE_KNOTS).cumsum()])
        darkest, brightest = rng.uniform(0, 0.2), rng.uniform(0.8, 1)
        curve = darkest + (brightest - darkest) * reached / reached[-1]
        values = np.interp(np.linspace(0, TONE_CURVE_KNOTS, 256), np.arange(TONE_CURVE_KNOTS + 1), 255 * curve)
        return {"values": values.astype(np.uint8)}

    def apply(self, img: Pixels, values: Pixels, **_: Any) -> Pixels:
        """Look each pixel up."""
        return cv2.LUT(img, values).astype(np.uint8, copy=False)


class Shading(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Exposes a film unevenly: parts of it come out brighter or darker by a factor of at most 1 + ``unevenness``."""

    def __init__(self, unevenness: float):
        super().__init__(p=HALF_OF_SAMPLES)
        self.unevenness = unevenness

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The factor at each pixel, drawn on a coarse grid and enlarged."""
        height_px, width_px = params["shape"][:2]
        exponents = self.random_generator.uniform(-1, 1, SHADING_GRID).astype(np.float32)
        return {"factor": cv2.resize((1 + self.unevenness) ** _smooth(exponents), (width_px, height_px))}

    def apply(self, img: Pixels, factor: Map, **_: Any) -> Pixels:
        """Multiply; what would be brighter than white is white."""
        return cv2.multiply(img, factor, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
