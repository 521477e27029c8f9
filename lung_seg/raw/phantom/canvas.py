"""Body coordinates of phantoms, curves in them, and their rasterisation.

Body coordinates are independent of the image size: x is 0 on the midline and about 1 at the widest reach of a lung,
negative on the patient's right (the image's left); y is 0 at the apices of the lungs and 1 at the costophrenic angles.
An outline is a float array (N, 2) of such points; several of the same length are (K, N, 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

RIGHT, LEFT = -1, 1  # sign of x in body coordinates
SIDES = (RIGHT, LEFT)

_POWERS = np.linspace(0, 1, 6, endpoint=False)[:, None] ** np.arange(4)
_CATMULL_ROM = _POWERS @ (0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]))
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


@dataclass(frozen=True)
class Canvas:
    """Size of the image and position of the body in it."""

    height_px: int
    width_px: int
    to_frame: np.ndarray  # (2, 3) affine map from body coordinates to fractions of the frame

    def fill(self, *outlines: np.ndarray) -> np.ndarray:
        """Share of each pixel that the outlines cover, (H, W) float32 in 0..1."""
        cover = np.zeros((self.height_px, self.width_px), np.uint8)
        for outline in outlines:
            frame = outline @ self.to_frame[:, :2].T + self.to_frame[:, 2]
            sixteenths = np.rint((frame * (self.width_px, self.height_px) - 0.5) * 16).astype(np.int32)
            for polygon in sixteenths.reshape(-1, *outline.shape[-2:]):
                cv2.fillPoly(cover, [polygon], 255, cv2.LINE_AA, 4)
        return np.multiply(cover, 1 / 255, dtype=np.float32)

    def blur(self, picture: np.ndarray, radius: float) -> np.ndarray:
        """Gaussian blur; `radius` is its standard deviation as a fraction of the frame."""
        sigma_px = radius * (self.height_px * self.width_px) ** 0.5
        if sigma_px < 0.3:
            return picture
        # A wide blur is done on a reduced picture: it looks the same and is faster.
        step = max(1, int(sigma_px / 1.2))
        kernel_px = 2 * int(2.5 * sigma_px / step + 0.5) + 1
        if step == 1:
            return cv2.GaussianBlur(picture, (kernel_px, kernel_px), sigma_px)
        small_px = (max(2, self.width_px // step), max(2, self.height_px // step))
        small = cv2.resize(picture, small_px, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (kernel_px, kernel_px), sigma_px / step)
        return cv2.resize(small, (self.width_px, self.height_px), interpolation=cv2.INTER_LINEAR)

    def clouds(self, rng: np.random.Generator, cells: int) -> np.ndarray:
        """Smooth noise in about -2..2 with `cells` bumps along each side, the same at any size."""
        bumps = rng.standard_normal((cells, cells)).astype(np.float32)
        return cv2.resize(bumps, (self.width_px, self.height_px), interpolation=cv2.INTER_CUBIC)


def smooth_curve(points: Sequence[tuple[float, float]] | np.ndarray) -> np.ndarray:
    """Catmull-Rom spline through the points (..., N, 2), from the first to the last."""
    inner = np.asarray(points, dtype=np.float64)
    first, last = inner[..., :1, :], inner[..., -1:, :]
    knots = np.concatenate([2 * first - inner[..., 1:2, :], inner, 2 * last - inner[..., -2:-1, :]], axis=-2)
    windows = np.stack([knots[..., i : knots.shape[-2] - 3 + i, :] for i in range(4)], axis=-2)
    curve = (_CATMULL_ROM @ windows).reshape(*inner.shape[:-2], -1, 2)
    return np.concatenate([curve, last], axis=-2)


def ribbon(curve: np.ndarray, half_width: float | np.ndarray) -> np.ndarray:
    """Outline of a band along a curve (..., N, 2), of one half width or one for each point (N,)."""
    ahead = np.concatenate([curve[..., 1:, :], curve[..., -1:, :]], axis=-2)
    behind = np.concatenate([curve[..., :1, :], curve[..., :-1, :]], axis=-2)
    run, rise = (ahead - behind)[..., 0], (ahead - behind)[..., 1]
    normal = np.stack([-rise, run], axis=-1) * (half_width / (np.hypot(run, rise) + 1e-9))[..., None]
    return np.concatenate([curve + normal, (curve - normal)[..., ::-1, :]], axis=-2)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    """Outline of an axis-aligned ellipse."""
    return _CIRCLE * (radius_x, radius_y) + (x, y)


def both_sides(outline: np.ndarray) -> np.ndarray:
    """An outline (..., N, 2) of the left side together with its mirror image, (K, N, 2)."""
    return np.stack([outline, outline * (-1, 1)]).reshape(-1, *outline.shape[-2:])
