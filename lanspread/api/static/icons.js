// The few pictograms, drawn with one stroke; the words beside them say what they mean.

import { svg } from "./dom.js";

const PATHS = {
  download: "M12 4v11m-5-5 5 5 5-5M5 20h14",
  pause: "M9 5v14M15 5v14",
  play: "M8 5v14l11-7z",
  close: "M6 6l12 12M18 6 6 18",
  box: "M12 3 4 7v10l8 4 8-4V7zM4 7l8 4 8-4M12 11v10",
  refresh: "M20 11a8 8 0 0 0-14-5L4 8m0-4v4h4M4 13a8 8 0 0 0 14 5l2-2m0 4v-4h-4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  undo: "M9 7 4 12l5 5M4 12h10a6 6 0 0 1 6 6",
  check: "M5 12.5 10 17 19 7",
  alert: "M12 4 2.5 20h19zM12 10v4m0 3v.01",
};

/** A pictogram, hidden from screen readers. */
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );
}
