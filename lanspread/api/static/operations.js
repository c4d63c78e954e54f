// What is going on now: one item per operation, with bar, rate, time left, sources and a graph.

import { actionsFor, doing, DOING, whyStill } from "./actions.js";
import { byId, fill, h, mark, say } from "./dom.js";
import { duration, percent, rate, size, some } from "./format.js";
import { makeGraph } from "./graph.js";
import { icon } from "./icons.js";

/** How far an operation is, in words. */
export function progressText(operation, store) {
  const { kind, done_bytes: done, total_bytes: total, rate: speed, eta_s: left, sources } = operation;
  // A source that vanishes says nothing: between its last byte and its loss nobody answers.
  const silent = kind === "download" && operation.samples.length > 0 && !sources?.length;
  const still = whyStill(operation, size) || (silent ? "Nobody who has it answers just now" : "");
  const parts = total > 0 ? [`${size(done)} of ${size(total)}`] : [];
  if (still) parts.push(still);
  else if (speed > 0) parts.push(rate(speed));
  if (!still && left !== null && left !== undefined && speed > 0) parts.push(`${duration(left)} left`);
  if (!still && kind === "download" && sources?.length) {
    parts.push(`from ${some(sources.map((id) => store.peerName(id)))}`);
  }
  return parts.join(" · ");
}

/** A bar, a graph and the words; shown in the list and on the game's page. */
export function makeMeter(label) {
  const bar = h("progress", { max: "100", "aria-label": label });
  const graph = makeGraph();
  const text = h("p", { class: "meter-text" });
  const element = h("div", { class: "meter" }, graph.element, bar, text);
  const show = (operation, store) => {
    const indeterminate = !operation.total_bytes && operation.state === "running";
    if (indeterminate) bar.removeAttribute("value");
    else bar.value = percent(operation.done_bytes, operation.total_bytes);
    mark(element, "data-state", operation.state);
    mark(graph.element, "class", operation.samples.length > 1 ? "graph" : "graph empty");
    graph.draw(operation.samples);
    say(text, progressText(operation, store));
  };
  return { element, show };
}

export class OperationList {
  #items = new Map();

  constructor(store, { onOpen, onAction }) {
    this.store = store;
    this.onOpen = onOpen;
    this.onAction = onAction;
  }

  render() {
    const operations = [...this.store.operations.values()];
    byId("now").hidden = operations.length === 0;
    const list = byId("operations");
    const hadFocus = list.contains(document.activeElement);
    for (const key of this.#items.keys()) if (!this.store.operations.has(key)) this.#items.delete(key);
    fill(list, operations.map((operation) => this.#item(operation)));
    if (hadFocus && !list.contains(document.activeElement)) byId("now").focus();
    const total = operations.reduce((sum, operation) => sum + (operation.kind === "download" ? operation.rate : 0), 0);
    say(byId("now-rate"), total > 0 ? rate(total) : "");
  }

  #item(operation) {
    const key = operation.operation_id;
    let item = this.#items.get(key);
    if (!item) {
      item = this.#make(operation);
      this.#items.set(key, item);
    }
    item.show(operation);
    return item.element;
  }

  #make({ id, kind }) {
    const title = h("button", { type: "button", class: "plain operation-name", onclick: () => this.onOpen(id) });
    const stand = h("span", { class: "operation-kind" });
    const buttons = h("span", { class: "operation-buttons" });
    const meter = makeMeter(`${DOING[kind] ?? kind} ${this.store.nameOf(id)}`);
    const element = h("li", { class: "operation" }, h("div", { class: "operation-head" }, title, stand, buttons), meter.element);
    let shown = "";
    const show = (operation) => {
      const name = this.store.nameOf(id);
      say(title, name);
      say(stand, `${doing({ ...operation, kind })} ${percent(operation.done_bytes, operation.total_bytes)} %`);
      meter.show(operation, this.store);
      const game = this.store.games.get(id) ?? { peers: [] };
      const actions = actionsFor(game, operation);
      const names = `${name}\n${actions.map((action) => action.name)}`;
      if (names === shown) return;
      shown = names;
      buttons.replaceChildren(...actions.map((action) => h("button", {
        type: "button", class: "plain", "aria-label": `${action.label} ${name}`, title: action.label,
        onclick: () => this.onAction(action, id),
      }, icon(action.icon))));
    };
    return { element, show };
  }
}
