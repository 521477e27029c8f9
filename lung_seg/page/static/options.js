/** The tool in use and its settings, and their controls. */

import { byId, element } from "./dom.js";
import { TOOLS } from "./drawing.js";

const FIRST_SIZE = 0.04; // of the film's shorter side
const LARGEST_SIZE = 0.35;
const STEP = 1.12; // of one key press or notch of the wheel
const SVG = "http://www.w3.org/2000/svg";

export class Options {
  constructor(onChange) {
    Object.assign(this, { onChange, tool: "move", size: 20, largest: 100, side: "nearest", mode: "add" });
    byId("tools").append(...TOOLS.map((tool) => this.#button(tool)));
    byId("size").addEventListener("input", () => this.setSize(this.largest ** (byId("size").value / 100)));
    for (const name of ["mode", "side"]) {
      byId(name).addEventListener("change", (event) => this.set({ [name]: event.target.value }));
    }
    this.#show();
  }

  /** Sizes that suit a film: those of before are kept if they are possible. */
  suit(film) {
    const shorter = Math.min(film.width, film.height);
    this.largest = Math.max(2, Math.round(shorter * LARGEST_SIZE));
    if (this.shorter !== shorter) this.setSize(shorter * FIRST_SIZE);
    this.shorter = shorter;
  }

  set(values) {
    Object.assign(this, values);
    this.#show();
    this.onChange(this);
  }

  /** Diameter of brush and eraser in pixels of the film. */
  setSize(size) {
    this.set({ size: Math.min(this.largest, Math.max(1, Math.round(size))) });
  }

  /** Larger by so many steps, smaller if negative. */
  resize(steps) {
    const wanted = this.size * STEP ** steps;
    this.setSize(Math.round(wanted) === this.size ? this.size + Math.sign(steps) : wanted);
  }

  #button({ id, name, key }) {
    const icon = document.createElementNS(SVG, "svg");
    const use = icon.appendChild(document.createElementNS(SVG, "use"));
    use.setAttribute("href", `#i-${id}`);
    const button = element("button", { type: "button", title: `${name} (${key})` }, icon, element("span", { textContent: name }));
    button.dataset.tool = id;
    button.addEventListener("click", () => this.set({ tool: id }));
    return button;
  }

  #show() {
    for (const button of byId("tools").children) {
      button.setAttribute("aria-pressed", button.dataset.tool === this.tool);
    }
    for (const control of document.querySelectorAll("#options [data-for]")) {
      control.hidden = !control.dataset.for.split(" ").includes(this.tool);
    }
    byId("hint").textContent = TOOLS.find(({ id }) => id === this.tool).hint;
    byId("size").value = (100 * Math.log(this.size)) / Math.log(this.largest);
    byId("size-text").textContent = `${this.size} px`;
    for (const name of ["mode", "side"]) byId(name).querySelector(`[value=${this[name]}]`).checked = true;
  }
}
