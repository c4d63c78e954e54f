// Settings of this peer, and what it says of itself, in a modal dialog.

import { byId, h, mark, say } from "./dom.js";
import { duration } from "./format.js";

export class Settings {
  #problem = "";

  constructor(store, { call }) {
    this.store = store;
    this.call = call;
    this.dialog = byId("settings");
    byId("open-settings").addEventListener("click", () => this.open());
    byId("close-settings").addEventListener("click", () => this.dialog.close());
    byId("settings-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
  }

  async open() {
    this.#say("", "");
    this.#values = null;
    byId("set-folder").value = this.store.status?.games_dir ?? "";
    byId("set-name").value = this.store.self.name;
    byId("set-folder").readOnly = !this.store.can("settings.set_games_dir");
    byId("set-name").readOnly = !this.store.can("settings.set");
    this.#about();
    this.dialog.showModal();
  }

  #values = null;

  #about() {
    const { status, self } = this.store;
    const facts = [
      ["Others reach it at", status?.listen.join(", ") || "nowhere now"],
      ["Running for", status ? duration(status.uptime_s) : ""],
      ["Version", self.version],
      ["Identity", self.peer_id],
    ];
    byId("about").replaceChildren(...facts.map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  async #save() {
    const folder = byId("set-folder").value.trim();
    const name = byId("set-name").value.trim();
    const button = byId("save-settings");
    button.disabled = true;
    this.#say("Saving …", "");
    try {
      if (!byId("set-folder").readOnly && folder && folder !== this.store.status?.games_dir) {
        await this.call("settings.set_games_dir", { path: folder });
      }
      if (!byId("set-name").readOnly && name && name !== this.store.self.name) {
        await this.call("settings.set", { name });
      }
      this.store.setStatus(await this.call("status"));
      this.#say("Saved.", "");
    } catch (error) {
      this.#say([error.message, error.remedy].filter(Boolean).join(": "), "bad");
    } finally {
      button.disabled = false;
    }
  }

  #say(text, tone) {
    this.#problem = tone;
    say(byId("settings-note"), text);
    mark(byId("settings-form"), "data-tone", this.#problem || null);
  }
}
