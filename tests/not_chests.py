"""Pictures that are no frontal chest radiographs, drawn from a seed: a mask of one of them means nothing."""

from collections.abc import Callable

import cv2
import numpy as np

from lung_seg.raw.phantom.draw_phantom import draw_phantom

Grey = np.ndarray  # (H, W) uint8
SIDE_PX = 320


def noise(rng: np.random.Generator) -> Grey:
    """White or cloudy."""
    knots = int(rng.choice((4, 12, 40, SIDE_PX)))
    clouds = rng.uniform(0, 255, (knots, knots)).astype(np.float32)
    return cv2.resize(clouds, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def text(rng: np.random.Generator) -> Grey:
    """A page of lines, black on white or white on black."""
    page = np.full((SIDE_PX, SIDE_PX), 245, np.uint8)
    for row in range(20, SIDE_PX, int(rng.integers(14, 30))):
        words = "".join(rng.choice(list("abcdefghij klmnop qrstu"), int(rng.integers(10, 40))))
        cv2.putText(page, words, (8, row), cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 0.6), 20, 1, cv2.LINE_AA)
    return page if rng.random() < 0.7 else 255 - page


def landscape(rng: np.random.Generator) -> Grey:
    """A photograph as a child draws it: sky, hills, a sun and houses."""
    rows = np.linspace(255, 120, SIDE_PX)[:, None].repeat(SIDE_PX, 1)
    picture = np.clip(rows, 0, 255).astype(np.uint8)
    for shade in (150, 100, 60):
        height = rng.uniform(0.4, 0.8) * SIDE_PX
        waves = height + 20 * np.sin(np.arange(SIDE_PX) / rng.uniform(15, 60) + rng.uniform(0, 6))
        picture[np.arange(SIDE_PX)[:, None] > waves] = shade
    cv2.circle(picture, (int(rng.integers(40, 280)), int(rng.integers(30, 90))), int(rng.integers(12, 40)), 250, -1)
    for _ in range(rng.integers(1, 5)):
        left, top, width = int(rng.integers(0, 280)), int(rng.integers(150, 260)), int(rng.integers(20, 80))
        cv2.rectangle(picture, (left, top), (left + width, top + width), int(rng.integers(0, 255)), -1)
    return cv2.GaussianBlur(picture, (0, 0), 1)


def portrait(rng: np.random.Generator) -> Grey:
    """A face: two dark eyes side by side in a bright oval."""
    picture = np.full((SIDE_PX, SIDE_PX), int(rng.integers(0, 120)), np.uint8)
    cv2.ellipse(picture, (160, 160), (int(rng.integers(70, 110)), int(rng.integers(100, 150))), 0, 0, 360, 200, -1)
    apart = int(rng.integers(25, 50))
    for side in (-1, 1):
        cv2.ellipse(picture, (160 + side * apart, 130), (int(rng.integers(8, 22)), 10), 0, 0, 360, 30, -1)
    cv2.ellipse(picture, (160, 220), (35, int(rng.integers(3, 15))), 0, 0, 360, 80, -1)
    return cv2.GaussianBlur(picture, (0, 0), 2)


def slice_of_a_body(rng: np.random.Generator) -> Grey:
    """A CT slice through the chest: an oval body, lungs nearly black, a white spine."""
    picture = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    cv2.ellipse(picture, (160, 160), (int(rng.integers(125, 150)), int(rng.integers(85, 110))), 0, 0, 360, 150, -1)
    for side in (-1, 1):
        centre = (160 + side * int(rng.integers(60, 75)), int(rng.integers(150, 165)))
        cv2.ellipse(picture, centre, (int(rng.integers(35, 50)), int(rng.integers(50, 70))), 0, 0, 360, 15, -1)
    cv2.circle(picture, (160, 220), 16, 235, -1)
    return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


def blank(rng: np.random.Generator) -> Grey:
    """One grey, with hardly any noise."""
    shade = rng.integers(0, 255)
    return np.clip(shade + rng.normal(0, 1, (SIDE_PX, SIDE_PX)), 0, 255).astype(np.uint8)


def turned(rng: np.random.Generator) -> Grey:
    """A chest lying on its side."""
    return np.rot90(_chest(rng), int(rng.choice((1, 3)))).copy()


def upside_down(rng: np.random.Generator) -> Grey:
    """A chest on its head."""
    return np.rot90(_chest(rng), 2).copy()


def half_a_chest(rng: np.random.Generator) -> Grey:
    """Only the right, the left or the lower half of a chest."""
    chest = _chest(rng)
    half = SIDE_PX // 2
    return (chest[:, :half], chest[:, half:], chest[half:])[rng.integers(3)].copy()


def negative(rng: np.random.Generator) -> Grey:
    """A chest with air bright and bone dark."""
    return 255 - _chest(rng)


KINDS: tuple[Callable[[np.random.Generator], Grey], ...] = (
    noise,
    text,
    landscape,
    portrait,
    slice_of_a_body,
    blank,
    turned,
    upside_down,
    half_a_chest,
    negative,
)


def draw_not_chest(seed: int) -> tuple[str, Grey]:
    """The picture of a seed and the name of its kind, each kind in turn."""
    kind = KINDS[seed % len(KINDS)]
    return kind.__name__, kind(np.random.default_rng(seed))


def _chest(rng: np.random.Generator) -> Grey:
    return draw_phantom(int(rng.integers(1_000_000, 2_000_000)), SIDE_PX, SIDE_PX).image
