/** Adding films: dropped or chosen, files or whole folders. */

import { byId } from "./dom.js";

const READABLE = /\.(png|jpe?g|tiff?|dcm|dicom)$|^[^.]+$/i; // inside a folder; DICOM files often have no ending
const AT_ONCE = 8; // files of a request

/** Listen to drops and to the two buttons; `onFiles(files, skipped)`, `skipped`: files of a folder that are no films. */
export function listenToDrops(onFiles) {
  const veil = byId("dropping");
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => isFiles(event) && (veil.hidden = false));
  addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
  addEventListener("dragleave", (event) => event.relatedTarget === null && (veil.hidden = true));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    veil.hidden = true;
    if (isFiles(event)) onFiles(...(await filesOf(event.dataTransfer)));
  });
  byId("add-files").addEventListener("click", () => byId("files").click());
  byId("add-folder").addEventListener("click", () => byId("folder").click());
  byId("files").addEventListener("change", ({ target }) => {
    onFiles([...target.files], 0);
    target.value = "";
  });
  byId("folder").addEventListener("change", ({ target }) => {
    onFiles(...readable([...target.files]));
    target.value = "";
  });
}

async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [[...transfer.files], 0];
  const single = await Promise.all(entries.filter((entry) => entry.isFile).map(fileOf));
  const found = (await Promise.all(entries.filter((entry) => entry.isDirectory).map(filesBelow))).flat();
  const [films, skipped] = readable(found);
  return [[...single, ...films], skipped];
}

function readable(files) {
  const films = files.filter(({ name }) => READABLE.test(name));
  return [films, files.length - films.length];
}

function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function filesBelow(folder) {
  const reader = folder.createReader();
  const files = [];
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return files; // browsers give a hundred at a time
    for (const entry of entries) files.push(...(entry.isDirectory ? await filesBelow(entry) : [await fileOf(entry)]));
  }
}

/** Send films, a few at a time; `onAdded(films)` after each request, `onRefused(names, message)` where one is refused. */
export async function sendFilms(api, files, onAdded, onRefused) {
  for (let start = 0; start < files.length; start += AT_ONCE) {
    const some = files.slice(start, start + AT_ONCE);
    const form = new FormData();
    for (const file of some) form.append("file", file, file.name);
    try {
      onAdded((await api.json("POST", "/api/films", { body: form })).films);
    } catch (error) {
      onRefused(some.map(({ name }) => name), error.message);
    }
  }
}
