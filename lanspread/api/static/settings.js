// Settings of this peer, and what it says of itself, in a modal dialog.

import { byId, h, mark, say } from "./dom.js";
import { duration } from "./format.js";

export class Settings {
  constructor(store, { call }) {
    this.store = store;
    this.call = call;
    this.dialog = byId("settings");
    // What the peer answered last; without it nothing of it is changed.
    this.shown = null;
    byId("open-settings").addEventListener("click", () => this.open());
    byId("close-settings").addEventListener("click", () => this.dialog.close());
    byId("settings-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
  }

  async open() {
    this.#say("", "");
    byId("set-folder").value = this.store.status?.games_dir ?? "";
    byId("set-folder").readOnly = !this.store.can("settings.set_games_dir");
    byId("set-more").hidden = !this.store.can("settings.set");
    this.#about();
    this.dialog.showModal();
    this.shown = null;
    if (!this.store.can("settings.get")) return;
    try {
      const values = await this.call("settings.get");
      byId("set-down").value = values.max_down ?? "";
      byId("set-up").value = values.max_up ?? "";
      byId("set-install").checked = values.auto_install;
      this.shown = this.#entered();
    } catch (error) {
      this.#fail(error);
    }
  }

  #about() {
    const { status, self } = this.store;
    const facts = [
      ["Name that others see", self.name],
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
    const button = byId("save-settings");
    button.disabled = true;
    this.#say("Saving …", "");
    try {
      if (!byId("set-folder").readOnly && folder && folder !== this.store.status?.games_dir) {
        await this.call("settings.set_games_dir", { path: folder });
      }
      const changed = this.#changed();
      if (Object.keys(changed).length > 0) {
        await this.call("settings.set", changed);
        this.shown = this.#entered();
      }
      this.store.setStatus(await this.call("status"));
      this.#say("Saved.", "");
    } catch (error) {
      this.#fail(error);
    } finally {
      button.disabled = false;
    }
  }

  #entered() {
    // An empty field is no limit, which the peer writes as 0.
    return {
      max_down: Number(byId("set-down").value),
      max_up: Number(byId("set-up").value),
      auto_install: byId("set-install").checked,
    };
  }

  #changed() {
    if (this.shown === null) return {};
    return Object.fromEntries(Object.entries(this.#entered())
      .filter(([name, value]) => value !== this.shown[name]));
  }

  #fail(error) {
    this.#say([error.message, error.remedy].filter(Boolean).join(": "), "bad");
  }

  #say(text, tone) {
    say(byId("settings-note"), text);
    mark(byId("settings-form"), "data-tone", tone || null);
  }
}
