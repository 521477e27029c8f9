/** Two curves of a training: loss, and Dice on the films put aside. */

import { element } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [260, 110, 38, 18, 8];
const SVG = "http://www.w3.org/2000/svg";

/** Figures of a curve [{ epoch, loss, val_dice }]; none before the second epoch. */
export function chart(curve) {
  const figures = [
    ["Loss", "loss"],
    ["Dice, films put aside", "val_dice"],
  ]
    .map(([name, key]) => [name, curve.filter((row) => Number.isFinite(row[key])).map((row) => [row.epoch, row[key]])])
    .filter(([, points]) => points.length > 1)
    .map(([name, points]) => element("figure", {}, element("figcaption", { textContent: name }), lines(name, points)));
  return figures.length ? [element("div", { className: "charts" }, ...figures)] : [];
}

function lines(name, points) {
  const [epochs, values] = [points.map(([epoch]) => epoch), points.map(([, value]) => value)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = scale(Math.min(...epochs), Math.max(...epochs), LEFT, WIDTH - 6);
  const y = scale(low, high, HEIGHT - BOTTOM, TOP);
  const last = values.at(-1);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${name}: ${format(values[0])} to ${format(last)} after ${epochs.at(-1)} epochs` });
  picture.append(
    svg("path", { class: "axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - 6}` }),
    svg("polyline", { points: points.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ") }),
    svg("circle", { cx: x(epochs.at(-1)), cy: y(last), r: 3 }),
    label(LEFT - 4, TOP + 5, "end", format(high)),
    label(LEFT - 4, HEIGHT - BOTTOM, "end", format(low)),
    label(LEFT, HEIGHT - 4, "start", `epoch ${epochs[0]}`),
    label(WIDTH - 6, HEIGHT - 4, "end", String(epochs.at(-1))),
  );
  return picture;
}

function scale(from, to, start, end) {
  return (value) => (to === from ? (start + end) / 2 : start + ((value - from) / (to - from)) * (end - start)).toFixed(1);
}

function format(value) {
  return value.toFixed(3);
}

function label(x, y, anchor, text) {
  const made = svg("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
