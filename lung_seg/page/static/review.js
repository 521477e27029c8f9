/** The film in hand: loading it, changing its mask, saving it, and what happens if somebody else saves it too. */

import { Film } from "./film.js";
import { History, Mask } from "./mask.js";
import { Saver } from "./saver.js";

export class Review {
  /**
   * @param on { opened(): a film can be seen; detail(): its facts are known; changed(rect): pixels of its mask changed;
   *   saving(saver, message); error(message) }
   */
  constructor(api, clock, on) {
    Object.assign(this, { api, clock, on, film: null, opened: null, detail: null, timesAsked: 0 });
    this.unsaved = new Map(); // opened films that were left before they were saved
    this.histories = new Map(); // steps of films seen before, which fit as long as their revision is the same
  }

  /** Show a film of the queue; null for none. What was shown before keeps on being saved. */
  async open(film) {
    this.loading?.abort();
    this.#leave();
    Object.assign(this, { film, opened: null, detail: null, loading: new AbortController() });
    this.on.opened();
    if (!film || film.state === "waiting" || film.state === "refused") return;
    const { signal } = this.loading;
    try {
      const facts = this.refreshDetail(signal); // shown when they come; the film does not wait for them
      facts.catch(() => {}); // awaited below, unless the film itself fails first
      const opened = this.unsaved.get(film.id) ?? (await this.#load(film.id, signal));
      if (signal.aborted) return;
      this.opened = opened;
      this.clock.touch();
      this.clock.take();
      this.on.opened();
      this.on.saving(opened.saver, "");
      await facts;
    } catch (error) {
      if (error.name !== "AbortError") this.on.error(error.message);
    }
  }

  /** Load the facts of the film again, as after a change of its mask. */
  async refreshDetail(signal = this.loading.signal) {
    const { film } = this;
    const asked = ++this.timesAsked;
    const detail = await this.api.film(film.id, { signal });
    if (this.film?.id !== film.id || asked !== this.timesAsked) return; // an earlier answer may come after a later one
    detail.header ??= this.detail?.header; // what was asked for stays until another film is opened
    this.detail = detail;
    this.on.detail();
  }

  async #load(id, signal) {
    const [image, saved] = await Promise.all([this.api.pixels(id, { signal }), this.api.mask(id, "current", { signal })]);
    const film = new Film(image.width, image.height, image.pixels, image.low, image.high);
    const mask = new Mask(image.width, image.height, saved.bytes);
    const steps = this.histories.get(id);
    const isSame = steps?.revision === saved.revision;
    const history = isSame ? new History(mask, steps.done, steps.undone) : new History(mask);
    const opened = { id, image: film, mask, history };
    opened.saver = new Saver(this.api, id, mask, saved.revision, () => this.clock.take(), (saver, message) => this.#savingChanged(opened, saver, message));
    return opened;
  }

  #leave() {
    if (!this.opened) return;
    const { id, history, saver } = this.opened;
    this.histories.set(id, { done: history.done, undone: history.undone, revision: saver.revision });
  }

  #savingChanged(opened, saver, message) {
    if (saver.isSaved) this.unsaved.delete(opened.id);
    else this.unsaved.set(opened.id, opened);
    if (this.opened !== opened) {
      const steps = this.histories.get(opened.id);
      if (steps) steps.revision = saver.revision;
    } else if (saver.isSaved) {
      this.refreshDetail().catch(() => {}); // the server has just answered; the next save tries again
    }
    this.on.saving(saver, message);
  }

  /** Whether anything is not saved yet. */
  get hasUnsaved() {
    return this.unsaved.size > 0;
  }

  /** Make a step of what changed inside the rectangle, show it and save it. */
  record(rect) {
    const { history, saver } = this.opened;
    const changed = history.record(rect);
    this.on.changed(rect);
    if (changed) saver.changed();
    return changed !== null;
  }

  /** Change the mask by a function that returns the rectangle it changed; returns whether any pixel did. */
  change(operation) {
    return Boolean(this.opened) && this.record(operation(this.opened.mask));
  }

  undo() {
    return this.#step("undo");
  }

  redo() {
    return this.#step("redo");
  }

  #step(direction) {
    const rect = this.opened?.history[direction]();
    if (!rect) return false;
    this.on.changed(rect);
    this.opened.saver.changed();
    return true;
  }

  /** Go back to the network's mask, as a step that can be undone. */
  async useNetworkMask() {
    const { opened } = this;
    const { bytes } = await this.api.mask(opened.id, "network");
    if (this.opened !== opened) return;
    if (this.change((mask) => replace(mask, bytes))) return;
    const film = await this.api.json("DELETE", `/api/films/${opened.id}/mask`);
    opened.saver.discard(String(film.revision));
  }

  /** Show the mask that was saved elsewhere instead of this one, as a step that can be undone. */
  async useTheirs(opened = this.opened) {
    const { bytes, revision } = await this.api.mask(opened.id);
    const rect = replace(opened.mask, bytes);
    opened.history.record(rect);
    opened.saver.discard(revision);
    if (this.opened === opened) this.on.changed(rect);
  }

  /** The server says that a film was saved: by this page, or elsewhere. Returns true if the mask shown is an older one. */
  isOutdated(film) {
    if (this.opened?.id !== film.id) return false;
    const { saver } = this.opened;
    return saver.isSaved && String(film.revision) !== saver.revision;
  }
}

function replace(mask, bytes) {
  mask.bytes.set(bytes);
  return mask.whole;
}
