// Settings of this peer, and what it says of itself, in a modal dialog.

import { byId, h, mark, say } from "./dom.js";
import { duration, told } from "./format.js";

// A value that the peer does not take: the parameter, the field it came from, and what would do.
const FIELDS = {
  name: ["set-name", "Give it 1 to 128 characters in one line, without control characters and not beginning with a blank"],
  max_down: ["set-down", "Give a number from 0.001 to 1,000,000, or nothing for no limit"],
  max_up: ["set-up", "Give a number from 0.001 to 1,000,000, or nothing for no limit"],
  path: ["set-folder", "Give the whole path of a folder"],
};
const INVALID_PARAMS = -32602;

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
    this.shown = null;
    byId("set-folder").value = this.store.status?.games_dir ?? "";
    byId("set-folder").readOnly = !this.store.can("settings.set_games_dir");
    byId("set-name").value = this.store.name;
    byId("set-name").readOnly = byId("set-more").hidden = !this.store.can("settings.set");
    this.#about();
    this.dialog.showModal();
    if (!this.store.can("settings.get")) return;
    try {
      const values = await this.call("settings.get");
      byId("set-name").value = values.name;
      byId("set-down").value = values.max_down ?? "";
      byId("set-up").value = values.max_up ?? "";
      byId("set-install").checked = values.auto_install;
      byId("set-polite").checked = values.polite;
      say(byId("polite-text"), "Go slowly while a game is played here (at most "
        + `${values.polite_down} MB/s down, ${values.polite_up} MB/s up)`);
      this.shown = this.#entered();
    } catch (error) {
      this.#fail(error);
    }
  }

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
    const button = byId("save-settings");
    button.disabled = true;
    this.#say("Saving …", "");
    try {
      const changed = this.#changed();
      if (Object.keys(changed).length > 0) {
        await this.call("settings.set", changed);
        this.shown = this.#entered();
      }
      const folder = byId("set-folder").value.trim();
      if (!folder && this.store.status?.games_dir) {
        byId("set-folder").value = this.store.status.games_dir;
        this.#refuse("path", "a peer always has one; it is as it was");
        return;
      }
      if (!byId("set-folder").readOnly && folder && folder !== this.store.status?.games_dir) {
        await this.call("settings.set_games_dir", { path: folder });
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
      name: byId("set-name").value.trim(),
      max_down: Number(byId("set-down").value),
      max_up: Number(byId("set-up").value),
      auto_install: byId("set-install").checked,
      polite: byId("set-polite").checked,
    };
  }

  #changed() {
    if (this.shown === null) return {};
    return Object.fromEntries(Object.entries(this.#entered())
      .filter(([name, value]) => value !== this.shown[name]));
  }

  #fail(error) {
    // "`max_up`: Expected `float` <= 1000000.0" is for those who write programs.
    const named = error.code === INVALID_PARAMS && /^`(\w+)`/.exec(error.message)?.[1];
    if (!named || !Object.hasOwn(FIELDS, named)) {
      this.#say(told(error, this.store), "bad");
      return;
    }
    this.#refuse(named, "this value cannot be used");
  }

  #refuse(named, why) {
    const [id, remedy] = FIELDS[named];
    const label = document.querySelector(`label[for="${id}"]`).textContent;
    this.#say(told({ message: `${label}: ${why}`, remedy }), "bad");
    mark(byId(id), "aria-invalid", "true");
    byId(id).focus();
  }

  #say(text, tone) {
    for (const [id] of Object.values(FIELDS)) mark(byId(id), "aria-invalid", null);
    say(byId("settings-note"), text);
    mark(byId("settings-form"), "data-tone", tone || null);
  }
}
