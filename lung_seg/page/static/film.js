/** The radiograph's grey values, never changed, with smaller copies to sample from when zoomed out. */

const SMALLEST = 256; // no copy whose longer side would be smaller

export class Film {
  /** `pixels`: Uint8Array or Uint16Array, row by row, air dark; `low` and `high`: grey values shown black and white at first. */
  constructor(width, height, pixels, low, high) {
    Object.assign(this, { width, height, pixels, low, high, levels: [{ width, height, pixels }] });
    while (Math.max(this.levels.at(-1).width, this.levels.at(-1).height) > 2 * SMALLEST) {
      this.levels.push(halve(this.levels.at(-1)));
    }
  }

  get largest() {
    return this.pixels.BYTES_PER_ELEMENT === 1 ? 255 : 65535;
  }

  at(x, y) {
    return this.pixels[Math.floor(y) * this.width + Math.floor(x)];
  }
}

/** The copy of half the size, each pixel the mean of four. */
function halve({ width, height, pixels }) {
  const half = { width: Math.ceil(width / 2), height: Math.ceil(height / 2) };
  half.pixels = new pixels.constructor(half.width * half.height);
  for (let row = 0; row < half.height; row += 1) {
    const upper = 2 * row * width;
    const lower = Math.min(2 * row + 1, height - 1) * width;
    for (let column = 0; column < half.width; column += 1) {
      const left = 2 * column;
      const right = Math.min(left + 1, width - 1);
      const sum = pixels[upper + left] + pixels[upper + right] + pixels[lower + left] + pixels[lower + right];
      half.pixels[row * half.width + column] = (sum + 2) >> 2;
    }
  }
  return half;
}

/** Grey values to display values 0 to 255, black at `low` and white at `high`: one entry for each possible value. */
export function windowTable(largest, low, high, isInverted) {
  const table = new Uint8Array(largest + 1);
  const scale = 255 / Math.max(1, high - low);
  for (let value = 0; value <= largest; value += 1) {
    const shown = Math.min(255, Math.max(0, Math.round((value - low) * scale)));
    table[value] = isInverted ? 255 - shown : shown;
  }
  return table;
}
