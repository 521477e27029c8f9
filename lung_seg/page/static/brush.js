/** Drawing with a round brush: exact pixels, no smoothing. */

import { BACKGROUND } from "./mask.js";

/**
 * Set the pixels whose centre is at most `radius` away from the segment between two points (in pixels of the
 * radiograph; the centre of the first pixel is 0.5, 0.5).
 *
 * Lung replaces background only, unless `replaces` is true: then it replaces the other lung too.
 * Returns the rectangle that may have changed, or null outside the image.
 */
export function drawSegment(mask, from, to, radius, label, replaces = false) {
  const rect = {
    left: Math.max(0, Math.floor(Math.min(from.x, to.x) - radius)),
    top: Math.max(0, Math.floor(Math.min(from.y, to.y) - radius)),
    right: Math.min(mask.width, Math.ceil(Math.max(from.x, to.x) + radius)),
    bottom: Math.min(mask.height, Math.ceil(Math.max(from.y, to.y) + radius)),
  };
  if (rect.left >= rect.right || rect.top >= rect.bottom) return null;
  const isWithin = withinSegment(from, to, radius);
  for (let row = rect.top; row < rect.bottom; row += 1) {
    let [first, last] = approximateSpan(from, to, radius, row + 0.5);
    if (last < first) continue;
    // The span is exact up to rounding; the distance itself decides on the pixels at its ends.
    first = Math.max(rect.left, first - 1);
    last = Math.min(rect.right - 1, last + 1);
    while (first <= last && !isWithin(first + 0.5, row + 0.5)) first += 1;
    while (last >= first && !isWithin(last + 0.5, row + 0.5)) last -= 1;
    setSpan(mask, row, first, last + 1, label, replaces);
  }
  return rect;
}

/** Set the pixels of a row from column `start` to before `end`, by the rule of drawSegment. */
export function setSpan(mask, row, start, end, label, replaces) {
  const offset = row * mask.width;
  if (label === BACKGROUND || replaces) {
    mask.bytes.fill(label, offset + start, offset + Math.max(start, end));
    return;
  }
  for (let index = offset + start; index < offset + end; index += 1) {
    if (mask.bytes[index] === BACKGROUND) mask.bytes[index] = label;
  }
}

function withinSegment(from, to, radius) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const squared = dx * dx + dy * dy;
  return (x, y) => {
    const along = squared ? ((x - from.x) * dx + (y - from.y) * dy) / squared : 0;
    const nearest = Math.min(1, Math.max(0, along));
    const [offX, offY] = [x - from.x - nearest * dx, y - from.y - nearest * dy];
    return offX * offX + offY * offY <= radius * radius;
  };
}

/** First and last column whose centre a row's line meets the shape in: two discs and the band between them. */
function approximateSpan(from, to, radius, y) {
  let [low, high] = [Infinity, -Infinity];
  const add = (x) => {
    low = Math.min(low, x);
    high = Math.max(high, x);
  };
  for (const centre of [from, to]) {
    const half = Math.sqrt(radius * radius - (y - centre.y) ** 2);
    if (half >= 0) {
      add(centre.x - half);
      add(centre.x + half);
    }
  }
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy);
  if (length > 0 && dy !== 0) {
    for (const side of [-1, 1]) {
      const [offX, offY] = [(-dy / length) * radius * side, (dx / length) * radius * side];
      const along = (y - from.y - offY) / dy;
      if (along >= 0 && along <= 1) add(from.x + offX + along * dx);
    }
  }
  return [Math.ceil(low - 0.5), Math.floor(high - 0.5)];
}
