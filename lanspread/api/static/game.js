// A game's page: what it is, what can be done with it, who has it, which variants and files.

import { actionsFor, isPartlyHere, standing } from "./actions.js";
import { makeCover } from "./covers.js";
import { byId, fill, h, mark, say } from "./dom.js";
import { foreign, plural, size, told } from "./format.js";
import { icon } from "./icons.js";
import { makeMeter } from "./operations.js";

const FILES_SHOWN = 300;
const PEERS_SHOWN = 100;
const PLAY = "Play it from";

export class GamePage {
  #id = null;
  #detail = null;
  #detailOf = "";
  #shownActions = "";
  #shownCover = "";
  #meter = null;

  constructor(store, { call, onAction, onBack }) {
    this.store = store;
    this.call = call;
    this.onAction = onAction;
    byId("back").addEventListener("click", onBack);
  }

  get id() {
    return this.#id;
  }

  /** Show another game; the focus goes to its name. */
  open(id) {
    this.#id = id;
    this.#detail = null;
    this.#detailOf = this.#shownActions = this.#shownCover = "";
    this.#meter = null;
    byId("game-meter").replaceChildren();
    byId("game-detail").replaceChildren();
    this.render();
    byId("game-name").focus();
  }

  close() {
    this.#id = null;
  }

  render() {
    if (this.#id === null) return;
    const game = this.store.games.get(this.#id);
    byId("game-gone").hidden = Boolean(game);
    byId("game-body").hidden = !game;
    say(byId("game-name"), this.store.nameOf(this.#id));
    if (!game) return;
    const operation = this.store.operationOf(this.#id);
    this.#head(game, operation);
    this.#actions(game, operation);
    this.#progress(game, operation);
    this.#facts(game);
    this.#load(game);
  }

  #head(game, operation) {
    const cover = `${game.name}\n${game.cover_url}`;
    if (cover !== this.#shownCover) {
      this.#shownCover = cover;
      byId("game-cover").replaceChildren(makeCover(game));
    }
    const kind = [game.year, game.genre, game.players && `${game.players} players`].filter(Boolean).join(" · ");
    say(byId("game-kind"), kind);
    say(byId("game-description"), game.description ?? "");
    const { text, tone } = standing(game, operation);
    const badge = byId("game-standing");
    say(badge, text || (game.peers.length ? "Not here yet" : "Nobody here has it now"));
    mark(badge, "class", `badge standing ${tone}`);
  }

  #actions(game, operation) {
    const actions = actionsFor(game, operation);
    const shown = actions.map((action) => action.name).join();
    if (shown === this.#shownActions) return;
    this.#shownActions = shown;
    const group = byId("game-actions");
    const hadFocus = group.contains(document.activeElement);
    group.replaceChildren(...actions.map((action, at) => h("button", {
      type: "button",
      class: `button${at === 0 && action.wanted ? " primary" : ""}`,
      onclick: () => this.onAction(action, game.id),
    }, icon(action.icon), action.label)));
    // The button that was pressed is gone; what took its place must not be pressed by mistake.
    if (hadFocus) group.focus();
  }

  #progress(game, operation) {
    const place = byId("game-meter");
    place.hidden = !operation;
    if (!operation) return;
    this.#meter ??= makeMeter(`${game.name}: progress`);
    fill(place, [this.#meter.element]);
    this.#meter.show(operation, this.store);
  }

  #facts(game) {
    const folder = this.store.status?.games_dir;
    const facts = [
      ["Newest version", game.eti_version || "unknown"],
      ["Downloaded", isPartlyHere(game) ? "partly" : game.local_version === null ? "no" : game.local_version || "yes"],
      ["Installed", game.installed ? game.installed_version ?? "yes, version unknown" : "no"],
      ["Size", size(game.size)],
      game.installed && folder ? [PLAY, joined(folder, game.id, "local")] : null,
    ].filter(Boolean);
    const list = byId("game-facts");
    const text = JSON.stringify(facts);
    if (list.dataset.shown === text) return;
    list.dataset.shown = text;
    list.replaceChildren(...facts.map(([name, value]) =>
      h("div", { class: name === PLAY ? "wide" : null }, h("dt", {}, name), h("dd", {}, value))));
  }

  // Files and variants are asked for when the page opens, and again when something of them changed.
  async #load(game) {
    const state = JSON.stringify([game.manifest_hash, game.content_hash, game.eti_version, game.peers, game.downloaded]);
    if (state === this.#detailOf) return;
    this.#detailOf = state;
    const id = this.#id;
    try {
      this.#detail = await this.call("game.get", { id });
      if (this.#id === id) this.#showDetail(game, "");
    } catch (error) {
      if (this.#id === id) this.#showDetail(game, told(error, this.store));
      if (error.code === "disconnected") this.#detailOf = "";
    }
  }

  #showDetail(game, problem) {
    const { files = [], variants = [] } = this.#detail ?? {};
    const hadFiles = byId("game-detail").querySelector("details")?.open ?? false;
    byId("game-detail").replaceChildren(...[
      problem && h("p", { class: "note" }, `Its files are not known now: ${problem}`),
      this.#who(game),
      variants.length > 1 && this.#variants(game, variants),
      files.length > 0 && fileList(files, hadFiles),
    ].filter(Boolean));
  }

  #who(game) {
    const peers = game.peers.slice(0, PEERS_SHOWN).map((id) => {
      const peer = this.store.peers.get(id);
      return h("li", {}, h("span", { class: "peer-name" }, this.store.peerName(id)),
        h("span", { class: "peer-detail" }, peer?.addresses[0] ?? ""));
    });
    const more = game.peers.length - peers.length;
    if (more > 0) peers.push(h("li", { class: "note" }, `and ${plural(more, "more", "more")}`));
    return h("section", {}, h("h3", {}, "Who has it"),
      peers.length ? h("ul", { class: "who" }, peers) : h("p", { class: "note" }, "Nobody else who is connected now."));
  }

  #variants(game, variants) {
    const rows = variants.map((variant) => {
      const get = h("button", {
        type: "button", class: "button small",
        "aria-label": `Download variant ${foreign(variant.version)}, ${short(variant)}`,
        onclick: () => this.onAction({ name: "download", method: "game.download" }, game.id,
          { variant: variant.content_hash ?? variant.manifest_hash }),
      }, "Download");
      const here = h("span", { class: "badge standing here" }, "Here");
      return h("tr", {}, h("td", {}, foreign(variant.version)), h("td", { class: "number" }, size(variant.size)),
        h("td", {}, plural(variant.peers.length, "copy", "copies")), h("td", {}, h("code", {}, short(variant))),
        h("td", {}, variant.here ? here : get));
    });
    return h("section", {}, h("h3", {}, "Variants"),
      h("p", { class: "note" }, "Not everybody has the same files under this name. The first is what most have."),
      game.downloaded && !variants.some((variant) => variant.here)
        && h("p", { class: "note" }, "What is here is none of these."),
      h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Variants" }, h("table", {},
        h("thead", {}, h("tr", {}, ["Version", "Size", "At", "Content", ""].map((text) =>
          text ? h("th", { scope: "col", class: text === "Size" ? "number" : null }, text) : h("td", {})))),
        h("tbody", {}, rows))));
  }
}

function short(variant) {
  return (variant.content_hash ?? variant.manifest_hash).slice(0, 10);
}

function joined(folder, ...names) {
  const separator = folder.includes("\\") && !folder.includes("/") ? "\\" : "/";
  return [folder.replace(/[/\\]+$/, ""), ...names].join(separator);
}

function fileList(files, open) {
  const list = h("ul", { class: "files" });
  const details = h("details", { class: "files-box" }, h("summary", {}, h("h3", {}, plural(files.length, "file"))), list);
  // Thousands of lines cost nothing until somebody wants to see them.
  const show = () => {
    if (!details.open || list.childElementCount) return;
    list.append(...files.slice(0, FILES_SHOWN).map((file) =>
      h("li", {}, h("span", {}, foreign(file.path)), h("span", { class: "number" }, size(file.size)))));
    if (files.length > FILES_SHOWN) list.append(h("li", { class: "note" }, `and ${plural(files.length - FILES_SHOWN, "more", "more")}`));
  };
  details.addEventListener("toggle", show);
  details.open = open;
  return details;
}
