/** Making elements. */

/** An element with properties (and attributes under `attributes`) and children; null children are left out. */
export function element(tag, { attributes = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Say something to screen readers, without moving the focus. */
export function announce(text) {
  byId("live").textContent = text;
}

/** Fill and open a dialog; its close button and Escape close it. */
export function showDialog(id, title, ...content) {
  const dialog = byId(id);
  const close = element("button", { type: "button", textContent: "Close", onclick: () => dialog.close() });
  const heading = element("h2", { id: `${id}-title`, textContent: title });
  dialog.replaceChildren(element("header", {}, heading, close), element("div", { className: "content" }, ...content));
  if (!dialog.open) dialog.showModal();
  return dialog;
}
