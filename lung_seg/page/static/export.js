/** Writing all masks as predict.py does. */

import { byId, element, showDialog } from "./dom.js";

export function listenToExport(api, { output }, attempt) {
  byId("open-export").addEventListener("click", () => {
    const dicom = element("input", { type: "checkbox" });
    const result = element("p", { id: "export-result", attributes: { role: "status" } });
    const start = element("button", { type: "button", className: "primary", textContent: "Write masks" });
    start.onclick = () =>
      attempt(async () => {
        start.disabled = true;
        result.textContent = "Writing …";
        try {
          const { folder, films } = await api.json("POST", "/api/export", { body: { dicom_seg: dicom.checked } });
          result.textContent = `${films} ${films === 1 ? "film is" : "films are"} in ${folder}.`;
        } catch (error) {
          result.textContent = error.message;
        }
        start.disabled = false;
      });
    showDialog(
      "export",
      "Export masks",
      element("p", { textContent: `Writes the masks as they are now, overlays and predictions.csv to a folder in ${output}, as predict.py does.` }),
      element("label", {}, dicom, " DICOM Segmentations too, for films that are DICOM"),
      start,
      result,
    );
  });
}
