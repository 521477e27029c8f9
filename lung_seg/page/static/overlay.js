/** What is drawn above the film and is no part of it: the brush's ring, an outline in hand, the keyboard's cross. */

import { byId } from "./dom.js";
import { BACKGROUND, LEFT, RIGHT } from "./mask.js";

const CLASSES = { [BACKGROUND]: "erases", [RIGHT]: "right", [LEFT]: "left" };
const CROSS = "M-14 0H-4M4 0H14M0 -14V-4M0 4V14";

export class Overlay {
  constructor(viewer) {
    Object.assign(this, { viewer, points: [], pointer: null });
    byId("cross").setAttribute("d", CROSS);
  }

  /** The brush at a point, null to hide it: its radius in the film's pixels, 0 for a tool without size. */
  showPointer(pointer) {
    this.pointer = pointer;
    this.draw();
  }

  showPath(points) {
    this.points = points;
    this.draw();
  }

  draw() {
    this.#drawPath();
    const { pointer } = this;
    const isRing = Boolean(pointer?.radius);
    for (const id of ["ring", "ring-shadow"]) byId(id).toggleAttribute("hidden", !isRing);
    byId("cross").toggleAttribute("hidden", !pointer?.isKeyboard);
    if (!pointer) return;
    const { x, y } = this.viewer.toCanvas(pointer.point);
    byId("cross").setAttribute("transform", `translate(${x} ${y})`);
    byId("ring").setAttribute("class", CLASSES[pointer.label]);
    for (const id of ["ring", "ring-shadow"]) {
      byId(id).setAttribute("cx", x);
      byId(id).setAttribute("cy", y);
      byId(id).setAttribute("r", Math.max(1, pointer.radius * this.viewer.zoom));
    }
  }

  #drawPath() {
    const corners = [...this.points];
    if (corners.length && this.pointer) corners.push(this.pointer.point);
    const text = corners.map((corner) => this.viewer.toCanvas(corner)).map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`);
    for (const id of ["path", "path-shadow"]) byId(id).setAttribute("points", text.join(" "));
  }
}
