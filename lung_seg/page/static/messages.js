/** What the page says: states of saving, notices in place of a film, alerts, and the choice after a conflict. */

import { byId, element, showDialog } from "./dom.js";

const SAVING = {
  saved: "Saved",
  saving: "Saving …",
  retrying: "Not saved: no answer, trying again",
  conflict: "Not saved: changed elsewhere",
  failed: "Not saved",
};

const LABELS = ["background", "right lung", "left lung"];

export function showSaving(state, message) {
  const place = byId("saving");
  place.dataset.state = state;
  place.textContent = SAVING[state];
  place.title = message;
  hideAlertAbout("server");
  if (state === "retrying" || state === "failed") showAlert(message);
}

/** Something the person must know, until it is dismissed or has ended. */
export function showAlert(text, about = "") {
  const place = byId("alert");
  place.querySelector("p").textContent = text;
  place.dataset.about = about || (text.includes("does not answer") ? "server" : "");
  place.hidden = false;
  place.querySelector("button").onclick = () => (place.hidden = true);
}

function hideAlertAbout(subject) {
  if (byId("alert").dataset.about === subject) byId("alert").hidden = true;
}

export function showConnection(isConnected) {
  if (isConnected) hideAlertAbout("server");
  else showAlert("The server does not answer. Start it again: what is on this page stays here until then.", "server");
}

export function showSession({ network, remarks = [] }) {
  showNetwork(network);
  if (remarks.length) showAlert(remarks.join(" "));
}

export function showNetwork({ name, hash }) {
  byId("network").textContent = `Network ${name}, ${hash.slice(0, 8)}`;
}

export function showProgress(text) {
  byId("progress").textContent = text;
}

export function showFinished(isFinished) {
  if (isFinished) showAlert("All films have been looked at. Export writes the masks; Learn lets the network learn from your corrections.");
}

/** What stands in the place of a film. */
export function showNotice(film, isOpened) {
  const place = byId("notice");
  place.hidden = isOpened;
  document.body.toggleAttribute("data-empty", !film);
  if (isOpened) return;
  place.replaceChildren(...(film ? noticeOf(film) : emptyNotice()));
}

function noticeOf({ name, state, error }) {
  if (state === "refused") {
    return [element("h2", { textContent: `${name} cannot be read` }), element("p", { textContent: error })];
  }
  const words = state === "waiting" ? "The network is at work on it. Other films can be looked at meanwhile." : "";
  const heading = state === "waiting" ? `${name} waits for its mask` : `Loading ${name} …`;
  return [element("h2", { textContent: heading }), element("p", { textContent: words })];
}

function emptyNotice() {
  return [
    element("h2", { textContent: "Drop chest radiographs here" }),
    element("p", { textContent: "Files or a whole folder: PNG, JPEG, TIFF or DICOM, 8 or 16 bits, frontal views of adults." }),
    element(
      "p",
      { className: "buttons" },
      element("button", { type: "button", className: "primary", textContent: "Choose films", onclick: () => byId("files").click() }),
      element("button", { type: "button", textContent: "Choose a folder", onclick: () => byId("folder").click() }),
    ),
    element("p", { className: "muted", textContent: "The network finds both lungs; you look, correct what is wrong, and it can learn from that. Films and masks stay on this machine." }),
  ];
}

/** Grey value and label at a point of an opened film. */
export function describePoint({ image, mask }, { x, y }) {
  const isInside = x >= 0 && y >= 0 && x < image.width && y < image.height;
  if (!isInside) return "";
  return `${Math.floor(x)}, ${Math.floor(y)} · grey ${image.at(x, y)} · ${LABELS[mask.at(x, y)]}`;
}

/** Two people have saved one film: let this one choose. */
export function askAboutConflict(name, message, overwrite, discard) {
  const choose = (action) => () => {
    byId("conflict").close();
    action();
  };
  showDialog(
    "conflict",
    "Saved elsewhere meanwhile",
    element("p", {}, element("b", { textContent: `${name}: ` }), message),
    element("p", { textContent: "Your strokes are still on this page. Which mask shall be kept?" }),
    element(
      "div",
      { className: "buttons" },
      element("button", { type: "button", textContent: "Keep mine, replace the other", onclick: choose(overwrite) }),
      element("button", { type: "button", className: "primary", textContent: "Show the other (Undo brings mine back)", onclick: choose(discard) }),
    ),
  );
}
