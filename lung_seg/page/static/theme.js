/** Dark as a reading room, or light by choice; the choice is kept in this browser. */

import { byId } from "./dom.js";

const KEY = "lung_seg theme";

export function listenToTheme() {
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    byId("theme").setAttribute("aria-pressed", theme === "light");
  };
  show(localStorage.getItem(KEY) ?? "dark");
  byId("theme").addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem(KEY, theme);
    show(theme);
  });
}
