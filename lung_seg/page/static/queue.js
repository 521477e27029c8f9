/** The strip of films: thumbnails with state and quality, the least trustworthy first. */

import { byId, element } from "./dom.js";

export const STATES = {
  waiting: "Waiting",
  new: "New",
  warned: "Warning",
  looked: "Looked at",
  corrected: "Corrected",
  refused: "Refused",
};
const DONE = ["looked", "corrected"];

export class Queue {
  constructor(onChoose) {
    Object.assign(this, { onChoose, films: new Map(), items: new Map(), current: null });
    this.list = byId("queue").querySelector("ol");
  }

  /** All films, in the order of review. */
  show(films) {
    this.films = new Map(films.map((film) => [film.id, film]));
    this.items.clear();
    this.list.replaceChildren(...films.map((film) => this.#item(film)));
    this.choose(this.current);
    this.#showProgress();
  }

  /** A film has changed, or is new. */
  update(film) {
    const isNew = !this.films.has(film.id);
    this.films.set(film.id, { ...this.films.get(film.id), ...film });
    const old = this.items.get(film.id);
    const item = this.#item(this.films.get(film.id));
    if (isNew) this.list.append(item);
    else old.replaceWith(item);
    if (film.id === this.current) this.choose(film.id);
    this.#showProgress();
  }

  choose(id) {
    this.current = id;
    for (const [each, item] of this.items) {
      item.firstChild.toggleAttribute("aria-current", each === id);
      if (each === id) {
        item.firstChild.setAttribute("aria-current", "true");
        item.scrollIntoView({ block: "nearest" });
      }
    }
  }

  /** Id of the film `step` places after the current one, null beyond the ends. */
  neighbour(step) {
    const ids = [...this.items.keys()];
    return ids[ids.indexOf(this.current) + step] ?? null;
  }

  /** Id of the next film that nobody has looked at, beginning after the current one; null if there is none. */
  nextUnseen() {
    const films = [...this.films.values()];
    const start = films.findIndex(({ id }) => id === this.current) + 1;
    const rest = [...films.slice(start), ...films.slice(0, start)];
    return rest.find(({ id, state }) => ["new", "warned"].includes(state) && id !== this.current)?.id ?? null;
  }

  #item(film) {
    const { id, name, state, quality } = film;
    const words = [element("b", { textContent: name, title: name }), element("span", { className: "state", textContent: STATES[state] })];
    if (quality !== null && quality !== undefined) {
      words.push(element("span", { className: "quality", textContent: quality.toFixed(2), title: "Quality, of 1" }));
    }
    const picture =
      state === "refused"
        ? element("span", { className: "nothing", textContent: "✕", attributes: { "aria-hidden": "true" } })
        : element("img", { loading: "lazy", alt: "", src: `/api/films/${id}/thumbnail` });
    const button = element("button", { type: "button", onclick: () => this.onChoose(id) }, picture, element("span", {}, ...words));
    const item = element("li", {}, button);
    item.dataset.state = state;
    item.dataset.id = id;
    this.items.set(id, item);
    return item;
  }

  #showProgress() {
    const states = [...this.films.values()].map(({ state }) => state);
    const count = (...wanted) => states.filter((state) => wanted.includes(state)).length;
    const [waiting, refused] = [count("waiting"), count("refused")];
    const parts = states.length ? [`${count(...DONE)} of ${states.length - refused} looked at`] : [];
    if (waiting) parts.push(`${waiting} waiting`);
    byId("progress").textContent = parts.join(" · ");
  }
}
