// The shelf: a grid of covers of which only what is on the screen exists.
//
// Rows are put at their place by hand and used again when they leave the screen, so that a library
// of thousands scrolls like one of ten. Arrow keys move through all games, shown or not; one card
// takes part in the order of the Tab key.

import { standing } from "./actions.js";
import { makeCover } from "./covers.js";
import { fill, h, mark, perFrame, say } from "./dom.js";
import { percent, plural, size } from "./format.js";

const SPARE_ROWS = 2;
const MAX_COVERS = 600;
// Pictures are what costs in a frame. While one scrolls they come a few at a time, and the spare
// rows have theirs before they are seen.
const COVERS_PER_FRAME = 3;

export class Shelf {
  #games = [];
  #places = new Map(); // game id -> index
  #rows = new Map(); // row number -> {element, cells}
  #spare = [];
  #covers = new Map();
  #current = 0;
  #columns = 0;
  #rowHeight = 0;
  #width = 0;

  constructor(grid, { operationOf, onOpen }) {
    this.grid = grid;
    this.operationOf = operationOf;
    this.onOpen = onOpen;
    this.paint = perFrame(() => this.#follow());
    addEventListener("scroll", this.paint, { passive: true });
    // In the next frame: the grid's height follows from its width, and must not change while sizes are
    // being told.
    const measure = perFrame(() => this.#measure());
    new ResizeObserver(([{ contentRect: { width } }]) => {
      if (width !== this.#width) measure();
      this.#width = width;
    }).observe(grid);
    grid.addEventListener("keydown", (event) => this.#key(event));
    grid.addEventListener("focusin", (event) => this.#focused(event));
    grid.addEventListener("click", (event) => {
      const card = event.target.closest(".card");
      if (card) this.onOpen(card.dataset.id);
    });
  }

  /** Show these games, in this order. */
  show(games) {
    const current = this.#games[this.#current]?.id;
    this.#games = games;
    this.#places = new Map(games.map((game, at) => [game.id, at]));
    this.#current = this.#places.get(current) ?? 0;
    this.#size();
    this.render();
  }

  /** Put the focus on a game (the current one if it is not there). */
  focus(gameId = null) {
    const at = gameId === null ? this.#current : this.#places.get(gameId) ?? this.#current;
    this.#focusAt(at);
  }

  /** Show everything as it is now. */
  render() {
    if (!this.#place()) return;
    for (const [number, row] of this.#rows) this.#fillRow(number, row);
    this.#dress(Infinity);
  }

  // What was there before has not changed: only rows that come in cost anything.
  #follow() {
    if (!this.#place()) return;
    if (!this.#dress(COVERS_PER_FRAME)) this.paint();
  }

  /** Put rows where there are games to be seen; false while the shelf is not shown. */
  #place() {
    if (!this.#rowHeight || this.grid.offsetParent === null) return false;
    const top = -this.grid.getBoundingClientRect().top;
    const count = Math.ceil(this.#games.length / this.#columns);
    const first = Math.max(0, Math.floor(top / this.#rowHeight) - SPARE_ROWS);
    const last = Math.min(count - 1, Math.ceil((top + innerHeight) / this.#rowHeight) + SPARE_ROWS);
    // The row that has the focus stays, wherever it is: taking it away would lose the focus.
    const kept = this.grid.contains(document.activeElement) ? Math.floor(this.#current / this.#columns) : -1;
    for (const [number, row] of this.#rows) {
      if ((number < first || number > last) && number !== kept) {
        this.#rows.delete(number);
        this.#spare.push(row);
      }
    }
    for (let number = first; number <= last; number += 1) {
      if (!this.#rows.has(number)) this.#placeRow(number);
    }
    while (this.#spare.length) this.#spare.pop().element.remove();
    return true;
  }

  #placeRow(number) {
    const row = this.#spare.pop() ?? this.#makeRow();
    this.#rows.set(number, row);
    row.element.style.transform = `translateY(${number * this.#rowHeight}px)`;
    mark(row.element, "aria-rowindex", number + 1);
    // In the document as on the screen, for those who read it in its order.
    let next = null;
    for (const [other, { element }] of this.#rows) {
      if (other > number && (next === null || other < next.number)) next = { number: other, element };
    }
    if (row.element.parentNode !== this.grid || row.element.nextSibling !== (next?.element ?? null)) {
      this.grid.insertBefore(row.element, next?.element ?? null);
    }
    this.#fillRow(number, row);
  }

  /** Give up to `most` cards their picture; true when all have theirs. */
  #dress(most) {
    let left = most;
    for (const { cells } of this.#rows.values()) {
      for (const cell of cells) {
        if (cell.isDressed()) continue;
        if (left === 0) return false;
        cell.dress((game) => this.#cover(game));
        left -= 1;
      }
    }
    return true;
  }

  #makeRow() {
    const cells = Array.from({ length: this.#columns }, (_, at) => makeCell(at + 1));
    return { cells, element: h("div", { class: "row", role: "row" }, cells.map((cell) => cell.element)) };
  }

  #fillRow(number, row) {
    row.cells.forEach((cell, at) => {
      const index = number * this.#columns + at;
      const game = this.#games[index];
      if (game) cell.show(game, this.operationOf(game.id), index === this.#current);
      else cell.clear();
    });
  }

  #cover(game) {
    const key = coverKey(game);
    let cover = this.#covers.get(key);
    if (!cover) {
      cover = makeCover(game);
      this.#covers.set(key, cover);
      if (this.#covers.size > MAX_COVERS) this.#covers.delete(this.#covers.keys().next().value);
    }
    return cover;
  }

  #measure() {
    const style = getComputedStyle(this.grid);
    const [gap, least, caption] = ["--gap", "--card", "--caption"].map((name) => parseFloat(style.getPropertyValue(name)));
    const width = this.grid.clientWidth;
    if (!width) return;
    const columns = Math.max(2, Math.floor((width + gap) / (least + gap)));
    const card = (width - gap * (columns - 1)) / columns;
    const rowHeight = Math.round((card * 4) / 3 + caption + gap);
    if (columns !== this.#columns) {
      for (const row of this.#rows.values()) row.element.remove();
      this.#rows.clear();
      this.#spare = [];
    }
    if (columns === this.#columns && rowHeight === this.#rowHeight) {
      this.render();
      return;
    }
    this.#columns = columns;
    this.#rowHeight = rowHeight;
    this.grid.style.setProperty("--columns", columns);
    this.grid.style.setProperty("--row", `${rowHeight - gap}px`);
    for (const [number, row] of this.#rows) row.element.style.transform = `translateY(${number * rowHeight}px)`;
    this.#size();
    this.render();
  }

  #size() {
    const rows = this.#columns ? Math.ceil(this.#games.length / this.#columns) : 0;
    this.grid.style.height = `${rows * this.#rowHeight}px`;
    mark(this.grid, "aria-rowcount", rows);
    mark(this.grid, "aria-colcount", this.#columns || 1);
  }

  #focused(event) {
    const at = this.#places.get(event.target.closest?.(".card")?.dataset.id);
    if (at === undefined || at === this.#current) return;
    this.#current = at;
    this.render();
  }

  #focusAt(index) {
    if (!this.#games.length || !this.#rowHeight) return;
    this.#current = Math.max(0, Math.min(this.#games.length - 1, index));
    const row = Math.floor(this.#current / this.#columns);
    const box = this.grid.getBoundingClientRect();
    const head = document.querySelector(".top").getBoundingClientRect().bottom + 12;
    const top = box.top + row * this.#rowHeight;
    if (top < head) scrollBy(0, top - head);
    else if (top + this.#rowHeight > innerHeight) scrollBy(0, top + this.#rowHeight - innerHeight);
    this.render();
    this.#rows.get(row)?.cells[this.#current % this.#columns].card.focus({ preventScroll: true });
  }

  #key(event) {
    if (event.altKey || event.metaKey) return;
    const at = this.#current;
    const inRow = at % this.#columns;
    const page = Math.max(1, Math.floor(innerHeight / this.#rowHeight)) * this.#columns;
    const target = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - this.#columns,
      ArrowDown: at + this.#columns,
      PageUp: Math.max(inRow, at - page),
      PageDown: at + page,
      Home: event.ctrlKey ? 0 : at - inRow,
      End: event.ctrlKey ? this.#games.length - 1 : at - inRow + this.#columns - 1,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    if (event.key === "ArrowUp" && target < 0) return;
    this.#focusAt(target);
  }
}

/** One place in a row; it shows one game after another. */
function makeCell(column) {
  const cover = h("span", { class: "card-cover" });
  const badge = h("span", { class: "badge" });
  const bar = h("span", { class: "card-bar", "aria-hidden": "true" }, h("span"));
  const name = h("span", { class: "card-name" });
  const meta = h("span", { class: "card-meta" });
  const card = h("button", { type: "button", class: "card", tabindex: "-1" },
    h("span", { class: "card-picture" }, cover, badge, bar), name, meta);
  const element = h("div", { role: "gridcell", "aria-colindex": column }, card);
  let game = null;
  let dressed = null;
  const show = (shown, operation, isCurrent) => {
    game = shown;
    const { text, tone } = standing(game, operation);
    const done = operation ? percent(operation.done_bytes, operation.total_bytes) : 0;
    element.hidden = false;
    card.dataset.id = game.id;
    mark(card, "tabindex", isCurrent ? "0" : "-1");
    say(name, game.name);
    say(meta, metaOf(game, operation, done));
    say(badge, text);
    mark(badge, "class", `badge ${tone}`);
    bar.hidden = !operation;
    if (operation) bar.firstElementChild.style.transform = `scaleX(${done / 100})`;
    if (!isDressed()) cover.replaceChildren();
  };
  const clear = () => {
    game = dressed = null;
    element.hidden = true;
    for (const part of [name, meta, badge, cover]) part.replaceChildren();
  };
  const isDressed = () => game === null || dressed === coverKey(game);
  const dress = (coverOf) => {
    dressed = coverKey(game);
    fill(cover, [coverOf(game)]);
  };
  return { element, card, show, clear, isDressed, dress };
}

const coverKey = (game) => `${game.id}\n${game.name}\n${game.cover_url}`;

function metaOf(game, operation, done) {
  if (operation) return `${done} % of ${size(operation.total_bytes || game.size)}`;
  const parts = [size(game.size)];
  if (game.year) parts.push(game.year);
  if (game.peers.length) parts.push(plural(game.peers.length, "copy", "copies"));
  return parts.join(" · ");
}
