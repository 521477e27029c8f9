"""The pixels that a stroke or a polygon must set, from their definitions, with NumPy."""

import numpy as np

Point = tuple[float, float]


def brush_stroke(shape: tuple[int, int], points: list[Point], diameter: float) -> np.ndarray:
    """Pixels whose centre is at most half the diameter away from the line through points (column, row), (H, W) bool."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    stroke = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] or points, strict=False):
        dx, dy = x1 - x0, y1 - y0
        length = dx * dx + dy * dy
        along = ((columns - x0) * dx + (rows - y0) * dy) / length if length else np.zeros(shape)
        along = np.clip(along, 0, 1)
        stroke |= (columns - x0 - along * dx) ** 2 + (rows - y0 - along * dy) ** 2 <= (diameter / 2) ** 2
    return stroke


def inside_polygon(shape: tuple[int, int], points: list[Point]) -> np.ndarray:
    """Pixels whose centre a polygon encloses, by the number of its edges to the right of it, (H, W) bool."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if y0 == y1:
            continue
        crosses = (rows >= min(y0, y1)) & (rows < max(y0, y1))
        inside ^= crosses & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
    return inside
