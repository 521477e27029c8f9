/** Requests to the server of this page. */

/** The server refused: `message` says why in words, `status` is HTTP's, `body` what it answered. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.error ?? `The server answered ${status}. Reload the page.`);
    Object.assign(this, { status, body });
  }
}

/** The server did not answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer. Start it again: what is on this page stays here until then.");
  }
}

const KEEPALIVE_BYTES = 60_000; // browsers finish requests of at most 64 KiB after their tab was closed

export class Api {
  /** Begin a session: needed for all that changes something, and anew when the server was started again. */
  async begin() {
    const session = await (await this.request("GET", "/api/session")).json();
    this.session = session.session;
    return session;
  }

  async json(method, path, options) {
    return (await this.request(method, path, options)).json();
  }

  /** Send a request; a body that is neither FormData nor bytes is sent as JSON. */
  async request(method, path, { body, headers = {}, signal } = {}) {
    const isPlain = body !== undefined && !(body instanceof FormData) && !(body instanceof ArrayBuffer);
    const send = () => {
      const options = { method, headers: { ...headers }, signal };
      if (this.session) options.headers["X-Session"] = this.session;
      if (isPlain) options.headers["Content-Type"] = "application/json";
      if (body !== undefined) options.body = isPlain ? JSON.stringify(body) : body;
      if (body instanceof ArrayBuffer) options.keepalive = body.byteLength < KEEPALIVE_BYTES;
      return fetch(path, options).catch((error) => {
        throw error.name === "AbortError" ? error : new Unreachable();
      });
    };
    let response = await send();
    if (response.status === 401 && path !== "/api/session") {
      await this.begin(); // the server was started again meanwhile
      response = await send();
    }
    if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
    return response;
  }

  async film(id, { signal } = {}) {
    return this.json("GET", `/api/films/${id}`, { signal });
  }

  /** { pixels, width, height, low, high } */
  async pixels(id, { signal } = {}) {
    const response = await this.request("GET", `/api/films/${id}/pixels`, { signal });
    const number = (name) => Number(response.headers.get(name));
    const buffer = await response.arrayBuffer();
    const pixels = number("X-Bits") === 8 ? new Uint8Array(buffer) : new Uint16Array(buffer);
    return { pixels, width: number("X-Width"), height: number("X-Height"), low: number("X-Low"), high: number("X-High") };
  }

  /** { bytes, revision } of the mask, `of` "current" or "network". */
  async mask(id, of = "current", { signal } = {}) {
    const response = await this.request("GET", `/api/films/${id}/mask?of=${of}`, { signal });
    return { bytes: new Uint8Array(await response.arrayBuffer()), revision: unquoted(response.headers.get("ETag")) };
  }

  async probability(id) {
    const response = await this.request("GET", `/api/films/${id}/probability`);
    return new Uint8Array(await response.arrayBuffer());
  }

  /** Save a gzip-compressed mask; Refused with status 409 if it was saved elsewhere since `revision`. */
  async save(id, compressed, revision, seconds) {
    return this.json("PUT", `/api/films/${id}/mask?seconds=${seconds.toFixed(1)}`, {
      body: compressed,
      headers: { "If-Match": `"${revision}"`, "Content-Encoding": "gzip", "Content-Type": "application/octet-stream" },
    });
  }

  /** Listen to the server: `handlers` by the name of the event, and `connected(isConnected)`. */
  listen(handlers) {
    const source = new EventSource("/api/events");
    source.addEventListener("open", () => handlers.connected(true));
    source.addEventListener("error", () => {
      handlers.connected(false);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.listen(handlers), 2000);
    });
    for (const name of ["film", "learning", "message"]) {
      source.addEventListener(name, (event) => event.data && handlers[name](JSON.parse(event.data)));
    }
  }
}

function unquoted(tag) {
  return (tag ?? "").replace(/^W\//, "").replaceAll('"', "");
}
