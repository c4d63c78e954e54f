// Questions before something is deleted, in a modal dialog: Esc and the first button mean no.

import { h } from "./dom.js";

/** Resolves to whether the person said yes. */
export function ask({ title, text, yes, no = "Keep" }) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "dialog ask", "aria-labelledby": "ask-title", "aria-describedby": "ask-text", role: "alertdialog" },
      h("h2", { id: "ask-title" }, title),
      h("p", { id: "ask-text" }, text),
      h(
        "div",
        { class: "dialog-buttons" },
        h("button", { type: "button", class: "button", autofocus: true, onclick: () => dialog.close("no") }, no),
        h("button", { type: "button", class: "button danger", onclick: () => dialog.close("yes") }, yes),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
