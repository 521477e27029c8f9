"""How training radiographs are varied, on albumentations."""

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import AugmentationConfig

Pixels = NDArray[np.uint8]

SOMETIMES = 0.5  # share of the samples that noise, blur and elastic deformation touch: clean films must stay known


class Augment:
    """Varies a radiograph and its mask together, alike for the same seed.

    Args:
        knobs: the range of each variation.
        size_px: height and width of the samples.
    """

    def __init__(self, knobs: AugmentationConfig, size_px: int):
        self.compose = A.Compose(_transforms(knobs, size_px))

    def __call__(self, image: Pixels, mask: Pixels, seed: tuple[int, ...]) -> tuple[Pixels, Pixels]:
        """Vary one sample, (S, S) uint8 each; the mask's values stay what they were."""
        self.compose.set_random_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        varied = self.compose(image=np.asarray(image), mask=np.asarray(mask))
        return varied["image"], varied["mask"]


def _transforms(knobs: AugmentationConfig, size_px: int) -> list[A.BasicTransform]:
    """Geometry first, then exposure, then what the detector adds; a knob at 0 leaves its transform out."""
    transforms = {
        A.HorizontalFlip(p=knobs.horizontal_flip): knobs.horizontal_flip,
        _affine(knobs): knobs.rotation_deg or knobs.scale or knobs.shift,
        _elastic(knobs.elastic * size_px): knobs.elastic,
        A.RandomBrightnessContrast(knobs.brightness, knobs.contrast, p=1): knobs.brightness or knobs.contrast,
        A.RandomGamma((100 * (1 - knobs.gamma), 100 * (1 + knobs.gamma)), p=1): knobs.gamma,
        A.InvertImg(p=knobs.invert): knobs.invert,
        A.GaussianBlur(blur_limit=0, sigma_limit=(0, knobs.blur_px), p=SOMETIMES): knobs.blur_px,
        A.GaussNoise(std_range=(0, knobs.noise), p=SOMETIMES): knobs.noise,
    }
    return [transform for transform, knob in transforms.items() if knob]


def _affine(knobs: AugmentationConfig) -> A.Affine:
    return A.Affine(
        scale=(1 - knobs.scale, 1 + knobs.scale),
        translate_percent=(-knobs.shift, knobs.shift),
        rotate=(-knobs.rotation_deg, knobs.rotation_deg),
        interpolation=cv2.INTER_LINEAR,
        p=1,
    )


def _elastic(displacement_px: float) -> A.GridElasticDeform:
    """Displaces the knots of a coarse grid: a hundredth of the time of a dense Gaussian field."""
    return A.GridElasticDeform(num_grid_xy=(5, 5), magnitude=max(1, round(displacement_px)), p=SOMETIMES)
