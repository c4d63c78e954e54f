// Which games are on the shelf, and in which order. `select` is pure; `Search` reads the toolbar.

import { byId, say } from "./dom.js";

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const byName = (a, b) => collator.compare(a.name, b.name) || (a.id < b.id ? -1 : 1);

const ORDERS = {
  name: byName,
  size: (a, b) => b.size - a.size || byName(a, b),
  year: (a, b) => (b.year ?? 0) - (a.year ?? 0) || byName(a, b),
  copies: (a, b) => b.peers.length - a.peers.length || byName(a, b),
};

export const FILTERS = {
  all: () => true,
  here: (game) => game.downloaded || game.installed || game.availability !== null,
  installed: (game) => game.installed,
  updates: (game) => game.update_available,
};

/** Text without case and accents, for comparing. */
export function plain(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

/** The games that fit, in order. `peer` is a peer_id or null. */
export function select(games, { text, filter, sort, peer }) {
  const words = plain(text).split(/\s+/).filter(Boolean);
  const fits = FILTERS[filter] ?? FILTERS.all;
  return [...games]
    .filter((game) => fits(game) && (!peer || game.peers.includes(peer)) && hasAll(game, words))
    .sort(ORDERS[sort] ?? byName);
}

function hasAll(game, words) {
  if (words.length === 0) return true;
  const all = plain(`${game.name} ${game.id} ${game.genre ?? ""} ${game.year ?? ""}`);
  return words.every((word) => all.includes(word));
}

/** The toolbar: search field, filters, order, and the peer whose games are shown. */
export class Search {
  peer = null;

  constructor(onChange, onDown) {
    this.field = byId("search");
    this.field.addEventListener("input", onChange);
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") {
        event.preventDefault();
        onDown();
      } else if (event.key === "Escape" && this.field.value) {
        event.preventDefault();
        event.stopPropagation();
        this.field.value = "";
        onChange();
      }
    });
    byId("filters").addEventListener("change", onChange);
    byId("sort").addEventListener("change", onChange);
    byId("peer-filter").addEventListener("click", () => {
      this.peer = null;
      onChange();
      this.field.focus();
    });
  }

  get query() {
    return {
      text: this.field.value,
      filter: document.querySelector('input[name="filter"]:checked').value,
      sort: byId("sort").value,
      peer: this.peer,
    };
  }

  get isNarrowed() {
    const { text, filter, peer } = this.query;
    return Boolean(text.trim() || filter !== "all" || peer);
  }

  reset() {
    this.field.value = "";
    this.peer = null;
    document.querySelector('input[name="filter"][value="all"]').checked = true;
  }

  /** Show how many games each filter has, and whose are shown. */
  count(games, peerName) {
    for (const [name, fits] of Object.entries(FILTERS)) {
      say(byId(`count-${name}`), games.filter(fits).length.toLocaleString("en"));
    }
    const chip = byId("peer-filter");
    chip.hidden = !this.peer;
    if (this.peer) {
      say(byId("peer-filter-name"), `From ${peerName(this.peer)}`);
    }
  }
}
