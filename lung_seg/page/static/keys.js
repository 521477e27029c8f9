/** The keyboard: one table, from which both the keys and the page of help come. */

import { element, showDialog } from "./dom.js";
import { TOOLS } from "./drawing.js";

/** [what it says, keys as shown, name of the action]; keys are those of KeyboardEvent, with modifiers in front. */
const GROUPS = {
  Films: [
    ["next, previous film", ["J", "PageDown"], "next"],
    ["", ["K", "PageUp"], "previous"],
    ["looks right, go to the next", ["Enter"], "accept"],
    ["add films", ["Ctrl+O"], "addFiles"],
  ],
  Tools: TOOLS.map(({ name, key, id }) => [name.toLowerCase(), [key], `tool:${id}`]),
  Drawing: [
    ["smaller, larger", ["["], "smaller"],
    ["", ["]"], "larger"],
    ["add or take away inside an outline", ["X"], "mode"],
    ["draw the right lung", ["1"], "side:right"],
    ["draw the left lung", ["2"], "side:left"],
    ["draw the nearest lung", ["3"], "side:nearest"],
    ["undo", ["Ctrl+Z"], "undo"],
    ["redo", ["Ctrl+Shift+Z", "Ctrl+Y"], "redo"],
    ["give up the stroke in hand", ["Escape"], "cancel"],
  ],
  "Whole mask": [
    ["swap right and left", ["S"], "swap"],
    ["fill holes", ["F"], "fill"],
    ["smooth the contours", ["M"], "smooth"],
    ["back to the network's mask", ["N"], "networkMask"],
    ["save now", ["Ctrl+S"], "save"],
  ],
  View: [
    ["zoom in, out", ["+", "="], "zoomIn"],
    ["", ["-"], "zoomOut"],
    ["whole film", ["0"], "fit"],
    ["a pixel for a pixel", ["9"], "actual"],
    ["contours on or off", ["O"], "contour"],
    ["less, more opacity", [","], "lessOpacity"],
    ["", ["."], "moreOpacity"],
    ["hide the mask while held", ["H"], "hideMask"],
    ["probability", ["Q"], "probability"],
    ["invert", ["I"], "invert"],
    ["darker, brighter", ["Shift+ArrowDown"], "darker"],
    ["", ["Shift+ArrowUp"], "brighter"],
    ["less, more contrast", ["Shift+ArrowLeft"], "lessContrast"],
    ["", ["Shift+ArrowRight"], "moreContrast"],
    ["window and level of the beginning", ["C"], "resetWindow"],
    ["this list", ["?"], "help"],
  ],
};

const MOUSE = [
  ["wheel", "zoom to the pointer"],
  ["Shift + wheel", "size of brush and eraser"],
  ["right button", "drag for window and level"],
  ["middle button, or Space held", "drag moves the film"],
  ["Alt + stroke", "brush takes away, eraser adds"],
  ["two fingers", "zoom and move"],
  ["one finger after a pen was used", "moves, so that a resting hand draws nothing"],
];

const ON_FILM = [
  ["arrow keys", "move the cursor (with the tool Move: the film); with Alt by one pixel"],
  ["Space", "begin and end a stroke; set a corner; delete the part under the cursor"],
  ["Enter", "close the polygon"],
];

const BINDINGS = new Map(Object.values(GROUPS).flat().flatMap(([, keys, action]) => keys.map((key) => [key, action])));

/** Listen to the keyboard: `actions` by their names, and `onFilm(event)`, which returns true for a key that it used. */
export function listenToKeys(actions, onFilm) {
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
    if (onFilm(event)) {
      event.preventDefault();
      return;
    }
    const isButton = event.target.closest("button, a, input, summary");
    if (isButton && ["Enter", " "].includes(event.key)) return;
    if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
    const action = BINDINGS.get(nameOf(event));
    if (!action) return;
    event.preventDefault();
    const [name, argument] = action.split(":");
    if (!event.repeat || REPEATING.has(name)) actions[name](argument);
  });
  addEventListener("keyup", (event) => event.key.toUpperCase() === "H" && actions.showMask());
}

const REPEATING = new Set([
  "next", "previous", "smaller", "larger", "undo", "redo", "zoomIn", "zoomOut", "lessOpacity", "moreOpacity",
  "darker", "brighter", "lessContrast", "moreContrast",
]);

function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const isCommand = event.ctrlKey || event.metaKey;
  const isShifted = event.shiftKey && (isCommand || key.length > 1); // a capital or ? already says so
  return `${isCommand ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${isShifted ? "Shift+" : ""}${key}`;
}

function isTyping(target) {
  return target.matches("textarea, select, input:not([type=range], [type=radio], [type=checkbox])");
}

export function showHelp() {
  const tables = Object.entries(GROUPS).map(([title, rows]) => table(title, merged(rows)));
  tables.push(table("Mouse, pen and fingers", MOUSE), table("Keyboard on the film", ON_FILM));
  const words =
    "Right and left are the patient's: the right lung is on the left of the film. New pixels belong to the nearest " +
    "lung and leave the other one alone; with Right or Left chosen, they replace it. Every stroke is saved by itself.";
  showDialog("help", "Keys and help", element("p", { textContent: words }), element("div", { className: "keys" }, ...tables));
}

/** Rows without words of their own join the one before. */
function merged(rows) {
  const lines = [];
  for (const [words, keys] of rows) {
    const texts = keys.filter((key) => key !== "=").map(shown);
    if (words) lines.push([texts, words]);
    else lines.at(-1)[0].push(...texts);
  }
  return lines;
}

const NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", PageUp: "Page up", PageDown: "Page down" };

function shown(key) {
  return key.replace(/Arrow\w+|Page\w+/, (name) => NAMES[name]);
}

function table(title, rows) {
  const body = rows.map(([keys, words]) => {
    const names = typeof keys === "string" ? [keys] : keys.map((key) => element("kbd", { textContent: key }));
    return element("tr", {}, element("th", { scope: "row" }, ...names), element("td", { textContent: words }));
  });
  return element("table", {}, element("caption", { textContent: title }), ...body);
}
