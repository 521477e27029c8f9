/** The film on the screen: zoom, pan, window and level, contour and tint. Only what changed is painted. */

import { windowTable } from "./film.js";
import { union } from "./mask.js";
import { paint, probabilityTable, sampleBytes, sampleFilm, tintTable } from "./raster.js";

const MOST_ZOOM = 32; // screen pixels to a pixel of the film
const LEAST_ZOOM = 0.5; // of the zoom at which the film fits
const MARGIN = 6; // labels around the screen: more than the widest contour
const CONTOUR_CSS_PX = 1.6;

export class Viewer {
  constructor(canvas, onView) {
    Object.assign(this, { canvas, onView, film: null, mask: null, probability: null });
    Object.assign(this, { isContour: true, opacity: 0.25, isInverted: false, isFitted: true, isMaskHidden: false });
    this.context = canvas.getContext("2d");
    this.view = { left: 0, top: 0, scale: 1 };
    this.tables = { probability: null };
    new ResizeObserver(() => this.#resize()).observe(canvas.parentElement);
  }

  /** Show a film and its mask; null clears the screen. */
  show(film, mask) {
    Object.assign(this, { film, mask, probability: null });
    if (film) {
      this.resetWindow();
      this.#resize();
      this.fit();
    } else {
      this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    }
  }

  /** Show a probability map (bytes of the film's size), or the mask again (null). */
  showProbability(bytes) {
    this.probability = bytes && { bytes, width: this.film.width, height: this.film.height };
    this.restyle();
  }

  resetWindow() {
    this.setWindow(this.film.low, this.film.high);
  }

  /** Show grey values from `low` (black) to `high` (white); the film itself is not changed. */
  setWindow(low, high) {
    const width = Math.max(1, high - low);
    const centre = Math.min(this.film.largest, Math.max(0, (low + high) / 2));
    Object.assign(this, { low: centre - width / 2, high: centre + width / 2 });
    this.restyle();
  }

  set(style) {
    Object.assign(this, style);
    this.restyle();
  }

  /** From a pointer event to the film's coordinates; the first pixel spans 0 to 1. */
  toFilm({ clientX, clientY }) {
    const bounds = this.canvas.getBoundingClientRect();
    const { left, top, scale } = this.view;
    return {
      x: left + ((clientX - bounds.left) * this.ratio) / scale,
      y: top + ((clientY - bounds.top) * this.ratio) / scale,
    };
  }

  /** From the film's coordinates to CSS pixels of the canvas. */
  toCanvas({ x, y }) {
    const { left, top, scale } = this.view;
    return { x: ((x - left) * scale) / this.ratio, y: ((y - top) * scale) / this.ratio };
  }

  /** Screen pixels of CSS to one pixel of the film. */
  get zoom() {
    return this.view.scale / this.ratio;
  }

  fit() {
    const { film, canvas } = this;
    const scale = Math.min(canvas.width / film.width, canvas.height / film.height);
    this.#moveTo(film.width / 2, film.height / 2, scale);
    this.isFitted = true;
  }

  /** One pixel of the film to each CSS pixel, around the middle of the screen; its corner falls on a whole pixel. */
  actualSize() {
    const centre = this.#centre();
    this.#moveTo(centre.x, centre.y, this.ratio);
    this.view.left = Math.round(this.view.left);
    this.view.top = Math.round(this.view.top);
    this.#moved();
  }

  /** Zoom by a factor; the point of the film under the event (or in the middle) stays where it is. */
  zoomBy(factor, event) {
    if (!this.film) return;
    const anchor = event ? this.toFilm(event) : this.#centre();
    const { view } = this;
    const scale = this.#clamped(view.scale * factor);
    view.left = anchor.x - ((anchor.x - view.left) * view.scale) / scale;
    view.top = anchor.y - ((anchor.y - view.top) * view.scale) / scale;
    view.scale = scale;
    this.#moved();
  }

  /** Move the film by CSS pixels. */
  panBy(dx, dy) {
    this.view.left -= (dx * this.ratio) / this.view.scale;
    this.view.top -= (dy * this.ratio) / this.view.scale;
    this.#moved();
  }

  /** Bring a point of the film into view. */
  reveal(point) {
    const { x, y } = this.toCanvas(point);
    const [width, height] = [this.canvas.width / this.ratio, this.canvas.height / this.ratio];
    const edge = 24;
    const beyond = (at, size) => Math.min(0, at - edge) + Math.max(0, at - size + edge);
    if (beyond(x, width) || beyond(y, height)) this.panBy(-beyond(x, width), -beyond(y, height));
  }

  /** The mask's pixels inside a rectangle of the film have changed. */
  maskChanged(rect) {
    this.dirty = union(this.dirty, rect);
    this.#schedule();
  }

  restyle() {
    this.isStale = true;
    this.#schedule();
  }

  #clamped(scale) {
    const fitting = Math.min(this.canvas.width / this.film.width, this.canvas.height / this.film.height);
    return Math.min(MOST_ZOOM * this.ratio, Math.max(LEAST_ZOOM * fitting, scale));
  }

  #centre() {
    const { left, top, scale } = this.view;
    return { x: left + this.canvas.width / 2 / scale, y: top + this.canvas.height / 2 / scale };
  }

  #moveTo(x, y, scale) {
    this.view = { left: x - this.canvas.width / 2 / scale, top: y - this.canvas.height / 2 / scale, scale };
    this.#moved();
  }

  #moved() {
    this.isFitted = false;
    // The middle of the screen stays on the film, so that nobody loses it.
    const centre = this.#centre();
    this.view.left += Math.min(this.film.width, Math.max(0, centre.x)) - centre.x;
    this.view.top += Math.min(this.film.height, Math.max(0, centre.y)) - centre.y;
    this.isMoved = true;
    this.#schedule();
    this.onView();
  }

  #resize() {
    const { canvas } = this;
    const centre = this.film && this.#centre();
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    const { clientWidth, clientHeight } = canvas.parentElement;
    canvas.width = Math.max(1, Math.round(clientWidth * this.ratio));
    canvas.height = Math.max(1, Math.round(clientHeight * this.ratio));
    const { width, height } = canvas;
    this.image = this.context.createImageData(width, height);
    this.screen = { width, height };
    this.frame = {
      screen: this.screen,
      margin: MARGIN,
      grey: new Uint16Array(width * height),
      labels: new Uint8Array((width + 2 * MARGIN) * (height + 2 * MARGIN)),
      probability: null,
    };
    this.out = new Uint32Array(this.image.data.buffer);
    if (!this.film) return;
    if (this.isFitted) this.fit();
    else this.#moveTo(centre.x, centre.y, this.view.scale);
    this.#draw(); // at once: a canvas of a new size is empty
  }

  #schedule() {
    if (!this.film || this.request) return;
    this.request = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.request);
    this.request = null;
    const { frame, screen, view, film } = this;
    if (!film) return;
    const whole = { left: 0, top: 0, right: screen.width, bottom: screen.height };
    const isWhole = this.isMoved || this.isStale;
    const rect = isWhole ? whole : this.#onScreen(this.dirty);
    if (this.isMoved) {
      sampleFilm(film, view, screen, frame.grey);
      frame.shown = this.#onScreen({ left: 0, top: 0, right: film.width, bottom: film.height }, 0);
    }
    if (isWhole) this.#prepareStyle();
    sampleBytes(this.mask, view, screen, MARGIN, rect, frame.labels);
    if (this.isMaskHidden) frame.labels.fill(0);
    if (isWhole) this.#sampleProbability(whole);
    paint(frame, this.style, rect, this.out);
    this.context.putImageData(this.image, 0, 0, rect.left, rect.top, rect.right - rect.left, rect.bottom - rect.top);
    Object.assign(this, { dirty: null, isMoved: false, isStale: false });
  }

  #prepareStyle() {
    const { film, tables } = this;
    if (this.probability) tables.probability ??= probabilityTable();
    this.style = {
      grey: windowTable(film.largest, this.low, this.high, this.isInverted),
      tint: tintTable(this.opacity),
      probability: tables.probability,
      contour: this.isContour ? Math.max(1, Math.round(CONTOUR_CSS_PX * this.ratio)) : 0,
    };
  }

  #sampleProbability(whole) {
    if (!this.probability) {
      this.frame.probability = null;
      return;
    }
    this.frame.probability = new Uint8Array(this.frame.labels.length);
    sampleBytes(this.probability, this.view, this.screen, MARGIN, whole, this.frame.probability);
  }

  /** The part of the screen, in its own pixels, that a rectangle of the film covers, with room for the contour around it. */
  #onScreen(rect, around = MARGIN) {
    const { view, screen } = this;
    const clamp = (value, size) => Math.min(size, Math.max(0, value));
    const place = (value, start) => (value - start) * view.scale;
    const left = clamp(Math.round(place(rect.left, view.left)) - around, screen.width);
    const top = clamp(Math.round(place(rect.top, view.top)) - around, screen.height);
    return {
      left,
      top,
      right: Math.max(left, clamp(Math.round(place(rect.right, view.left)) + around, screen.width)),
      bottom: Math.max(top, clamp(Math.round(place(rect.bottom, view.top)) + around, screen.height)),
    };
  }
}
