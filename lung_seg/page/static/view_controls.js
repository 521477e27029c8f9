/** The controls of the view: zoom, window, contour, opacity, probability. */

import { byId } from "./dom.js";

const WINDOW_STEP = 0.05; // of its width, for each key press
const ZOOM_STEP = 1.25;
const OPACITY_STEP = 10; // percent

export class ViewControls {
  /** Ids of buttons, and their actions. */
  buttons = {
    "zoom-in": "zoomIn", "zoom-out": "zoomOut", fit: "fit", actual: "actual", contour: "contour", probability: "probability",
    invert: "invert", "reset-window": "resetWindow",
  };

  constructor(viewer, toggleProbability) {
    this.viewer = viewer;
    const withFilm = (action) => () => viewer.film && action();
    this.actions = {
      zoomIn: () => viewer.zoomBy(ZOOM_STEP),
      zoomOut: () => viewer.zoomBy(1 / ZOOM_STEP),
      fit: withFilm(() => viewer.fit()),
      actual: withFilm(() => viewer.actualSize()),
      contour: () => this.#toggle("contour", "isContour"),
      invert: () => this.#toggle("invert", "isInverted"),
      lessOpacity: () => this.#setOpacity(Number(byId("opacity").value) - OPACITY_STEP),
      moreOpacity: () => this.#setOpacity(Number(byId("opacity").value) + OPACITY_STEP),
      hideMask: () => viewer.set({ isMaskHidden: true }),
      showMask: () => viewer.set({ isMaskHidden: false }),
      probability: toggleProbability,
      darker: withFilm(() => this.#changeWindow(0, 1)),
      brighter: withFilm(() => this.#changeWindow(0, -1)),
      lessContrast: withFilm(() => this.#changeWindow(1, 0)),
      moreContrast: withFilm(() => this.#changeWindow(-1, 0)),
      resetWindow: withFilm(() => viewer.resetWindow()),
    };
    byId("opacity").addEventListener("input", () => this.#setOpacity(byId("opacity").value));
  }

  /** Another film is shown, without its probability. */
  showFilm() {
    byId("probability").setAttribute("aria-pressed", "false");
  }

  showProbability(bytes) {
    this.viewer.showProbability(bytes);
    byId("probability").setAttribute("aria-pressed", bytes !== null);
  }

  /** The promise, with its button shown as busy until it is settled. */
  busy(id, promise) {
    byId(id).ariaBusy = true;
    return promise.finally(() => (byId(id).ariaBusy = false));
  }

  #toggle(id, name) {
    this.viewer.set({ [name]: !this.viewer[name] });
    byId(id).setAttribute("aria-pressed", this.viewer[name]);
  }

  #setOpacity(percent) {
    byId("opacity").value = percent;
    this.viewer.set({ opacity: byId("opacity").value / 100 });
  }

  /** Wider or brighter by so many steps. */
  #changeWindow(wider, darker) {
    const width = (this.viewer.high - this.viewer.low) * (1 + WINDOW_STEP * wider);
    const centre = (this.viewer.low + this.viewer.high) / 2 + darker * WINDOW_STEP * width;
    this.viewer.setWindow(centre - width / 2, centre + width / 2);
  }
}
