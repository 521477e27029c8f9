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
    const items = new Map(films.map((film) => [film.id, this.#fill(this.items.get(film.id) ?? this.#item(film), film)]));
    this.items = items;
    const isSame = this.list.childElementCount === films.length && [...items.values()].every((item, at) => item === this.list.children[at]);
    if (!isSame) this.#place([...items.values()]);
    this.#mark();
    this.#showProgress();
  }

  /** A film has changed, or is new. */
  update(film) {
    const whole = { ...this.films.get(film.id), ...film };
    this.films.set(film.id, whole);
    if (!this.items.has(film.id)) {
      this.items.set(film.id, this.#item(whole));
      this.list.append(this.items.get(film.id));
    }
    this.#fill(this.items.get(film.id), whole);
    this.#showProgress();
  }

  choose(id) {
    this.current = id;
    this.#mark();
    this.items.get(id)?.scrollIntoView({ block: "nearest" });
  }

  #mark() {
    for (const [id, item] of this.items) {
      if (id === this.current) item.firstChild.setAttribute("aria-current", "true");
      else item.firstChild.removeAttribute("aria-current");
    }
  }

  /** Put items in their order; the focus and the place that is scrolled to stay. */
  #place(items) {
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const { scrollTop } = this.list.parentElement;
    this.list.replaceChildren(...items);
    this.list.parentElement.scrollTop = scrollTop;
    focused?.focus({ preventScroll: true });
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

  #item({ id }) {
    const button = element("button", { type: "button", onclick: () => this.onChoose(id) }, element("span"), element("span"));
    return element("li", {}, button);
  }

  /** Show a film in its item; the picture is loaded again only when there is another one to show. */
  #fill(item, { id, name, state, quality }) {
    const [picture, text] = item.firstChild.children;
    const words = [element("b", { textContent: name, title: name }), element("span", { className: "state", textContent: STATES[state] })];
    if (quality !== null && quality !== undefined) {
      words.push(element("span", { className: "quality", textContent: quality.toFixed(2), title: "Quality, of 1" }));
    }
    text.replaceChildren(...words);
    const isKnown = item.dataset.state && item.dataset.state !== "waiting";
    if (!isKnown && item.dataset.state !== state) picture.replaceWith(pictureOf(id, state));
    item.dataset.state = state;
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

function pictureOf(id, state) {
  if (state === "refused") return element("span", { className: "nothing", textContent: "✕", attributes: { "aria-hidden": "true" } });
  return element("img", { loading: "lazy", alt: "", src: `/api/films/${id}/thumbnail` });
}
