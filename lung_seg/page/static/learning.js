/** The dialog of learning from corrections: start, progress, the curve, old and new network side by side. */

import { chart } from "./chart.js";
import { byId, element, showDialog } from "./dom.js";
import { showNetwork } from "./messages.js";

export class Learning {
  constructor(api, session, countCorrected) {
    Object.assign(this, { api, session, countCorrected, learning: { state: "idle" }, mix: "phantom", folder: "", epochs: "" });
    byId("open-learning").addEventListener("click", () => this.open());
  }

  /** What the server says of it. */
  update(learning) {
    this.learning = learning;
    const { state, epoch, epochs } = learning;
    const button = byId("open-learning");
    button.textContent = { running: `Learning ${Math.round((100 * epoch) / epochs) || 0} %`, finished: "Learned" }[state] ?? "Learn";
    button.toggleAttribute("data-busy", state === "running");
    if (byId("learning").open) this.open();
  }

  open() {
    const body = { idle: [], running: this.#progress(), finished: this.#result() }[this.learning.state] ?? this.#ended();
    const form = this.learning.state === "running" ? [] : [this.#form()];
    showDialog("learning", "Learn from the corrections", ...body, ...form);
  }

  #form() {
    const count = this.countCorrected();
    const words = count
      ? `The network learns from ${count} corrected ${count === 1 ? "film" : "films"} in ${this.session.corrections}. ` +
        "Some of them are put aside, to compare the old and the new network on; nothing is replaced before you say so."
      : "No film is corrected yet. Correct masks first; the more films, the more there is to learn.";
    const choice = (value, text) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name: "mix", value, checked: this.mix === value, onchange: () => (this.mix = value) }),
        ` ${text}`,
      );
    const folder = element("input", {
      type: "text", placeholder: "folder with images/ and masks/", value: this.folder, attributes: { "aria-label": "Folder of your own set" },
      oninput: ({ target }) => {
        [this.folder, this.mix] = [target.value, "folder"];
        byId("learning").querySelector("[value=folder]").checked = true;
      },
    });
    const epochs = element("input", {
      type: "number", min: 1, max: 1000, value: this.epochs, placeholder: "default", oninput: ({ target }) => (this.epochs = target.value),
    });
    const start = element("button", { type: "submit", className: "primary", textContent: "Start learning", disabled: !count });
    return element(
      "form",
      { onsubmit: (event) => this.#start(event) },
      element("p", { textContent: words }),
      element(
        "fieldset",
        {},
        element("legend", { textContent: "So that it does not forget, mix them with" }),
        choice("phantom", "generated radiographs"),
        element("div", { className: "row" }, choice("folder", "your own set:"), folder),
      ),
      element("label", { className: "row" }, "Epochs ", epochs),
      start,
    );
  }

  async #start(event) {
    event.preventDefault();
    const mix = this.mix === "folder" ? this.folder : this.mix;
    const started = await this.#send("POST", "/api/learning", { mix, epochs: this.epochs ? Number(this.epochs) : null });
    if (started) this.update(started);
  }

  async #use(path) {
    const answer = await this.#send("POST", path);
    if (answer) showNetwork(answer.network);
    if (answer) this.#say("good", `The network ${answer.network.name} (${answer.network.hash.slice(0, 8)}) is used from now on. Films that nobody corrected get new masks.`);
  }

  async #send(method, path, body) {
    try {
      return await this.api.json(method, path, { body });
    } catch (error) {
      this.#say("error", error.message);
      return null;
    }
  }

  #say(kind, text) {
    const content = byId("learning").querySelector(".content");
    content.querySelector("[role=alert]")?.remove();
    content.prepend(element("p", { className: `card ${kind}`, role: "alert", textContent: text }));
  }

  #progress() {
    const { epoch, epochs, remaining_s: remaining, message, curve = [] } = this.learning;
    const bar = element("progress", { max: epochs || 1, attributes: { "aria-label": "Progress" } });
    if (epochs) bar.value = epoch;
    const words = [epochs ? `Epoch ${epoch} of ${epochs}` : "", duration(remaining), message].filter(Boolean).join(" · ");
    return [
      bar,
      element("p", { textContent: words }),
      ...chart(curve),
      element("p", { className: "muted", textContent: "You can go on correcting meanwhile; the page is slower." }),
      element("button", { type: "button", textContent: "Stop", onclick: () => this.#send("DELETE", "/api/learning") }),
    ];
  }

  #ended() {
    const { state, message } = this.learning;
    const heading = state === "failed" ? "Learning failed" : "Learning was stopped";
    const kind = state === "failed" ? "error" : "remark";
    return [element("div", { className: `card ${kind}` }, element("b", { textContent: heading }), element("p", { textContent: message ?? "" }))];
  }

  #result() {
    const { comparison, curve = [], message } = this.learning;
    if (!comparison) return [element("p", { textContent: message })];
    const row = (name, { dice, ci }) =>
      element(
        "tr",
        {},
        element("th", { scope: "row", textContent: name }),
        element("td", { textContent: dice.toFixed(4) }),
        element("td", { className: "muted", textContent: isInterval(ci) ? `${ci[0].toFixed(4)} to ${ci[1].toFixed(4)}` : "" }),
      );
    const films = comparison.films === 1 ? "film" : "films";
    const interval = isInterval(comparison.new.ci) ? ", 95 % interval" : "";
    const caption = `Mean Dice on ${comparison.films} corrected ${films} put aside${interval}`;
    const use = element("button", { type: "button", className: comparison.helps ? "primary" : "", textContent: "Use the new network", onclick: () => this.#use("/api/learning/use") });
    const back = element("button", { type: "button", textContent: "Use the old network", onclick: () => this.#use("/api/learning/use?back=true") });
    return [
      element("div", { className: `card ${comparison.helps ? "good" : "warning"}` }, element("b", { textContent: comparison.helps ? "It helps" : "It does not help" }), element("p", { textContent: comparison.text })),
      element("table", { className: "comparison" }, element("caption", { textContent: caption }), row("Old network", comparison.old), row("New network", comparison.new)),
      ...chart(curve),
      element("div", { className: "buttons" }, use, back),
      element("hr"),
    ];
  }
}

/** One film has no interval. */
function isInterval(ci) {
  return ci !== null && ci[0] < ci[1];
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  return seconds < 90 ? `about ${Math.round(seconds)} s left` : `about ${Math.round(seconds / 60)} min left`;
}
