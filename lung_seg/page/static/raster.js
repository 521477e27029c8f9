/**
 * From film and mask to the pixels of the screen: plain loops over typed arrays, fast enough for 60 frames a second
 * without a graphics card. A view is { left, top, scale }: the point of the film at the screen's corner, and the number
 * of screen pixels to one of its pixels.
 */

import { LEFT, RIGHT } from "./mask.js";

// Blue-green and orange differ in every common form of colour blindness; the reports use the same two.
export const COLOURS = { [RIGHT]: [45, 212, 191], [LEFT]: [255, 146, 43] };
const PROBABILITY_COLOUR = [196, 132, 252];
const PROBABILITY_OPACITY = 0.55; // of a probability of 1
const SOLID = new Uint32Array([0, rgba(...COLOURS[RIGHT]), rgba(...COLOURS[LEFT])]);

/** Grey values of the view, interpolated between pixels; `out` has a value for each pixel of the screen. */
export function sampleFilm(film, view, screen, out) {
  const deepest = film.levels.length - 1;
  const depth = Math.min(deepest, Math.max(0, Math.floor(Math.log2(1 / view.scale))));
  const { width, height, pixels } = film.levels[depth];
  const step = 1 / (view.scale * 2 ** depth);
  const [firsts, seconds, fractions] = interpolation(view.left / 2 ** depth, step, screen.width, width);
  const [aboves, belows, weights] = interpolation(view.top / 2 ** depth, step, screen.height, height);
  for (let y = 0; y < screen.height; y += 1) {
    const [above, below, weight] = [aboves[y] * width, belows[y] * width, weights[y]];
    const offset = y * screen.width;
    for (let x = 0; x < screen.width; x += 1) {
      const [first, second, fraction] = [firsts[x], seconds[x], fractions[x]];
      const upper = pixels[above + first] + (((pixels[above + second] - pixels[above + first]) * fraction) >> 8);
      const lower = pixels[below + first] + (((pixels[below + second] - pixels[below + first]) * fraction) >> 8);
      out[offset + x] = upper + (((lower - upper) * weight) >> 8);
    }
  }
}

/** For each screen pixel along one axis the two pixels around it, and the second one's weight of 256. */
function interpolation(start, step, count, size) {
  const [firsts, seconds, weights] = [new Int32Array(count), new Int32Array(count), new Int32Array(count)];
  for (let index = 0; index < count; index += 1) {
    const position = Math.min(size - 1, Math.max(0, start + (index + 0.5) * step - 0.5));
    firsts[index] = Math.floor(position);
    seconds[index] = Math.min(size - 1, firsts[index] + 1);
    weights[index] = (position - firsts[index]) * 256;
  }
  return [firsts, seconds, weights];
}

/**
 * Bytes of the view (labels, or a probability map) without interpolation, for a rectangle of the screen with `margin`
 * pixels around the whole screen; the image's border pixels continue beyond it.
 */
export function sampleBytes(image, view, screen, margin, rect, out) {
  const columns = new Int32Array(screen.width + 2 * margin);
  for (let x = 0; x < columns.length; x += 1) {
    const column = Math.floor(view.left + (x - margin + 0.5) / view.scale);
    columns[x] = Math.min(image.width - 1, Math.max(0, column));
  }
  for (let y = rect.top; y < rect.bottom + 2 * margin; y += 1) {
    const row = Math.floor(view.top + (y - margin + 0.5) / view.scale);
    const source = Math.min(image.height - 1, Math.max(0, row)) * image.width;
    const target = y * columns.length;
    for (let x = rect.left; x < rect.right + 2 * margin; x += 1) out[target + x] = image.bytes[source + columns[x]];
  }
}

/** Colours by label and display value, RGBA in one number: index (label << 8) | grey. */
export function tintTable(opacity) {
  const table = new Uint32Array(3 * 256);
  for (let grey = 0; grey < 256; grey += 1) {
    table[grey] = rgba(grey, grey, grey);
    for (const label of [RIGHT, LEFT]) table[(label << 8) | grey] = blend(grey, COLOURS[label], opacity);
  }
  return table;
}

/** Colours by probability (0 to 255) and display value: index (probability << 8) | grey. */
export function probabilityTable() {
  const table = new Uint32Array(256 * 256);
  for (let index = 0; index < table.length; index += 1) {
    table[index] = blend(index & 255, PROBABILITY_COLOUR, (PROBABILITY_OPACITY * (index >> 8)) / 255);
  }
  return table;
}

/**
 * Paint a rectangle of the screen.
 *
 * @param frame { screen, margin, grey, labels, probability (or null), shown: the part of the screen that the film covers }
 * @param style { grey: windowTable, tint: tintTable, probability: probabilityTable, contour: width in pixels, 0 for none }
 * @param out Uint32Array over the screen, RGBA.
 */
export function paint(frame, style, rect, out) {
  const { screen, margin, labels, shown } = frame;
  const stride = screen.width + 2 * margin;
  const left = Math.max(rect.left, shown.left);
  const right = Math.max(left, Math.min(rect.right, shown.right));
  for (let y = rect.top; y < rect.bottom; y += 1) {
    const offset = y * screen.width;
    if (y < shown.top || y >= shown.bottom) {
      out.fill(0, offset + rect.left, offset + rect.right);
      continue;
    }
    out.fill(0, offset + rect.left, offset + left);
    out.fill(0, offset + right, offset + rect.right);
    const shift = (y + margin) * stride + margin - offset; // from an index of the screen to one of the labels
    paintRow(frame, style, offset + left, offset + right, shift, out);
    if (style.contour) drawEdges(labels, offset + left, offset + right, shift, style.contour, stride, out);
  }
}

function paintRow({ grey, labels, probability }, style, start, end, shift, out) {
  const [shade, tint] = [style.grey, probability ? style.probability : style.tint];
  const tinted = probability ?? labels;
  for (let index = start; index < end; index += 1) out[index] = tint[(tinted[index + shift] << 8) | shade[grey[index]]];
}

function drawEdges(labels, start, end, shift, reach, stride, out) {
  const below = reach * stride;
  for (let index = start; index < end; index += 1) {
    const at = index + shift;
    const label = labels[at];
    if (label === 0) continue;
    const isInside =
      labels[at - reach] === label && labels[at + reach] === label && labels[at - below] === label && labels[at + below] === label;
    if (!isInside) out[index] = SOLID[label];
  }
}

function blend(grey, colour, opacity) {
  return rgba(...colour.map((channel) => Math.round(grey * (1 - opacity) + channel * opacity)));
}

function rgba(red, green, blue) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0; // little-endian, as all processors of browsers
}
