/** Drawing with the keyboard alone: a cursor that arrow keys move, and a pen that Space puts down and lifts. */

const STEP_CSS_PX = 10;

export class Cursor {
  /** @param onMove(point | null): where it is now */
  constructor(viewer, drawing, onMove) {
    Object.assign(this, { viewer, drawing, onMove, point: null });
  }

  get isShown() {
    return this.point !== null;
  }

  hide() {
    if (!this.isShown) return;
    if (this.drawing.isDrawing) this.drawing.end();
    this.point = null;
    this.onMove(null);
  }

  /** Move by steps of ten screen pixels, or by single pixels of the film. */
  move(dx, dy, isFine) {
    const { film, zoom } = this.viewer;
    const step = isFine ? 1 : Math.max(1, Math.round(STEP_CSS_PX / zoom));
    const from = this.point ?? { x: Math.floor(film.width / 2) + 0.5, y: Math.floor(film.height / 2) + 0.5 };
    const clamp = (value, size) => Math.min(size - 0.5, Math.max(0.5, value));
    this.point = { x: clamp(from.x + dx * step, film.width), y: clamp(from.y + dy * step, film.height) };
    this.viewer.reveal(this.point);
    this.drawing.extend([this.point]);
    this.onMove(this.point);
  }

  /** Space: begin or end a stroke; a corner of a polygon; delete the part under the cursor. */
  press() {
    if (this.drawing.isDrawing) {
      this.drawing.end();
      return;
    }
    this.drawing.begin(this.point, false, this.viewer.zoom);
    if (this.drawing.options.tool === "polygon") this.drawing.end();
  }
}
