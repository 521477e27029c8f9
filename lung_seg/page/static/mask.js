/** The mask being edited: one byte a pixel at the radiograph's own size, and its changes as runs. */

export const BACKGROUND = 0;
export const RIGHT = 1; // the patient's right lung, on the image's left
export const LEFT = 2;

export class Mask {
  /** Labels in `bytes`, row by row. */
  constructor(width, height, bytes = new Uint8Array(width * height)) {
    if (bytes.length !== width * height) {
      throw new Error(`the mask has ${bytes.length} bytes, ${width} x ${height} pixels need ${width * height}`);
    }
    Object.assign(this, { width, height, bytes });
  }

  /** The label at a point, background outside the image. */
  at(x, y) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    const isInside = column >= 0 && row >= 0 && column < this.width && row < this.height;
    return isInside ? this.bytes[row * this.width + column] : BACKGROUND;
  }

  get whole() {
    return { left: 0, top: 0, right: this.width, bottom: this.height };
  }
}

/** The smallest rectangle around two; either may be null. Rectangles end before `right` and `bottom`. */
export function union(a, b) {
  if (!a || !b) return a ?? b;
  return {
    left: Math.min(a.left, b.left),
    top: Math.min(a.top, b.top),
    right: Math.max(a.right, b.right),
    bottom: Math.max(a.bottom, b.bottom),
  };
}

/**
 * Undo and redo of a mask. A step holds the pixels that it changed as runs of one row each; it costs ten bytes a run,
 * a few kilobytes a stroke, so that the number of steps needs no limit.
 */
export class History {
  constructor(mask, done = [], undone = []) {
    Object.assign(this, { mask, done, undone, recorded: mask.bytes.slice() });
  }

  /** Make one step of all that changed inside the rectangle since the last; returns its rectangle, null if nothing did. */
  record(rect) {
    const step = rect && difference(this.recorded, this.mask.bytes, this.mask.width, rect);
    if (!step) return null;
    this.done.push(step);
    this.undone = [];
    write(this.recorded, step, step.after);
    return step.rect;
  }

  /** Take back what was changed inside the rectangle since the last step. */
  revert(rect) {
    const step = rect && difference(this.recorded, this.mask.bytes, this.mask.width, rect);
    if (step) write(this.mask.bytes, step, step.before);
  }

  undo() {
    return this.#move(this.done, this.undone, "before");
  }

  redo() {
    return this.#move(this.undone, this.done, "after");
  }

  #move(from, to, labels) {
    const step = from.pop();
    if (!step) return null;
    to.push(step);
    write(this.mask.bytes, step, step[labels]);
    write(this.recorded, step, step[labels]);
    return step.rect;
  }
}

/** Where two masks differ inside a rectangle: runs of constant labels in both; null where they are equal. */
export function difference(before, after, width, rect) {
  const [starts, lengths, old, now] = [[], [], [], []];
  const bounds = { left: width, top: rect.bottom, right: 0, bottom: 0 };
  for (let row = rect.top; row < rect.bottom; row += 1) {
    const end = row * width + rect.right;
    let start = nextDifference(before, after, row * width + rect.left, end);
    if (start < end) {
      bounds.top = Math.min(bounds.top, row);
      bounds.bottom = row + 1;
      bounds.left = Math.min(bounds.left, start - row * width);
    }
    while (start < end) {
      const stop = endOfRun(before, after, start, end);
      starts.push(start);
      lengths.push(stop - start);
      old.push(before[start]);
      now.push(after[start]);
      bounds.right = Math.max(bounds.right, stop - row * width);
      start = nextDifference(before, after, stop, end);
    }
  }
  if (!starts.length) return null;
  return {
    rect: bounds,
    starts: Uint32Array.from(starts),
    lengths: Uint32Array.from(lengths),
    before: Uint8Array.from(old),
    after: Uint8Array.from(now),
  };
}

function nextDifference(before, after, index, end) {
  while (index < end && before[index] === after[index]) index += 1;
  return index;
}

function endOfRun(before, after, start, end) {
  const [was, is] = [before[start], after[start]];
  let index = start;
  while (index < end && before[index] === was && after[index] === is) index += 1;
  return index;
}

function write(bytes, step, labels) {
  step.starts.forEach((start, run) => bytes.fill(labels[run], start, start + step.lengths[run]));
}
