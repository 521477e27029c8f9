/** What is known of the open film, in plain words. */

import { byId, element, showDialog } from "./dom.js";
import { STATES } from "./queue.js";

const LOW_QUALITY = 0.8;

/** Show the facts of a film; `detail` is null until they are loaded. */
export function showFacts(film, detail) {
  byId("facts").replaceChildren(...(film ? parts(film, detail) : []));
  byId("show-header").hidden = Boolean(detail?.header);
}

function parts(film, detail) {
  const content = [title(film)];
  if (film.error) content.push(card("error", "This file is refused", film.error));
  const isSettled = film.state === "looked" || film.state === "corrected";
  if (film.warning) {
    content.push(card(isSettled ? "remark" : "warning", isSettled ? "The network’s mask was doubtful" : "Check this mask", sentence(film.warning)));
  }
  if (!detail) return content;
  for (const remark of detail.remarks) content.push(card("remark", "Note", sentence(remark)));
  content.push(measurements(detail));
  if (detail.finding) content.push(finding(film, detail.finding));
  if (detail.header) content.push(patient(detail.header));
  return content;
}

function title({ name, state, quality }) {
  const words = [element("span", { className: "state", textContent: STATES[state] })];
  if (quality !== null && quality !== undefined) {
    const meter = element("meter", { min: 0, max: 1, low: LOW_QUALITY, optimum: 1, value: quality });
    meter.setAttribute("aria-hidden", "true");
    words.push(element("label", { title: "How far to trust the network's mask: 1 is sure and of an ordinary shape" }, `Quality ${quality.toFixed(2)} `, meter));
  }
  const heading = element("header", {}, element("h2", { textContent: name, title: name }), element("p", {}, ...words));
  heading.dataset.state = state;
  return heading;
}

function card(kind, heading, text) {
  return element("div", { className: `card ${kind}` }, element("b", { textContent: heading }), element("p", { textContent: text }));
}

function measurements({ measurements: { right, left }, spacing_mm: spacing, width_px: width, height_px: height, bits }) {
  const rows = [
    ["Right lung", right, "right"],
    ["Left lung", left, "left"],
    ["Both", sum(right, left), ""],
  ].map(([name, lung, className]) =>
    element("tr", { className }, element("th", { scope: "row", textContent: name }), element("td", {}, area(lung))),
  );
  const size = `${width} × ${height} px${bits ? `, ${bits} bits` : ""}, `;
  const scale = spacing ? `${Number(spacing[0].toPrecision(3))} mm a pixel` : "pixel spacing not known: no mm²";
  return element(
    "section",
    { className: "measurements" },
    element("h3", { textContent: "Measurements" }),
    element("table", {}, ...rows),
    element("p", { className: "muted", textContent: size + scale }),
  );
}

function sum(right, left) {
  const isKnown = right.area_mm2 !== null && left.area_mm2 !== null;
  return { area_px: right.area_px + left.area_px, area_mm2: isKnown ? right.area_mm2 + left.area_mm2 : null };
}

function area({ area_px: px, area_mm2: mm2 }) {
  if (px === 0) return "none";
  return mm2 === null ? `${grouped(px)} px` : `${grouped(mm2)} mm²`;
}

/** A number with thin spaces between thousands. */
function grouped(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, "\u2009");
}

function finding(film, { score, text }) {
  const show = element("button", { type: "button", textContent: "Show where", onclick: () => showEvidence(film, text) });
  return element(
    "section",
    { className: "finding" },
    element("h3", { textContent: "Signs of tuberculosis" }),
    score === null ? null : element("p", {}, element("b", { textContent: `Score ${score.toFixed(2)}` })),
    element("p", { textContent: text }),
    score === null ? null : show,
  );
}

function showEvidence({ id, name }, text) {
  const picture = element("img", { src: `/api/films/${id}/evidence`, alt: `Where the score of ${name} comes from` });
  showDialog("evidence", "Where the score comes from", picture, element("p", { textContent: text }));
}

function patient(header) {
  const rows = Object.entries(header).map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row", textContent: spaced(name) }), element("td", { textContent: value })),
  );
  const nothing = element("p", { className: "muted", textContent: "The file says nothing of the patient." });
  return element("section", {}, element("h3", { textContent: "Patient data" }), rows.length ? element("table", {}, ...rows) : nothing);
}

/** "PatientBirthDate" as "Patient birth date". */
function spaced(name) {
  return name.replace(/(?<=[a-z])[A-Z](?=[a-z])/g, (letter) => ` ${letter.toLowerCase()}`).replace(/(?<=[a-z])(?=[A-Z])/g, " ");
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
