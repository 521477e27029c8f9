/**
 * Mouse, stylus and fingers on the film.
 *
 * The left button, the pen or one finger use the tool; the middle button, or Space held, moves; the right one changes
 * brightness and contrast; the wheel zooms, with Shift it sizes the brush; two fingers zoom and move. Once a pen was
 * used, a single finger moves the film, so that the hand that rests on the screen draws nothing.
 */

const WHEEL_ZOOM = 0.0015; // of e, for each unit of the wheel
const WINDOW_DRAG_PX = 400; // dragging so far doubles the width of the window

export class Gestures {
  /** @param on { hover(point, event), resize(steps), clock() } */
  constructor(target, viewer, drawing, options, on) {
    Object.assign(this, { target, viewer, drawing, options, on, pointers: new Map(), drag: null, hasPen: false, isSpaceHeld: false });
    target.addEventListener("pointerdown", (event) => this.#down(event));
    target.addEventListener("pointermove", (event) => this.#move(event));
    target.addEventListener("pointerup", (event) => this.#up(event));
    target.addEventListener("pointercancel", (event) => this.#cancel(event));
    target.addEventListener("pointerleave", () => this.on.hover(null));
    target.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    target.addEventListener("contextmenu", (event) => event.preventDefault());
    target.addEventListener("dblclick", () => this.drawing.hasCorners && this.drawing.close());
  }

  #down(event) {
    if (!this.viewer.film) return;
    event.preventDefault();
    this.target.focus({ preventScroll: true });
    this.target.setPointerCapture(event.pointerId);
    this.hasPen ||= event.pointerType === "pen";
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      this.drawing.cancel();
      this.drag = "pinch";
    } else if (this.pointers.size === 1) {
      this.drag = this.#dragOf(event);
      if (this.drag === "tool") this.drawing.begin(this.viewer.toFilm(event), isReversed(event), this.viewer.zoom);
    }
    this.on.hover(this.viewer.toFilm(event), event);
  }

  #dragOf(event) {
    if (event.button === 2) return "window";
    if (event.button === 1 || this.isSpaceHeld || (event.pointerType === "touch" && this.hasPen)) return "move";
    const { tool } = this.options;
    return tool === "move" || tool === "window" ? tool : "tool";
  }

  #move(event) {
    if (!this.viewer.film) return;
    const before = this.pointers.get(event.pointerId);
    this.on.hover(this.viewer.toFilm(event), event);
    if (!before) return;
    this.on.clock();
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (this.drag === "pinch") this.#pinch(event);
    this.pointers.set(event.pointerId, event);
    if (this.drag === "move") this.viewer.panBy(dx, dy);
    if (this.drag === "window") this.#changeWindow(dx, dy);
    if (this.drag === "tool") this.drawing.extend(allOf(event).map((each) => this.viewer.toFilm(each)));
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.drag === "tool") this.drawing.end();
    if (this.pointers.size === 0) this.drag = null;
    else this.drag = "move"; // one of two fingers was lifted
    this.on.clock();
    if (event.pointerType === "touch") this.on.hover(null);
  }

  #cancel(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    this.drawing.cancel();
    if (this.pointers.size === 0) this.drag = null;
  }

  /** Zoom by the change of distance between two fingers, and move with the middle of them. */
  #pinch(event) {
    const other = [...this.pointers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    const before = this.pointers.get(event.pointerId);
    const distance = (a) => Math.max(1, Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY));
    const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
    this.viewer.panBy((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
    this.viewer.zoomBy(distance(event) / distance(before), middle);
  }

  #changeWindow(dx, dy) {
    const { low, high } = this.viewer;
    const width = (high - low) * 2 ** (dx / WINDOW_DRAG_PX);
    const centre = (low + high) / 2 + (dy / WINDOW_DRAG_PX) * (high - low);
    this.viewer.setWindow(centre - width / 2, centre + width / 2);
  }

  #wheel(event) {
    event.preventDefault();
    const amount = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? 20 : 1);
    if (event.shiftKey) this.on.resize(-Math.sign(amount));
    else this.viewer.zoomBy(Math.exp(-amount * WHEEL_ZOOM * (event.ctrlKey ? 5 : 1)), event);
  }
}

function isReversed(event) {
  return event.altKey || (event.buttons & 32) !== 0; // 32: the eraser at the end of a pen
}

/** The event with those of its frame that browsers put together, so that a fast stroke keeps its corners. */
function allOf(event) {
  const events = event.getCoalescedEvents?.() ?? [];
  return events.length ? events : [event];
}
