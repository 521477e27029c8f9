/** Saving a film's mask by itself: at once after each change, again while the server does not answer. */

import { Unreachable } from "./api.js";

const RETRY_MS = 2000;

const worker = new Worker("/static/compress.js");
const waiting = new Map();
worker.onmessage = ({ data: { id, compressed } }) => {
  waiting.get(id)(compressed);
  waiting.delete(id);
};
let requests = 0;

/** The bytes compressed by gzip; they are copied at once. */
export function compress(bytes) {
  const copy = bytes.slice();
  const id = (requests += 1);
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ id, bytes: copy }, [copy.buffer]);
  });
}

/**
 * States: "saved", "saving", "retrying" (the server does not answer), "conflict" (saved elsewhere meanwhile: overwrite()
 * or discard() decides), "failed" (refused for another reason; the next change tries again).
 */
export class Saver {
  constructor(api, filmId, mask, revision, takeSeconds, onState) {
    Object.assign(this, { api, filmId, mask, revision, takeSeconds, onState, state: "saved", isChanged: false, isBusy: false, seconds: 0 });
  }

  get isSaved() {
    return this.state === "saved";
  }

  /** Save the mask as it is now. */
  changed() {
    this.isChanged = true;
    if (this.state === "conflict") this.onState(this, this.message); // asked again, if the question was put off
    else if (!this.isBusy) this.#save();
  }

  /** After a conflict: replace what was saved elsewhere. */
  overwrite() {
    this.revision = this.theirs;
    this.#save();
  }

  /** After a conflict: the mask that was saved elsewhere has been loaded. */
  discard(revision) {
    this.revision = revision;
    this.isChanged = false;
    this.#enter("saved");
  }

  async #save() {
    clearTimeout(this.timer);
    Object.assign(this, { isChanged: true, isBusy: true });
    if (this.state !== "retrying") this.#enter("saving");
    try {
      while (this.isChanged) {
        this.isChanged = false; // the bytes are copied here; what changes from now on is saved next
        const compressed = await compress(this.mask.bytes);
        this.seconds += this.takeSeconds();
        const film = await this.api.save(this.filmId, compressed, this.revision, this.seconds);
        this.seconds = 0;
        this.revision = String(film.revision);
        this.film = film;
      }
      this.isBusy = false;
      this.#enter("saved");
    } catch (error) {
      Object.assign(this, { isChanged: true, isBusy: false });
      this.#fail(error);
    }
  }

  #fail(error) {
    if (error instanceof Unreachable) {
      this.timer = setTimeout(() => this.#save(), RETRY_MS);
      if (this.state !== "retrying") this.#enter("retrying", error.message);
    } else if (error.status === 409) {
      this.theirs = String(error.body.revision);
      this.#enter("conflict", error.message);
    } else {
      this.#enter("failed", error.message);
    }
  }

  #enter(state, message = "") {
    Object.assign(this, { state, message });
    this.onState(this, message);
  }
}
