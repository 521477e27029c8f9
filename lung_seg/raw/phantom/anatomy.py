"""Shapes of the anatomical structures of a phantom, one function each, in the body coordinates of `canvas`."""

from dataclasses import dataclass

import numpy as np

from lung_seg.raw.phantom.canvas import RIGHT, SIDES, both_sides, ellipse, ribbon, smooth_curve


@dataclass(frozen=True)
class Lung:
    """Outline of one lung, and the part of it along the diaphragm, from the heart to the ribs."""

    outline: np.ndarray
    diaphragm: np.ndarray


def lung(rng: np.random.Generator, side: int, midline: float, tb_label: int) -> Lung:
    """The lung of a side: up the costal wall, over the apex, down along mediastinum and heart, over the diaphragm.

    ``midline`` is the shift of the mediastinum along x.
    """
    is_collapsed = rng.random() < (0.06 if tb_label else 0.02)
    collapse = rng.uniform(0.05, 0.4) if is_collapsed else 0.0  # rise of the lower border
    reach, bulge = rng.uniform(0.9, 1.06), rng.uniform(-0.03, 0.07)
    angle_x, angle_y = reach * rng.uniform(0.93, 1.03), 1 + rng.uniform(-0.1, 0.05) - collapse
    costal = [(angle_x, angle_y), (reach * (0.975 + 0.4 * bulge), 0.76 - 0.75 * collapse)]
    costal += [(reach * (0.92 + 0.8 * bulge), 0.52 - 0.45 * collapse), (reach * (0.81 + bulge), 0.3 - 0.1 * collapse)]
    costal += [(reach * (0.67 + bulge), 0.15), (0.5 + bulge, 0.05), (rng.uniform(0.27, 0.4), rng.uniform(-0.02, 0.03))]
    dome_x, dome_y = reach * rng.uniform(0.3, 0.6), angle_y - rng.uniform(0.08, 0.27) * (1 - collapse)
    heart = rng.uniform(0.17, 0.4) if side == RIGHT else rng.uniform(0.34, 0.7)
    corner = (min(heart * rng.uniform(0.85, 1.1), 0.85), dome_y + rng.uniform(-0.01, 0.07))
    medial = [(x, y) for x, y in _medial_border(rng, side, heart) if y < corner[1] - 0.07]
    wall = np.array([*costal, *medial, corner])
    wall[1:-1] += rng.normal(0, 0.01, (len(wall) - 2, 2))
    wall[len(costal) :, 0] += side * midline
    dome = _dome(wall[-1], (dome_x, dome_y), wall[0], rng.uniform(1.6, 3.0))
    return Lung(np.concatenate([smooth_curve(wall), dome[1:-1]]) * (side, 1), dome * (side, 1))


def _medial_border(rng: np.random.Generator, side: int, heart: float) -> list[tuple[float, float]]:
    root = rng.uniform(0.06, 0.16) if rng.random() < 0.85 else rng.uniform(0.14, 0.32)
    if side == RIGHT:
        upper = [(root + 0.05, 0.04), (root, 0.12), (root + 0.02, 0.25), (root + 0.06, 0.4)]
        return [*upper, (heart * 0.9, 0.57), (heart, 0.7)]
    knob, waist = root + rng.uniform(0.02, 0.16), root + rng.uniform(0.04, 0.14)
    upper = [(root + 0.06, 0.04), (root, 0.1), (root + 0.03, 0.17), (knob, 0.235), (waist, 0.36)]
    indent = heart - waist
    return [*upper, (waist + 0.35 * indent, 0.5), (waist + 0.72 * indent, 0.63), (heart, 0.76)]


def _dome(corner: np.ndarray, top: tuple[float, float], angle: np.ndarray, steepness: float) -> np.ndarray:
    top_x = max(top[0], corner[0] + 0.02)
    x = np.linspace(corner[0], angle[0], 16)
    inner = (corner[1] - top[1]) * ((top_x - x) / (top_x - corner[0])).clip(0) ** 2
    outer = (angle[1] - top[1]) * ((x - top_x) / (angle[0] - top_x)).clip(0) ** steepness
    return np.stack([x, top[1] + inner + outer], axis=1)


def air(rng: np.random.Generator, right: Lung, left: Lung) -> list[np.ndarray]:
    """The lungs as dark regions: a little below and inside of the borders that annotators draw.

    In real radiographs the outer rim of an annotated lung is bright already, while aerated lung shows through heart
    and diaphragm beyond the annotated border.
    """
    inward, down = rng.uniform(-0.005, 0.04), rng.uniform(-0.005, 0.05)
    return [np.add(right.outline, (inward, down)), np.add(left.outline, (-inward, down))]


def torso(rng: np.random.Generator) -> np.ndarray:
    """Neck, shoulders and flanks."""
    neck, slope = rng.uniform(0.25, 0.45), rng.uniform(-0.1, 0.12)
    shoulder_y, waist = rng.uniform(-0.12, 0.12), rng.uniform(1.06, 1.35)
    shoulder = [(1.0, shoulder_y - 0.06), (1.35, shoulder_y + 0.1), (1.3, 0.32)]
    hips = [(waist + rng.uniform(-0.1, 0.15), 1.3), (waist + rng.uniform(-0.2, 0.3), 2.6)]
    upper = [(neck, -0.8), (neck, -0.25 + slope), (neck + 0.2, -0.14 + slope), *shoulder]
    half = smooth_curve([*upper, (waist, 0.55), (waist - 0.02, 0.9), *hips])
    return np.concatenate([half, half[::-1] * (-1, 1)])


def arms(rng: np.random.Generator) -> list[np.ndarray]:
    """Both arms, hanging along the flanks or lifted off them."""
    limbs = []
    for side in SIDES:
        elbow_x, elbow_y = 1.35 + rng.uniform(0, 0.9), rng.uniform(0.45, 1.2)
        hand_x = elbow_x + rng.uniform(-0.4, 0.4)
        upper_arm = [(1.2, 0.05), (1.3 + (elbow_x - 1.3) / 3, 0.05 + 0.4 * elbow_y)]
        bone = smooth_curve([*upper_arm, (elbow_x, elbow_y), (hand_x, 2.2)])
        limbs.append(ribbon(bone, rng.uniform(0.12, 0.28)) * (side, 1))
    return limbs


def abdomen(right: Lung, left: Lung) -> np.ndarray:
    """Everything below the two domes of the diaphragm."""
    domes = np.concatenate([right.diaphragm[::-1], left.diaphragm])
    rim = [(2.5, domes[-1, 1] + 0.1), (2.5, 3.0), (-2.5, 3.0), (-2.5, domes[0, 1] + 0.1)]
    return np.concatenate([domes, rim])


def mediastinum(right: Lung, left: Lung, shrink: float) -> np.ndarray:
    """Heart and great vessels: the region between the lungs, from the apices to the diaphragm."""
    rows = np.linspace(0.08, 1.0, 24)
    borders = []
    for part in (right, left):
        inner = part.outline[25:]
        nearest = [np.abs(inner[np.abs(inner[:, 1] - row) < 0.06, 0]).min(initial=0.7) for row in rows]
        borders.append(shrink * np.convolve(np.pad(nearest, 1, "edge"), np.ones(3) / 3, "valid"))
    return np.concatenate([np.stack([-borders[0], rows], 1), np.stack([borders[1], rows], 1)[::-1]])


def spine(rng: np.random.Generator, midline: float) -> tuple[np.ndarray, np.ndarray]:
    """The spinal column and its vertebral bodies."""
    bend = rng.normal(0, 0.04, 4) + midline * 0.5
    curve = smooth_curve(np.stack([bend, (-0.8, 0.1, 0.9, 2.6)], axis=1))
    half_width = rng.uniform(0.09, 0.15)
    rows = np.arange(-0.6, 2.4, rng.uniform(0.085, 0.13))
    middles = np.stack([np.interp(rows, curve[:, 1], curve[:, 0]), rows], axis=1)
    body = np.array([(-0.95, -0.036), (0.95, -0.036), (0.85, 0), (0.95, 0.036), (-0.95, 0.036), (-0.85, 0)])
    return ribbon(curve, half_width), body * (half_width, 1) + middles[:, None]


def trachea(rng: np.random.Generator, midline: float) -> list[np.ndarray]:
    """Trachea and the two main bronchi."""
    half_width, fork_y = rng.uniform(0.05, 0.08), rng.uniform(0.3, 0.42)
    fork = np.array((midline + rng.uniform(-0.06, 0.03), fork_y))
    pipe = smooth_curve([(rng.normal(0, 0.03), -0.8), (midline, -0.1), tuple(fork)])
    bronchus = smooth_curve([(0, 0), (0.12, 0.07), (0.25, 0.12)])
    return [ribbon(pipe, half_width), both_sides(ribbon(bronchus, half_width * 0.6)) + fork]


def ribs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Posterior ribs, falling away from the spine, and anterior ones, rising towards the flanks."""
    half_width, fall = rng.uniform(0.014, 0.026), rng.uniform(0.05, 0.3)
    number = np.arange(11)
    y = rng.uniform(-0.04, 0.04) + number * rng.uniform(0.085, 0.12) + rng.normal(0, 0.006, 11)
    reach = np.minimum(1.06, 0.55 + 0.17 * number)
    drop = fall * (0.4 + 0.12 * number) * reach + rng.normal(0, 0.02)
    arch = rng.normal(0.04, 0.02, 11)
    back = [(0.13 + 0 * y, y), (0.35 * reach, y - arch), (0.75 * reach, y + drop * 0.45), (reach, y + drop)]
    front = [(reach * 1.02, y + 0.24), (0.7 * reach, y + 0.36), (0.3 + 0.03 * number, y + 0.38)]
    back_curves, front_curves = (smooth_curve(np.array(path).transpose(2, 0, 1)) for path in (back, front))
    return both_sides(ribbon(back_curves, half_width)), both_sides(ribbon(front_curves[:7], half_width * 1.2))


def clavicles(rng: np.random.Generator) -> np.ndarray:
    """Both collar bones, from the sternum to the shoulder."""
    y, rise = rng.uniform(0.06, 0.24), rng.uniform(-0.02, 0.26)
    curve = smooth_curve([(0.1, y), (0.4, y - 0.25 * rise), (0.75, y - 0.85 * rise), (1.15, y - rise)])
    return both_sides(ribbon(curve, np.linspace(0.038, 0.026, len(curve))))


def scapulae(rng: np.random.Generator) -> list[np.ndarray]:
    """Shoulder blades, over the lungs' outer edges or turned away from them, and the humeral heads."""
    turned, tip_y = rng.uniform(-0.12, 0.3), rng.uniform(0.42, 0.68)
    top, tip = [(0.78, 0.08), (1.2, 0.0), (1.25, 0.12), (1.0, 0.3)], [(0.93, tip_y), (0.84, tip_y - 0.03)]
    blade = np.add(smooth_curve([*top, *tip, (0.74, 0.2), top[0]]), (turned, 0))
    head = ellipse(1.33 + turned * 0.5, 0.08, 0.13, 0.09)
    return [both_sides(blade), both_sides(head)]


def breasts(rng: np.random.Generator) -> np.ndarray:
    """Soft tissue over the lower chest."""
    radius = rng.uniform(0.35, 0.65)
    return both_sides(ellipse(rng.uniform(0.5, 0.8), rng.uniform(0.55, 1.0), radius, radius * rng.uniform(0.45, 0.8)))


def neck_hollows(rng: np.random.Generator) -> np.ndarray:
    """Thin soft tissue above the clavicles: dark and next to the apices, but not lung."""
    x, y = rng.uniform(0.45, 0.75), rng.uniform(-0.22, -0.06)
    return both_sides(ellipse(x, y, rng.uniform(0.12, 0.35), rng.uniform(0.04, 0.14)))


def bowel_gas(rng: np.random.Generator, left: Lung) -> list[np.ndarray]:
    """The gastric bubble close under the left dome, and gas in the bowel further down."""
    top_x, top_y = left.diaphragm[left.diaphragm[:, 1].argmin()]
    bubbles = []
    if rng.random() < 0.75:
        width, height = rng.uniform(0.08, 0.36), rng.uniform(0.03, 0.18)
        x, y = top_x + rng.uniform(-0.1, 0.25), top_y + height + rng.uniform(0.01, 0.09)
        bubble = ellipse(x, y, width, height)
        if rng.random() < 0.4:  # an air-fluid level, as in an upright patient
            bubble[:, 1] = np.minimum(bubble[:, 1], top_y + height * rng.uniform(1, 2))
        bubbles.append(bubble)
    for _ in range(rng.integers(0, 8)):
        radius = rng.uniform(0.03, 0.15)
        x, y = rng.uniform(-0.7, 0.9), top_y + rng.uniform(0.15, 0.9)
        bubbles.append(ellipse(x, y, radius, radius * rng.uniform(0.4, 1)))
    return bubbles


def vessels(rng: np.random.Generator, midline: float) -> list[np.ndarray]:
    """Vessels that fan out from both hila, thick near the root and thin at the end."""
    count, t = 9, np.linspace(0, 1, 6)
    fans = []
    for side in SIDES:
        root = np.array((0.2 * side + midline, rng.uniform(0.38, 0.48)))
        spread = np.linspace(-1.3, 1.4, count)[:, None] + rng.normal(0, 0.1, (count, 1))
        heading = spread + rng.normal(0, 0.2, (count, 1)) * t
        length = rng.uniform(0.25, 0.6, (count, 1)) * t
        curves = np.stack([length * np.cos(heading) * side, 0.8 * length * np.sin(heading)], axis=-1) + root
        fans += [ribbon(curves, np.linspace(rng.uniform(0.012, 0.03), 0.004, 6)), ellipse(root[0], root[1], 0.08, 0.1)]
    return fans


def flanks(rng: np.random.Generator) -> np.ndarray:
    """The sides of the upper abdomen, where the body is thin."""
    x, y = rng.uniform(0.7, 1.2), rng.uniform(1.0, 1.35)
    return both_sides(ellipse(x, y, rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6)))


def shoulder_hollows(rng: np.random.Generator) -> np.ndarray:
    """Fat between neck, shoulder and arm: dark beside the apices, but not lung."""
    x, y = rng.uniform(0.75, 1.2), rng.uniform(-0.1, 0.25)
    return both_sides(ellipse(x, y, rng.uniform(0.1, 0.35), rng.uniform(0.08, 0.3)))


def neck_and_shoulders(rng: np.random.Generator) -> np.ndarray:
    """Everything above the apices of the lungs."""
    middle, outer = rng.uniform(-0.12, 0.06), rng.uniform(-0.05, 0.35)
    return np.array([(-2, outer), (-1, outer), (0, middle), (1, outer), (2, outer), (2, -2), (-2, -2)])


def lower_zones(rng: np.random.Generator) -> np.ndarray:
    """The lower parts of both lungs, where fluid and collapsed lung gather in a patient who lies."""
    x, y = rng.uniform(0.3, 0.8), rng.uniform(0.8, 1.1)
    return both_sides(ellipse(x, y, 0.7, rng.uniform(0.2, 0.7)))


def devices(rng: np.random.Generator, midline: float) -> list[np.ndarray]:
    """Tubes and lines across the chest and along the midline, and electrodes with their leads."""
    lines = rng.uniform((-1.2, -0.3), (1.2, 1.3), (rng.integers(1, 4), 4, 2))
    drawn = [ribbon(smooth_curve(lines), rng.uniform(0.004, 0.015))]
    for _ in range(rng.integers(0, 3)):
        x = midline + rng.normal(0, 0.05, 4)
        tube = np.stack([x, (-0.8, 0.0, 0.5, rng.uniform(0.3, 1.6))], axis=1)
        drawn.append(ribbon(smooth_curve(tube), rng.uniform(0.006, 0.02)))
    for x, y in rng.uniform((-1.0, 0.0), (1.0, 1.1), (rng.integers(0, 6), 2)):
        lead = [(x, y), *rng.uniform((-1.3, 0.2), (1.3, 1.3), (2, 2)), (1.6 * rng.choice(SIDES), 1.3)]
        drawn += [ellipse(x, y, 0.045, 0.03), ribbon(smooth_curve(lead), rng.uniform(0.004, 0.009))]
    return drawn
