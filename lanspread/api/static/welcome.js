// What to do when nobody is found, and what an empty shelf means.

import { byId, h, say } from "./dom.js";
import { makeConnectForm } from "./peers.js";

export class Welcome {
  constructor(store, { connect, onReset }) {
    this.store = store;
    byId("welcome-connect").append(makeConnectForm("welcome-address", connect));
    byId("peers-connect").append(makeConnectForm("peer-address", connect));
    byId("reset").addEventListener("click", onReset);
  }

  /** `shown` games are on the shelf; `narrowed`: some may be hidden by search and filters. */
  render(shown, narrowed) {
    const { games, peers, status } = this.store;
    const alone = ![...peers.values()].some((peer) => peer.state === "connected");
    const ready = status !== null;
    byId("toolbar").hidden = games.size === 0;
    byId("welcome").hidden = !(ready && games.size === 0 && alone);
    byId("nothing").hidden = !(ready && games.size === 0 && !alone);
    byId("no-match").hidden = !(ready && games.size > 0 && shown === 0 && narrowed);
    byId("alone").hidden = !(ready && alone && games.size > 0);
    if (!ready) return;
    say(byId("games-dir"), status.games_dir);
    const listen = byId("listen");
    if (listen.dataset.shown !== String(status.listen)) {
      listen.dataset.shown = String(status.listen);
      listen.replaceChildren(...status.listen.map((address) => h("li", {}, h("code", {}, address))));
    }
  }
}
