/** Operations on whole components of a mask. Each returns the rectangle that may have changed, or null. */

import { BACKGROUND, LEFT, Mask, RIGHT, union } from "./mask.js";

const SAMPLES = 256; // a side, to look for the nearest lung: 2 pixels of 512, 19 of 4892

/** Delete the component of one lung under a point; pixels that touch at a corner are connected. */
export function deleteComponent(mask, x, y) {
  const label = mask.at(x, y);
  if (label === BACKGROUND) return null;
  return flood(mask, Math.floor(x), Math.floor(y), label, BACKGROUND, 1);
}

/** Give the background that one lung encloses to that lung. */
export function fillHoles(mask) {
  return [RIGHT, LEFT].map((label) => fillHolesOf(mask, label)).reduce(union, null);
}

/** Exchange the labels of the right and the left lung. */
export function swapSides(mask) {
  const { bytes } = mask;
  const swapped = [BACKGROUND, LEFT, RIGHT];
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = swapped[bytes[index]];
  return mask.whole;
}

/**
 * Smooth the outlines: a pixel becomes lung where lung is the majority of the square around it, 2 * radius + 1 pixels
 * wide (a median filter; the image continues beyond its border), and gets the lung that is more frequent there.
 */
export function smooth(mask, radius) {
  const { width, height, bytes } = mask;
  const source = bytes.slice();
  const columns = [new Uint32Array(width), new Uint32Array(width)]; // counts of right and left over the rows of the square
  const [right, left] = columns;
  const clampRow = (row) => Math.min(height - 1, Math.max(0, row)) * width;
  const clampColumn = (column) => Math.min(width - 1, Math.max(0, column));
  const addRow = (row, amount) => {
    const offset = clampRow(row);
    for (let column = 0; column < width; column += 1) {
      const label = source[offset + column];
      if (label !== BACKGROUND) columns[label - 1][column] += amount;
    }
  };
  for (let row = -radius - 1; row < radius; row += 1) addRow(row, 1);
  const half = (2 * radius + 1) ** 2 / 2;
  for (let row = 0; row < height; row += 1) {
    addRow(row + radius, 1);
    addRow(row - radius - 1, -1);
    let [rights, lefts] = [0, 0];
    for (let column = -radius - 1; column < radius; column += 1) {
      rights += right[clampColumn(column)];
      lefts += left[clampColumn(column)];
    }
    for (let column = 0; column < width; column += 1) {
      const [enters, leaves] = [clampColumn(column + radius), clampColumn(column - radius - 1)];
      rights += right[enters] - right[leaves];
      lefts += left[enters] - left[leaves];
      bytes[row * width + column] = rights + lefts < half ? BACKGROUND : rights >= lefts ? RIGHT : LEFT;
    }
  }
  return mask.whole;
}

/** The lung that a new pixel at a point belongs to: that of the nearest lung pixel, without any that of the image's half. */
export function nearestSide(mask, x, y) {
  if (mask.at(x, y) !== BACKGROUND) return mask.at(x, y);
  const step = Math.max(1, Math.floor(Math.max(mask.width, mask.height) / SAMPLES));
  let [nearest, side] = [Infinity, x < mask.width / 2 ? RIGHT : LEFT];
  for (let row = step >> 1; row < mask.height; row += step) {
    for (let column = step >> 1; column < mask.width; column += step) {
      const label = mask.bytes[row * mask.width + column];
      const distance = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2;
      if (label !== BACKGROUND && distance < nearest) [nearest, side] = [distance, label];
    }
  }
  return side;
}

/** Replace `from` by `to` in the component around a pixel; `reach` is 1 if corners connect, else 0. */
function flood(mask, x, y, from, to, reach) {
  const { width, height, bytes } = mask;
  const stack = [[x, y]];
  let rect = null;
  while (stack.length) {
    const [column, row] = stack.pop();
    const offset = row * width;
    if (bytes[offset + column] !== from) continue;
    let [start, end] = [column, column + 1];
    while (start > 0 && bytes[offset + start - 1] === from) start -= 1;
    while (end < width && bytes[offset + end] === from) end += 1;
    bytes.fill(to, offset + start, offset + end);
    rect = union(rect, { left: start, top: row, right: end, bottom: row + 1 });
    for (const next of [row - 1, row + 1]) {
      if (next < 0 || next >= height) continue;
      for (let at = Math.max(0, start - reach); at < Math.min(width, end + reach); at += 1) {
        const isRunStart = bytes[next * width + at] === from && (at === 0 || bytes[next * width + at - 1] !== from);
        if (isRunStart || (at === Math.max(0, start - reach) && bytes[next * width + at] === from)) stack.push([at, next]);
      }
    }
  }
  return rect;
}

function fillHolesOf(mask, label) {
  const bounds = boundsOf(mask, label);
  if (!bounds) return null;
  // A copy with a frame of background, so that all that is outside is one component.
  const [width, height] = [bounds.right - bounds.left + 2, bounds.bottom - bounds.top + 2];
  const outside = new Mask(width, height);
  const each = (visit) => {
    for (let row = bounds.top; row < bounds.bottom; row += 1) {
      for (let column = bounds.left; column < bounds.right; column += 1) {
        visit(row * mask.width + column, (row - bounds.top + 1) * width + column - bounds.left + 1);
      }
    }
  };
  each((here, there) => {
    if (mask.bytes[here] === label) outside.bytes[there] = 1;
  });
  flood(outside, 0, 0, 0, 2, 0);
  each((here, there) => {
    if (outside.bytes[there] === 0 && mask.bytes[here] === BACKGROUND) mask.bytes[here] = label;
  });
  return bounds;
}

function boundsOf(mask, label) {
  let bounds = null;
  for (let row = 0; row < mask.height; row += 1) {
    const line = mask.bytes.subarray(row * mask.width, (row + 1) * mask.width);
    const left = line.indexOf(label);
    if (left < 0) continue;
    bounds = union(bounds, { left, top: row, right: line.lastIndexOf(label) + 1, bottom: row + 1 });
  }
  return bounds;
}
