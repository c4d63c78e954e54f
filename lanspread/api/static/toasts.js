// Notifications: what finished goes by itself, what failed stays until it was read.

import { byId, h } from "./dom.js";
import { sentence } from "./format.js";
import { icon } from "./icons.js";

const SHOWN_MS = 7000;
const MAX_TOASTS = 5;

/**
 * Show a notification. `tone` is "good", "info" or "bad"; `detail` and `remedy` are further
 * sentences, of which `names`, a store, knows the names; `action` is `{label, run}`.
 */
export function toast({ tone = "info", title, detail = "", remedy = "", action = null, names = null }) {
  const list = byId("toasts");
  const item = h(
    "div",
    { class: `toast ${tone}`, role: tone === "bad" ? "alert" : null },
    icon(tone === "bad" ? "alert" : "check"),
    h(
      "div",
      { class: "toast-text" },
      h("strong", {}, title),
      detail && h("p", {}, sentence(detail, names)),
      remedy && h("p", { class: "remedy" }, sentence(remedy)),
      action && h("button", {
        type: "button", class: "button small", onclick: () => { item.remove(); action.run(); },
      }, action.label),
    ),
    h("button", { type: "button", class: "plain", "aria-label": "Dismiss", onclick: () => item.remove() }, icon("close")),
  );
  // The same trouble said twice is one notification.
  for (const other of list.children) if (other.textContent === item.textContent) other.remove();
  list.append(item);
  while (list.children.length > MAX_TOASTS) list.firstElementChild.remove();
  if (tone !== "bad") leave(item);
}

function leave(item) {
  const later = () => {
    // Not while somebody reads it or has the focus in it.
    if (item.matches(":hover, :focus-within")) setTimeout(later, SHOWN_MS / 4);
    else item.remove();
  };
  setTimeout(later, SHOWN_MS);
}
