/** Filling a polygon or a lasso's path. */

import { setSpan } from "./brush.js";

/**
 * Set the pixels whose centre lies inside the closed polygon (even-odd rule), by the rule of brush.drawSegment.
 * Returns the rectangle that may have changed, or null.
 */
export function fillPolygon(mask, points, label, replaces = false) {
  if (points.length < 3) return null;
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  const rect = {
    left: Math.max(0, Math.floor(Math.min(...xs))),
    top: Math.max(0, Math.floor(Math.min(...ys))),
    right: Math.min(mask.width, Math.ceil(Math.max(...xs))),
    bottom: Math.min(mask.height, Math.ceil(Math.max(...ys))),
  };
  if (rect.left >= rect.right || rect.top >= rect.bottom) return null;
  for (let row = rect.top; row < rect.bottom; row += 1) {
    const crossings = crossingsOfRow(points, row + 0.5);
    for (let pair = 0; pair + 1 < crossings.length; pair += 2) {
      const start = Math.max(0, Math.ceil(crossings[pair] - 0.5));
      const end = Math.min(mask.width, Math.ceil(crossings[pair + 1] - 0.5));
      if (start < end) setSpan(mask, row, start, end, label, replaces);
    }
  }
  return rect;
}

function crossingsOfRow(points, y) {
  const crossings = [];
  let previous = points[points.length - 1];
  for (const point of points) {
    if (previous.y <= y !== point.y <= y) {
      crossings.push(previous.x + ((y - previous.y) / (point.y - previous.y)) * (point.x - previous.x));
    }
    previous = point;
  }
  return crossings.sort((a, b) => a - b);
}
