/** The page: connects films, tools, keys and the server. */

import { Api } from "./api.js";
import { Clock } from "./clock.js";
import { fillHoles, smooth, swapSides } from "./components.js";
import { Cursor } from "./cursor.js";
import { announce, byId } from "./dom.js";
import { Drawing } from "./drawing.js";
import { listenToDrops, sendFilms } from "./drop.js";
import { listenToExport } from "./export.js";
import { showFacts } from "./facts.js";
import { Gestures } from "./gestures.js";
import { listenToKeys, showHelp } from "./keys.js";
import { Learning } from "./learning.js";
import * as messages from "./messages.js";
import { Options } from "./options.js";
import { Overlay } from "./overlay.js";
import { Queue } from "./queue.js";
import { Review } from "./review.js";
import { listenToTheme } from "./theme.js";
import { ViewControls } from "./view_controls.js";
import { Viewer } from "./viewer.js";

const SMOOTHING = 1 / 200; // radius, of the shorter side

let hover = null; // the pointer, or the keyboard's cursor: { point, isKeyboard, isReversed }
let reload = null;

const api = new Api();
const clock = new Clock();
const viewer = new Viewer(byId("film"), showView);
const overlay = new Overlay(viewer);
const options = new Options(() => showPointer());
const drawing = new Drawing(options, {
  changed: (rect) => viewer.maskChanged(rect),
  done: (rect) => review.record(rect),
  path: (points) => overlay.showPath(points),
});
const cursor = new Cursor(viewer, drawing, (point) => hoverAt(point, true));
const gestures = new Gestures(byId("viewer"), viewer, drawing, options, {
  hover: (point, event) => hoverAt(point, false, event),
  resize: (steps) => options.resize(steps),
  clock: () => clock.touch(),
});
const review = new Review(api, clock, { opened: showFilm, detail: showDetail, changed: showChange, saving: showSaving, error: messages.showAlert });
const queue = new Queue(openFilm);
const viewControls = new ViewControls(viewer, () => attempt(toggleProbability));

function openFilm(id) {
  cursor.hide();
  drawing.cancel();
  queue.choose(id);
  review.open(queue.films.get(id) ?? null);
}

function showFilm() {
  const { film, opened } = review;
  if (opened) {
    drawing.open(opened.mask, opened.history);
    options.suit(opened.image);
    viewer.show(opened.image, opened.mask);
    announce(`${film.name} is open.`);
  } else {
    viewer.show(null, null);
  }
  document.body.toggleAttribute("data-film", Boolean(opened));
  viewControls.showFilm();
  byId("viewer").setAttribute("aria-label", film ? `Radiograph ${film.name}` : "No film is open");
  messages.showNotice(film, Boolean(opened));
  showDetail();
  showHistory();
}

function showDetail() {
  const { film, detail } = review;
  showFacts(film && queue.films.get(film.id), detail);
}

async function showHeader() {
  review.detail = await api.json("GET", `/api/films/${review.film.id}?header=true`);
  showDetail();
  byId("facts").lastElementChild.scrollIntoView({ block: "end" });
}

function showChange(rect) {
  viewer.maskChanged(rect);
  clock.touch();
  showHistory();
}

function showHistory() {
  byId("undo").disabled = !review.opened?.history.done.length;
  byId("redo").disabled = !review.opened?.history.undone.length;
}

function showSaving(saver, message) {
  if (saver !== review.opened?.saver && saver.isSaved) return;
  messages.showSaving(saver.state, message);
  showHistory();
  if (saver.film && saver.isSaved) queue.update(saver.film);
  if (saver.state === "conflict") askAboutConflict(saver, message);
}

function askAboutConflict(saver, message) {
  const opened = review.unsaved.get(saver.filmId);
  messages.askAboutConflict(queue.films.get(saver.filmId).name, message, () => saver.overwrite(), () => attempt(() => review.useTheirs(opened)));
}

function showView() {
  byId("zoom-text").textContent = viewer.film ? `${Math.round(100 * viewer.zoom)} %` : "";
  overlay.draw();
}

function hoverAt(point, isKeyboard, event) {
  if (!isKeyboard && event?.type === "pointerdown") cursor.hide();
  if (!isKeyboard && cursor.isShown) return; // the keyboard has the cursor until the mouse clicks
  hover = point && { point, isKeyboard, isReversed: Boolean(event?.altKey) };
  showPointer();
}

function showPointer() {
  const isBrush = options.tool === "brush" || options.tool === "eraser";
  byId("viewer").dataset.tool = options.tool;
  if (!hover || !review.opened) {
    overlay.showPointer(null);
    byId("readout").textContent = "";
    return;
  }
  const { point, isReversed } = hover;
  const label = drawing.isDrawing ? drawing.label : drawing.labelAt(point, isReversed);
  overlay.showPointer({ ...hover, label, radius: isBrush ? options.size / 2 : 0 });
  byId("readout").textContent = messages.describePoint(review.opened, point);
}

async function toggleProbability() {
  const { opened } = review;
  if (!opened) return;
  const bytes = viewer.probability ? null : await viewControls.busy("probability", api.probability(opened.id));
  if (review.opened === opened) viewControls.showProbability(bytes);
}

/** Run what asks the server, and show what goes wrong. */
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    messages.showAlert(error.message);
  }
}

function changeMask(operation, words) {
  if (!review.opened) return;
  drawing.cancel();
  announce(review.change(operation) ? words : "Nothing changed.");
}

async function accept() {
  const { film } = review;
  if (!film || !review.opened) return;
  if (film.state !== "corrected") queue.update(await api.json("POST", `/api/films/${film.id}/looked`));
  const next = queue.nextUnseen();
  if (next) openFilm(next);
  else announce("All films have been looked at.");
  messages.showFinished(!next);
}

function goBy(step) {
  const id = queue.neighbour(step);
  if (id) openFilm(id);
}

const actions = {
  next: () => goBy(1),
  previous: () => goBy(-1),
  accept: () => attempt(accept),
  addFiles: () => byId("files").click(),
  tool: (tool) => {
    drawing.cancel();
    options.set({ tool });
  },
  smaller: () => options.resize(-1),
  larger: () => options.resize(1),
  mode: () => options.set({ mode: options.mode === "add" ? "remove" : "add" }),
  side: (side) => options.set({ side }),
  undo: () => (drawing.hasCorners ? drawing.removeCorner() : review.undo()),
  redo: () => review.redo(),
  cancel: () => {
    drawing.cancel();
    cursor.hide();
  },
  swap: () => changeMask(swapSides, "Right and left are exchanged."),
  fill: () => changeMask(fillHoles, "Holes are filled."),
  smooth: () => changeMask((mask) => smooth(mask, Math.max(1, Math.round(Math.min(mask.width, mask.height) * SMOOTHING))), "The contours are smoother."),
  networkMask: () => review.opened && attempt(() => review.useNetworkMask().then(() => announce("The network’s mask is back."))),
  save: () => review.opened?.saver.changed(),
  ...viewControls.actions,
  header: () => attempt(showHeader),
  help: showHelp,
};

const BUTTONS = {
  undo: "undo", redo: "redo", swap: "swap", fill: "fill", smooth: "smooth", "network-mask": "networkMask", accept: "accept",
  previous: "previous", next: "next", "open-help": "help", "show-header": "header", ...viewControls.buttons,
};

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Keys while the film, or nothing, has the focus: true if the key is used up. */
function useKeyOnFilm(event) {
  if (![byId("viewer"), document.body].includes(event.target) || !review.opened || event.ctrlKey || event.metaKey) return false;
  const arrow = !event.shiftKey && ARROWS[event.key];
  clock.touch();
  if (arrow && options.tool === "move") viewer.panBy(-40 * arrow[0], -40 * arrow[1]);
  else if (arrow) cursor.move(...arrow, event.altKey);
  else if (event.key === " " && cursor.isShown) cursor.press();
  else if (event.key === " ") gestures.isSpaceHeld = true;
  else if (event.key === "Enter" && drawing.hasCorners) drawing.close();
  else return false;
  return true;
}

async function reloadFilms() {
  clearTimeout(reload);
  reload = null;
  const { films } = await api.json("GET", "/api/films");
  queue.show(films);
  const isGone = review.film && !queue.films.has(review.film.id);
  if (!review.film || isGone) openFilm(films[0]?.id ?? null);
}

function filmChanged(film) {
  const before = queue.films.get(film.id);
  queue.update(film);
  if (review.isOutdated(film)) attempt(() => review.useTheirs().then(() => messages.showAlert("This film was saved elsewhere meanwhile: its new mask is shown. Undo brings yours back.")));
  if (before?.state === "waiting" && film.state !== "waiting") {
    if (review.film?.id === film.id) openFilm(film.id);
    reload ??= setTimeout(() => attempt(reloadFilms), 1000); // its place in the review is known now
  } else if (review.film?.id === film.id) {
    review.film = queue.films.get(film.id);
    showDetail();
  }
}

async function addFilms(files, skipped) {
  if (skipped) messages.showAlert(`${skipped} files of the folder are no PNG, JPEG, TIFF or DICOM, and were left out.`);
  messages.showProgress(`Sending ${files.length} ${files.length === 1 ? "film" : "films"} …`);
  const refuse = (names, message) => messages.showAlert(`${names.join(", ")}: ${message}`);
  await sendFilms(api, files, (films) => films.forEach((film) => queue.update(film)), refuse);
  messages.showProgress("");
  await attempt(reloadFilms);
}

async function start() {
  const session = await api.begin();
  messages.showSession(session);
  const learning = new Learning(api, session, () => [...queue.films.values()].filter(({ state }) => state === "corrected").length);
  listenToExport(api, session, attempt);
  await reloadFilms();
  let wasConnected = true;
  api.listen({
    film: filmChanged,
    learning: (state) => learning.update(state),
    message: ({ text }) => byId("export-result")?.replaceChildren(text),
    connected: (isConnected) => {
      messages.showConnection(isConnected);
      if (isConnected && !wasConnected) attempt(() => api.begin().then(reloadFilms));
      wasConnected = isConnected;
    },
  });
  attempt(async () => learning.update(await api.json("GET", "/api/learning")));
}

for (const [id, action] of Object.entries(BUTTONS)) byId(id).addEventListener("click", () => actions[action]());
addEventListener("keyup", (event) => event.key === " " && (gestures.isSpaceHeld = false));
addEventListener("beforeunload", (event) => review.hasUnsaved && event.preventDefault());
listenToKeys(actions, useKeyOnFilm);
listenToDrops(addFilms);
listenToTheme();
showFilm();
start().catch((error) => messages.showAlert(error.message));
