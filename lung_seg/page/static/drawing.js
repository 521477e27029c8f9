/** The tools that change the mask: what a stroke of each does to its pixels. */

import { drawSegment } from "./brush.js";
import { deleteComponent, nearestSide } from "./components.js";
import { BACKGROUND, LEFT, RIGHT, union } from "./mask.js";
import { fillPolygon } from "./polygon.js";

export const TOOLS = [
  { id: "move", name: "Move", key: "V", hint: "Drag moves the film, the wheel zooms." },
  { id: "window", name: "Window", key: "W", hint: "Drag up for brighter, right for less contrast. So does the right mouse button with any tool." },
  { id: "brush", name: "Brush", key: "B", hint: "" },
  { id: "eraser", name: "Eraser", key: "E", hint: "Takes away what it touches." },
  { id: "polygon", name: "Polygon", key: "P", hint: "Click corners; Enter or the first corner closes." },
  { id: "lasso", name: "Lasso", key: "L", hint: "Drag around an area." },
  { id: "delete", name: "Delete part", key: "D", hint: "Click a part of the mask to delete it." },
];

const SIDES = { right: RIGHT, left: LEFT };
const CLOSING_CSS_PX = 12; // this close to the first corner, a click closes the polygon

export class Drawing {
  /**
   * @param options { tool, size, side: "nearest" | "right" | "left", mode: "add" | "remove" }, changed by others.
   * @param on { changed(rect): show these pixels; done(rect): the stroke is complete; path(points): an outline in hand }
   */
  constructor(options, on) {
    Object.assign(this, { options, on, mask: null, history: null, rect: null, points: [], isDrawing: false });
  }

  open(mask, history) {
    this.cancel();
    Object.assign(this, { mask, history });
  }

  get isOutline() {
    return this.options.tool === "polygon" || this.options.tool === "lasso";
  }

  /** Whether a polygon's corners are in hand, between clicks. */
  get hasCorners() {
    return this.options.tool === "polygon" && this.points.length > 0;
  }

  /** Label that a stroke from a point on sets. `isReversed`: the eraser's end of a pen, or Alt held. */
  labelAt(point, isReversed = false) {
    const { tool, side, mode } = this.options;
    const removes = tool === "eraser" || (this.isOutline && mode === "remove");
    if (removes !== isReversed) return BACKGROUND;
    return SIDES[side] ?? nearestSide(this.mask, point.x, point.y);
  }

  /** Begin a stroke at a point of the film; `zoom` is the number of CSS pixels to one of its pixels. */
  begin(point, isReversed, zoom) {
    const { tool } = this.options;
    if (tool === "delete") {
      this.#finish(deleteComponent(this.mask, point.x, point.y));
      return;
    }
    const closes = this.hasCorners && this.#distance(point, this.points[0]) * zoom < CLOSING_CSS_PX;
    if (closes && this.points.length > 2) {
      this.close();
      return;
    }
    if (!this.hasCorners) this.label = this.labelAt(point, isReversed);
    this.isDrawing = true;
    this.points.push(point);
    if (this.isOutline) this.on.path(this.points);
    else this.#draw(point, point);
  }

  extend(points) {
    if (!this.isDrawing || this.options.tool === "polygon") return;
    for (const point of points) {
      if (!this.isOutline) this.#draw(this.points.at(-1), point);
      this.points.push(point);
    }
    if (this.isOutline) this.on.path(this.points);
  }

  end() {
    if (!this.isDrawing) return;
    this.isDrawing = false;
    if (this.options.tool === "polygon") return; // the next click is the next corner
    if (this.options.tool === "lasso") this.close();
    else this.#finish(this.rect);
  }

  /** Close the polygon or lasso, and fill it. */
  close() {
    const rect = fillPolygon(this.mask, this.points, this.label, this.#replaces);
    this.#finish(rect);
  }

  /** Forget the stroke in hand; the mask is as before it. */
  cancel() {
    if (this.rect && this.isDrawing) {
      this.history.revert(this.rect);
      this.on.changed(this.rect);
    }
    this.#clear();
  }

  /** Take back the last corner of a polygon. */
  removeCorner() {
    this.points.pop();
    this.on.path(this.points);
  }

  /** A lung that was chosen replaces the other one; the nearest only grows into background. */
  get #replaces() {
    return this.options.side !== "nearest";
  }

  #draw(from, to) {
    const rect = drawSegment(this.mask, from, to, this.options.size / 2, this.label, this.#replaces);
    if (!rect) return;
    this.rect = union(this.rect, rect);
    this.on.changed(rect);
  }

  #finish(rect) {
    this.#clear();
    if (rect) this.on.done(rect);
  }

  #clear() {
    Object.assign(this, { rect: null, points: [], isDrawing: false });
    this.on.path([]);
  }

  #distance(a, b) {
    return Math.hypot(a.x - b.x, a.y - b.y);
  }
}
