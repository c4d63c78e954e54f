// Who is there: state, address, what they have, how fast they were.

import { byId, fill, h, mark, say } from "./dom.js";
import { ago, plural, rate, told } from "./format.js";

const STATES = {
  connected: "Connected",
  connecting: "Connecting",
  discovered: "Found, not connected yet",
  incompatible: "Speaks another version of the protocol",
  refused: "Did not take the connection",
  lost: "Gone",
};
const ORDER = Object.keys(STATES);
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

export class PeerList {
  #items = new Map();
  #seen = null;
  #order = [];

  constructor(store, { onShow }) {
    this.store = store;
    this.onShow = onShow;
  }

  render() {
    const { peers: all, self } = this.store;
    const changed = all.size !== this.#seen?.size || [...all].some(([key, peer]) => this.#seen.get(key) !== peer);
    if (changed) {
      this.#seen = new Map(all);
      for (const key of this.#items.keys()) if (!all.has(key)) this.#items.delete(key);
      this.#order = [...all.values()].filter((peer) => peer.peer_id !== self.peer_id);
      this.#order.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || collator.compare(a.name, b.name));
      const connected = this.#order.filter((peer) => peer.state === "connected").length;
      say(byId("peers-count"), String(connected));
      byId("no-peers").hidden = this.#order.length > 0;
    }
    const speeds = this.store.speeds;
    for (const peer of this.#order) this.#item(peer, speeds);
    if (changed) fill(byId("peers"), this.#order.map((peer) => this.#items.get(peer.peer_id).element));
  }

  #item(peer, speeds) {
    let item = this.#items.get(peer.peer_id);
    if (!item) {
      item = this.#make(peer.peer_id);
      this.#items.set(peer.peer_id, item);
    }
    item.show(peer, speeds.get(peer.peer_id));
  }

  #make(peerId) {
    const name = h("span", { class: "peer-name" });
    const state = h("span", { class: "peer-state" });
    const detail = h("span", { class: "peer-detail" });
    const speed = h("span", { class: "peer-speed" });
    const games = h("button", { type: "button", class: "button small", onclick: () => this.onShow(peerId) });
    const dot = h("span", { class: "dot", "aria-hidden": "true" });
    const element = h("li", { class: "peer" }, dot, h("div", { class: "peer-text" }, h("div", { class: "peer-title" }, name, state), detail, speed), games);
    let shown = {};
    const show = (peer, pace) => {
      // There may be a thousand of them, and most stay as they are.
      const gone = stateText(peer);
      const now = speedText(pace);
      if (shown.peer === peer && shown.gone === gone && shown.now === now) return;
      shown = { peer, gone, now };
      const title = peer.name;
      say(name, title);
      mark(element, "data-state", peer.state);
      say(state, gone);
      say(detail, peer.addresses[0] ?? "");
      mark(detail, "title", peer.addresses.join(", "));
      say(speed, now);
      games.hidden = peer.state !== "connected" || !peer.game_count;
      say(games, plural(peer.game_count, "game"));
      mark(games, "aria-label", `Show the ${plural(peer.game_count, "game")} of ${title}`);
    };
    return { element, show };
  }
}

function stateText(peer) {
  if (peer.state === "lost" && peer.last_seen) {
    return `Gone, seen ${ago(Date.parse(peer.last_seen), Date.now())}`;
  }
  return STATES[peer.state] ?? peer.state;
}

function speedText(speed) {
  if (!speed || !speed.best) return "";
  return speed.now > 0 ? `${rate(speed.now)} now, ${rate(speed.best)} at best` : `${rate(speed.best)} at best`;
}

/** A field for an address, and a button: used in the list of peers and where nobody is found. */
export function makeConnectForm(id, connect) {
  const field = h("input", {
    id, type: "text", class: "field", placeholder: "192.168.1.20:7373", autocomplete: "off", spellcheck: "false",
    autocapitalize: "off", inputmode: "url",
  });
  const button = h("button", { type: "submit", class: "button" }, "Connect");
  const note = h("p", { class: "form-note", role: "status" });
  const form = h("form", { class: "connect" },
    h("label", { for: id }, "Address of another lanspread"),
    h("div", { class: "connect-row" }, field, button), note);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const address = withPort(field.value.trim());
    if (!address) return;
    mark(form, "data-tone", null);
    button.disabled = true;
    say(note, `Connecting to ${address} …`);
    try {
      await connect(address);
      field.value = "";
      say(note, `Connected to ${address}.`);
    } catch (error) {
      mark(form, "data-tone", "bad");
      say(note, told(error, { beginsWithName: (text) => text.startsWith(address) }));
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

/** "10.0.0.2" -> "10.0.0.2:7373"; what has a port, or is an IPv6 address, is left as it is. */
function withPort(text) {
  if (!text || text.includes("]:") || /^[^:]+:\d+$/.test(text)) return text;
  if (text.startsWith("[") && text.endsWith("]")) return `${text}:7373`;
  return text.includes(":") ? (text.includes("[") ? text : `[${text}]:7373`) : `${text}:7373`;
}
