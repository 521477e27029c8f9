"""Synthetic frontal chest radiographs with lung masks, drawn from a seed.

A network trained on phantoms alone finds the lungs in real radiographs, so the whole project runs, and its tests mean
something, without any patient's image. Realism is not the aim: contrasts, positions and exposures vary more widely than
in any hospital, so that to a network a real radiograph is one more phantom (domain randomisation, Tobin et al. 2017,
doi:10.1109/IROS.2017.8202133).

A radiograph shows a sum of attenuations, so structures are added up: positive values block X-rays and look bright.
Masks follow the convention of the Montgomery set: heart, mediastinum and what lies below the domes of the diaphragm
stay outside, opacities inside the lung and fluid over its base stay inside.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from lung_seg.raw.phantom import anatomy
from lung_seg.raw.phantom.anatomy import Lung
from lung_seg.raw.phantom.canvas import SIDES, Canvas, ellipse

VERSION = 2  # to be raised when a seed draws another phantom, so that old and new phantoms are not mixed in one set

BEDSIDE_SHARE = 0.5  # of the phantoms, drawn as radiographs of patients in intensive care are: supine, from the front

# Side, probability of a leaf there, and the largest share of the frame that it covers.
_COLLIMATOR = (("top", 0.1, 0.06), ("bottom", 0.45, 0.25), ("left", 0.15, 0.15), ("right", 0.15, 0.15))


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph and its lungs."""

    image: np.ndarray  # (H, W) uint8, air dark and bone bright
    right_mask: np.ndarray  # (H, W) bool, the patient's right lung, on the image's left side
    left_mask: np.ndarray  # (H, W) bool
    tb_label: int  # 0 normal, 1 with opacities like those of tuberculosis


def draw_phantom(seed: int, height_px: int, width_px: int) -> Phantom:
    """Draw the phantom of a seed; a seed draws the same anatomy at any size."""
    rng = np.random.default_rng(seed)
    tb_label = int(rng.random() < 0.5)
    at_bedside = rng.random() < BEDSIDE_SHARE
    canvas = Canvas(height_px, width_px, _placement(rng, at_bedside))
    midline = rng.normal(0, 0.04)
    right, left = (anatomy.lung(rng, side, midline, tb_label) for side in SIDES)
    right_mask, left_mask = canvas.fill(right.outline) > 0.5, canvas.fill(left.outline) > 0.5

    attenuation = _soft_tissue(rng, canvas, right, left, midline)
    attenuation += _bones(rng, canvas, midline)
    attenuation += _lung_markings(rng, canvas, right, left, midline, tb_label)
    if at_bedside:
        attenuation += _bedside(rng, canvas, right, left)
    if rng.random() < (0.8 if at_bedside else 0.12):
        attenuation += _strength(rng, 0.3, 0.2) * canvas.fill(*anatomy.devices(rng, midline))
    image = _expose(rng, canvas, attenuation, at_bedside)
    exposed = _collimate(rng, image)
    for _ in range(rng.integers(0, 4)):
        _burn_in_label(rng, image)
    return Phantom(image, right_mask & exposed, left_mask & ~right_mask & exposed, tb_label)


def _placement(rng: np.random.Generator, at_bedside: bool) -> np.ndarray:
    """Affine map from body coordinates to fractions of the frame: position, scale and rotation."""
    half_width = rng.uniform(0.28, 0.45) if rng.random() < 0.92 else rng.uniform(0.2, 0.28)
    height = rng.uniform(0.46, 0.92)
    top = rng.uniform(0.02, max(0.06, min(0.24, 1.0 - height)))
    if at_bedside:  # the chest may reach beyond the detector
        half_width, height, top = rng.uniform(0.34, 0.52), rng.uniform(0.45, 0.88), rng.uniform(0.02, 0.32)
    angle = rng.normal(0, 0.08 if at_bedside else 0.05)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([half_width, height])
    centre = np.array([0.5 + rng.normal(0, 0.03), top + height / 2])
    return np.column_stack([linear, centre - linear @ (0, 0.5)])


def _strength(rng: np.random.Generator, typical: float, flips: float = 0.0) -> float:
    """Random contrast around the typical one, sometimes zero, negative with probability `flips`."""
    if rng.random() < 0.06:
        return 0.0
    sign = -1 if rng.random() < flips else 1
    return sign * typical * float(np.exp(rng.normal(0, 0.45)))


def _soft_tissue(rng: np.random.Generator, canvas: Canvas, right: Lung, left: Lung, midline: float) -> np.ndarray:
    body = canvas.fill(anatomy.torso(rng))
    attenuation = body * (0.45 + 0.55 * canvas.blur(body, rng.uniform(0.03, 0.1)))
    arms = canvas.fill(*anatomy.arms(rng))
    attenuation = np.maximum(attenuation, arms * rng.uniform(0.4, 1.1) * (rng.random() < 0.7))
    attenuation -= _air(rng, canvas, right, left, midline)

    # Lung lies behind the heart, too, so the mediastinum may be darker than the tissue around the neck.
    heart = canvas.fill(anatomy.mediastinum(right, left, rng.uniform(0.8, 1.0)))
    attenuation += rng.uniform(-0.2, 0.4) * canvas.blur(heart, rng.uniform(0.003, 0.02))
    below = canvas.fill(anatomy.abdomen(right, left))
    fade = rng.uniform(0, 1) + canvas.blur(below, rng.uniform(0.02, 0.08))
    attenuation += rng.uniform(0.05, 0.5) * canvas.blur(below, rng.uniform(0, 0.006)) * fade * body
    if rng.random() < 0.5:
        breasts = canvas.fill(anatomy.breasts(rng)) * body
        attenuation += _strength(rng, 0.15) * canvas.blur(breasts, rng.uniform(0.002, 0.03))
    return attenuation


def _air(rng: np.random.Generator, canvas: Canvas, right: Lung, left: Lung, midline: float) -> np.ndarray:
    """Attenuation to subtract for air and thin tissue: lungs, neck, bowel, trachea."""
    lungs = canvas.blur(canvas.fill(*anatomy.air(rng, right, left)), rng.uniform(0, 0.008))
    depth = rng.uniform(0.5, 1.2) + rng.uniform(0, 0.8) * canvas.blur(lungs, rng.uniform(0.02, 0.06))
    depth += rng.uniform(0, 0.25) * canvas.clouds(rng, 4)
    lack = rng.uniform(0.3, 0.75) * lungs * depth
    lack += rng.uniform(0, 0.4) * canvas.blur(canvas.fill(anatomy.neck_hollows(rng)), rng.uniform(0.01, 0.03))
    gas = canvas.fill(*anatomy.bowel_gas(rng, left))
    gas *= 1 + rng.uniform(0, 0.4) * canvas.clouds(rng, 24)
    lack += _strength(rng, 0.5) * canvas.blur(gas, rng.uniform(0.001, 0.008))
    trachea = canvas.fill(*anatomy.trachea(rng, midline))
    lack += _strength(rng, 0.15) * canvas.blur(trachea, rng.uniform(0.002, 0.01))
    return lack


def _bones(rng: np.random.Generator, canvas: Canvas, midline: float) -> np.ndarray:
    column, vertebrae = anatomy.spine(rng, midline)
    back, front = anatomy.ribs(rng)
    sharpness = rng.uniform(0.001, 0.005)
    bones = _strength(rng, 0.25, 0.05) * canvas.blur(canvas.fill(column), rng.uniform(0.003, 0.02))
    bones += _strength(rng, 0.1, 0.1) * canvas.blur(canvas.fill(vertebrae), sharpness)
    bones += _strength(rng, 0.1, 0.03) * canvas.blur(canvas.fill(back), sharpness)
    bones += _strength(rng, 0.06, 0.03) * canvas.blur(canvas.fill(front), sharpness)
    bones += _strength(rng, 0.18, 0.03) * canvas.blur(canvas.fill(anatomy.clavicles(rng)), sharpness)
    bones += _strength(rng, 0.14, 0.03) * canvas.blur(canvas.fill(*anatomy.scapulae(rng)), sharpness)
    return bones


def _lung_markings(
    rng: np.random.Generator, canvas: Canvas, right: Lung, left: Lung, midline: float, tb_label: int
) -> np.ndarray:
    """Vessels, texture and, with tuberculosis, opacities."""
    vessels = canvas.blur(canvas.fill(*anatomy.vessels(rng, midline)), rng.uniform(0.001, 0.004))
    markings = _strength(rng, 0.08) * vessels
    markings += rng.uniform(0, 0.05) * canvas.clouds(rng, 40)
    markings += rng.uniform(0, 0.06) * canvas.clouds(rng, 6)
    if tb_label:
        lungs = canvas.blur(canvas.fill(right.outline, left.outline), 0.01)
        markings += lungs * _opacities(rng, canvas)
    return markings


def _bedside(rng: np.random.Generator, canvas: Canvas, right: Lung, left: Lung) -> np.ndarray:
    """What a patient who lies in bed shows: soft tissue hardly brighter than lung, and lungs veiled from below."""
    below = canvas.fill(anatomy.abdomen(right, left))
    flanks = canvas.blur(canvas.fill(anatomy.flanks(rng)) * below, rng.uniform(0.01, 0.06))
    hollows = canvas.blur(canvas.fill(anatomy.shoulder_hollows(rng)), rng.uniform(0.005, 0.03))
    above = canvas.blur(canvas.fill(anatomy.neck_and_shoulders(rng)), rng.uniform(0.01, 0.06))
    thin: np.ndarray = np.maximum.reduce([rng.uniform(0, 1) * part for part in (below, flanks, hollows, above)])
    lungs = canvas.blur(canvas.fill(right.outline, left.outline), 0.01)
    veil = canvas.blur(canvas.fill(anatomy.lower_zones(rng)), rng.uniform(0.03, 0.1))
    haze = rng.uniform(0, 0.3) * veil + rng.uniform(0, 0.2) * (1 + canvas.clouds(rng, 9)).clip(0)
    veiled: np.ndarray = lungs * haze - rng.uniform(0, 0.35) * thin
    return veiled


def _opacities(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Infiltrates and cavities, mostly in the upper zones; nodules anywhere; sometimes fluid over one base."""
    opacities = canvas.fill()
    for _ in range(rng.integers(1, 4)):
        x, y = rng.choice(SIDES) * rng.uniform(0.25, 0.9), rng.beta(1.5, 2.2)
        patch = canvas.fill(ellipse(x, y, rng.uniform(0.1, 0.4), rng.uniform(0.08, 0.3)))
        texture = (canvas.clouds(rng, int(rng.integers(12, 50))) * rng.uniform(0.3, 1) + 0.6).clip(0, 2)
        opacities += rng.uniform(0.1, 0.5) * canvas.blur(patch, rng.uniform(0.01, 0.06)) * texture
        if rng.random() < 0.3:
            radius = rng.uniform(0.05, 0.15)
            wall = canvas.fill(ellipse(x, y, radius, radius))
            wall -= canvas.fill(ellipse(x, y, 0.75 * radius, 0.75 * radius))
            opacities += rng.uniform(0.1, 0.4) * canvas.blur(wall, 0.003)
    nodules = rng.uniform((-0.95, 0.0, 0.01, 0.01), (0.95, 1.0, 0.03, 0.03), (rng.integers(0, 30), 4))
    opacities += rng.uniform(0.05, 0.25) * canvas.fill(*(ellipse(*nodule) for nodule in nodules))
    if rng.random() < 0.45:
        x = rng.choice(SIDES) * rng.uniform(0.5, 0.9)
        fluid = canvas.fill(ellipse(x, 1.0, 0.7, rng.uniform(0.1, 0.6)))
        opacities += rng.uniform(0.1, 1) * canvas.blur(fluid, rng.uniform(0.005, 0.05))
    return opacities


def _expose(rng: np.random.Generator, canvas: Canvas, attenuation: np.ndarray, at_bedside: bool) -> np.ndarray:
    attenuation = canvas.blur(attenuation, rng.uniform(0, 0.004))
    attenuation += rng.uniform(0, 0.15) * canvas.clouds(rng, 3)
    if at_bedside or rng.random() < 0.5:
        # Digital systems reduce coarse contrast and keep fine detail, as in the Shenzhen set.
        reduction = rng.uniform(0.4, 0.9) if at_bedside else rng.uniform(0.1, 0.7)
        attenuation -= reduction * canvas.blur(attenuation, rng.uniform(0.05, 0.2))
    image = 1 - np.exp(-rng.uniform(0.5, 2.0) * (attenuation - attenuation.min()))
    low, high = np.quantile(image[::4, ::4], (rng.uniform(0, 0.08), rng.uniform(0.75, 1)))
    image = ((image - low) / max(high - low, 0.05)).clip(0, 1)
    image **= float(np.exp(rng.normal(0.25, 0.4)))
    black, white = rng.uniform(0, 0.2), rng.uniform(0.7, 1)
    # A separate generator: the amount of grain depends on the size, the numbers drawn after it must not.
    grain = rng.spawn(1)[0].standard_normal(image.shape, dtype=np.float32)
    image = black + (white - black) * image + min(rng.exponential(0.012), 0.04) * grain
    pixels: np.ndarray = (image.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _collimate(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Cover borders of the image, in place, with collimator leaves; returns the exposed pixels, (H, W) bool."""
    height, width = image.shape
    shut = np.zeros((height, width), np.uint8)
    shade = int(rng.choice((0, 5, 255), p=(0.7, 0.2, 0.1)))
    for side, chance, reach in _COLLIMATOR:
        if rng.random() < chance:
            depth, slant = rng.uniform(0, reach), rng.normal(0, 0.01)
            leaf = np.array([(-0.1, -0.1), (1.1, -0.1), (1.1, depth + slant), (-0.1, depth - slant)])  # from the top
            if side in ("left", "right"):
                leaf = leaf[:, ::-1]
            if side in ("bottom", "right"):
                leaf = 1 - leaf
            cv2.fillPoly(shut, [np.round(leaf * (width, height)).astype(np.int32)], 1)
    exposed: np.ndarray = shut == 0
    image[~exposed] = shade
    return exposed


def _burn_in_label(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw a side marker or a white label near an upper corner, in place."""
    height, width = image.shape
    x, y = rng.choice((rng.uniform(0.02, 0.2), rng.uniform(0.8, 0.95))), rng.beta(0.7, 2)
    size, tone = rng.uniform(0.02, 0.06), int(rng.integers(150, 256))
    text, boxed = str(rng.choice(("R", "L", "PA", "AP", "ERECT", "12:04"))), rng.random() < 0.35
    corner = (round(x * width), round(y * height))
    if boxed:
        opposite = (round((x + 0.5 * size * (len(text) + 1)) * width), round((y - size) * height))
        cv2.rectangle(image, corner, opposite, tone, cv2.FILLED)
    ink, thickness = (0 if boxed else tone), max(1, height // 300)
    cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size * height / 25, ink, thickness)
