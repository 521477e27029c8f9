"""Augmentation of training samples, with albumentations."""

import random
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import AugmentationConfig

Array = NDArray[Any]  # (S, S): uint8 if an image or mask, float32 if a map
Range = tuple[float, float]

HALF_OF_SAMPLES = 0.5  # p of elastic deformation, shading, blur and noise: a network must see clean images too
ELASTIC_GRID = (5, 5)  # control points of the displacement, about as far apart as a lung is wide
SHADING_GRID = (3, 3)  # control points of the exposure
SURFACE_SIZE = (40, 40)  # points of a smooth surface; cubic interpolation of every pixel is slow
OPACITY_GRID = (6, 6)  # values of density in an opacity
OPACITY_PX = 64  # height and width of an opacity map before it is enlarged; its edges are soft
TONE_CURVE_KNOTS = 8  # segments of a tone curve, of random slope


class Augment:
    """Augments an image and its mask together; the same seed gives the same result."""

    def __init__(self, params: AugmentationConfig, size_px: int):
        affine = A.Affine(
            scale=(1 - params.scale, 1 + params.scale),
            translate_percent=(-params.shift, params.shift),
            rotate=(-params.rotation_deg, params.rotation_deg),
            interpolation=cv2.INTER_LINEAR,
            p=1,
        )
        transforms = (  # geometry first, then disease, exposure, and what the detector adds
            (params.horizontal_flip, A.HorizontalFlip(p=params.horizontal_flip)),
            (params.rotation_deg or params.scale or params.shift, affine),
            (params.elastic, Elastic(params.elastic * size_px)),
            (params.opacity, Opacity(p=params.opacity)),
            (params.lucency, Lucency(p=params.lucency)),
            (params.brightness or params.contrast, A.RandomBrightnessContrast(params.brightness, params.contrast, p=1)),
            (params.gamma, A.RandomGamma((100 * (1 - params.gamma), 100 * (1 + params.gamma)), p=1)),
            (params.tone_curve, ToneCurve(p=params.tone_curve)),
            (params.shading, Shading(params.shading)),
            (params.invert, A.InvertImg(p=params.invert)),
            (params.blur_px, A.GaussianBlur(blur_limit=0, sigma_limit=(0, params.blur_px), p=HALF_OF_SAMPLES)),
            (params.noise, A.GaussNoise(std_range=(0, params.noise), p=HALF_OF_SAMPLES)),
        )
        self.transforms = [transform for param, transform in transforms if param]

    def __call__(self, image: Array, mask: Array, seed: tuple[int, ...]) -> tuple[Array, Array]:
        """Augment one sample, (S, S) uint8 each; the mask keeps its values."""
        sample = {"image": image, "mask": mask}
        generator = np.random.default_rng(seed)
        python_random = random.Random(int(generator.integers(2**63)))  # noqa: S311 - no secret
        for transform in self.transforms:
            # All draw from the same two streams. A.Compose gives each transform the same seed, which correlates them.
            transform.set_random_state(generator, python_random)
            sample = transform(**sample)
        return sample["image"], sample["mask"]


def _smooth_surface(control_points: Array) -> Array:
    """A smooth surface through a few values from -1 to 1, (40, 40)."""
    return cv2.resize(control_points, SURFACE_SIZE, interpolation=cv2.INTER_CUBIC).clip(-1, 1)


class Elastic(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Displaces each point smoothly, by at most ``displacement_px`` along each axis.

    The displacement is drawn on a coarse grid and enlarged, which takes a tenth of the time of albumentations' own.
    """

    def __init__(self, displacement_px: float):
        super().__init__(p=HALF_OF_SAMPLES)
        self.displacement_px = displacement_px

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Source coordinates of each pixel. For masks albumentations replaces the interpolation by nearest."""
        height_px, width_px = params["shape"][:2]
        control_points = self.random_generator.uniform(-1, 1, (2, *ELASTIC_GRID)).astype(np.float32)
        surfaces = (self.displacement_px * _smooth_surface(axis) for axis in control_points)
        dx, dy = (cv2.resize(surface, (width_px, height_px)) for surface in surfaces)
        columns, rows = np.arange(width_px, dtype=np.float32), np.arange(height_px, dtype=np.float32)
        return {"map_x": columns + dx, "map_y": rows[:, None] + dy, "interpolation": cv2.INTER_LINEAR}

    def apply(self, img: Array, map_x: Array, map_y: Array, interpolation: int, **_: Any) -> Array:
        """Fetch each pixel from its source; outside is black."""
        return cv2.remap(img, map_x, map_y, interpolation)


class Opacity(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Brightens patches of a radiograph up to the level of its soft tissue, as pneumonia and fluid do.

    The mask stays unchanged: an opaque lung is lung.
    """

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The opacity map, 0 to 1."""
        rows, half_heights, half_widths = (0.15, 0.85), (0.05, 0.3), (0.05, 0.3)
        return {"opacity": _patches(self.random_generator, params["shape"], rows, half_heights, half_widths)}

    def apply(self, img: Array, opacity: Array, **_: Any) -> Array:
        """Brighten what is darker than soft tissue."""
        soft_tissue = np.quantile(img[::4, ::4], 0.85)
        brightened: Array = img + opacity * np.maximum(soft_tissue - img.astype(np.float32), 0)
        return brightened.astype(np.uint8)


class Lucency(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Darkens patches of a radiograph's lower half to about the level of the lungs, as gas below the diaphragm does.

    The mask stays unchanged: on flat or dark films a network must not take what is dark for lung.
    """

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The map of the patches, 0 to 1, and the grey level that they are darkened to, as a quantile."""
        rng = self.random_generator
        rows, half_heights, half_widths = (0.55, 1.05), (0.05, 0.35), (0.05, 0.6)
        patches = _patches(rng, params["shape"], rows, half_heights, half_widths)
        return {"patches": patches, "quantile": rng.uniform(0.1, 0.5)}

    def apply(self, img: Array, patches: Array, quantile: float, **_: Any) -> Array:
        """Darken what is brighter."""
        level = np.quantile(img[::4, ::4], quantile)
        darkened: Array = img - patches * np.maximum(img.astype(np.float32) - level, 0)
        return darkened.astype(np.uint8)


def _patches(
    rng: np.random.Generator, shape: tuple[int, ...], rows: Range, half_heights: Range, half_widths: Range
) -> Array:
    """A map (H, W) of densities from 0 to 1: one to three uneven ellipses with soft edges.

    Their centres' rows and their half axes are drawn from the ranges, as fractions of the image.
    """
    patches = np.zeros((OPACITY_PX, OPACITY_PX), np.float32)
    axis = (np.arange(OPACITY_PX, dtype=np.float32) + 0.5) / OPACITY_PX
    for _ in range(rng.integers(1, 4)):
        row, column = rng.uniform(*rows), rng.uniform(0.15, 0.85)
        half_height, half_width = rng.uniform(*half_heights), rng.uniform(*half_widths)
        along_rows, along_columns = ((axis - row) / half_height) ** 2, ((axis - column) / half_width) ** 2
        density = cv2.resize(rng.uniform(0.5, 1, OPACITY_GRID).astype(np.float32), patches.shape)
        shape_of_one = np.exp(-((along_rows[:, None] + along_columns) ** 2))
        patches = np.maximum(patches, rng.uniform(0.4, 1) * density * shape_of_one)
    return cv2.resize(patches.astype(np.float32), (shape[1], shape[0]))


class ToneCurve(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Applies a random monotonic tone curve, as scanners and their software differ in theirs.

    Trained on one hospital, a network finds the lungs of another better with this and ``Shading`` than with
    albumentations' own curve and illumination (docs/experiments.md).
    """

    def get_params(self) -> dict[str, Any]:
        """The lookup table of the 256 values."""
        rng = self.random_generator
        levels = np.concatenate([[0], rng.gamma(1.5, size=TONE_CURVE_KNOTS).cumsum()])
        darkest, brightest = rng.uniform(0, 0.2), rng.uniform(0.8, 1)
        curve = darkest + (brightest - darkest) * levels / levels[-1]
        table = np.interp(np.linspace(0, TONE_CURVE_KNOTS, 256), np.arange(TONE_CURVE_KNOTS + 1), 255 * curve)
        return {"table": table.astype(np.uint8)}

    def apply(self, img: Array, table: Array, **_: Any) -> Array:
        """Look up each pixel."""
        return cv2.LUT(img, table)


class Shading(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Exposes a radiograph unevenly: brighter or darker by a smooth factor of at most 1 + ``unevenness``."""

    def __init__(self, unevenness: float):
        super().__init__(p=HALF_OF_SAMPLES)
        self.unevenness = unevenness

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The factor of each pixel."""
        height_px, width_px = params["shape"][:2]
        exponents = self.random_generator.uniform(-1, 1, SHADING_GRID).astype(np.float32)
        factor = (1 + self.unevenness) ** _smooth_surface(exponents)
        return {"factor": cv2.resize(factor, (width_px, height_px))}

    def apply(self, img: Array, factor: Array, **_: Any) -> Array:
        """Multiply; values above white become white."""
        return cv2.multiply(img, factor, dtype=cv2.CV_8U)
