// The page: a WebSocket client like any other (docs/api.md). This file wires its parts.

import { ask } from "./ask.js";
import { Connection } from "./connection.js";
import { byId, mark, perFrame, say } from "./dom.js";
import { foreign, percent, plural } from "./format.js";
import { GamePage } from "./game.js";
import { showNotice } from "./notices.js";
import { OperationList } from "./operations.js";
import { PeerList } from "./peers.js";
import { Refresh } from "./refresh.js";
import { go, openGame, token, watch } from "./routes.js";
import { Search, select } from "./search.js";
import { Settings } from "./settings.js";
import { Shelf } from "./shelf.js";
import { Store } from "./store.js";
import { toast } from "./toasts.js";
import { Welcome } from "./welcome.js";

const store = new Store();
const connection = new Connection(token());
const call = (method, params) => connection.call(method, params);

const search = new Search(() => { renderShelf(true); }, () => shelf.focus());
const shelf = new Shelf(byId("grid"), { operationOf: (id) => store.operationOf(id), onOpen: go });
const page = new GamePage(store, { call, onAction: act, onBack: () => go(null) });
const operations = new OperationList(store, { onOpen: go, onAction: act });
const peers = new PeerList(store, { onShow: showPeer });
const welcome = new Welcome(store, { connect: (address) => call("peers.connect", { address }), onReset: reset });
new Settings(store, { call });

// -- doing ----------------------------------------------------------------------------------------

async function act(action, id, params = {}) {
  const name = store.nameOf(id);
  if (action.ask && !(await ask(action.ask(name, store.games.get(id) ?? {})))) return;
  await perform(action.method, id, params);
}

async function perform(method, id, params = {}) {
  try {
    await call(method, { id, ...params });
  } catch (error) {
    toast({ tone: "bad", title: store.nameOf(id), detail: error.message, remedy: error.remedy, names: store });
  }
}

function showPeer(peerId) {
  search.reset();
  search.peer = peerId;
  go(null);
  renderShelf(true);
  search.field.focus();
}

function reset() {
  search.reset();
  renderShelf(true);
  search.field.focus();
}

// -- the connection -------------------------------------------------------------------------------

connection.addEventListener("hello", async ({ detail: hello }) => {
  const { since } = store;
  store.self = hello;
  try {
    if (since && since.instance === hello.instance) {
      try {
        await call("subscribe", { since });
        refresh.stale();
        return;
      } catch (error) {
        if (error.code !== "resync_required") throw error;
      }
    }
    store.fill(await call("subscribe"));
  } catch (error) {
    if (error.code !== "disconnected") toast({ tone: "bad", title: "Not subscribed", detail: error.message, remedy: error.remedy });
  }
});
connection.addEventListener("event", ({ detail }) => store.apply(detail));
connection.addEventListener("status", ({ detail }) => store.setStatus(detail));
connection.addEventListener("state", ({ detail }) => showState(detail));

const SAID = {
  connecting: ["Connecting …", ""],
  open: ["", ""],
  lost: ["Not connected to lanspread.", "It is tried again by itself; what you see may be out of date."],
  denied: ["This link is not valid.", "Open the page by the link that lanspread status prints."],
  "no-token": ["This address lacks its token.", "Open the page by the link that lanspread status prints."],
};

function showState(state) {
  const [what, remedy] = SAID[state];
  mark(document.documentElement, "data-connection", state);
  sayConnection();
  const quiet = state === "open" || state === "connecting";
  byId("banner").hidden = quiet;
  say(byId("banner-text"), quiet ? "" : `${what} ${remedy}`);
  document.documentElement.classList.toggle("locked", isLocked());
  byId("locked").hidden = !isLocked();
  route();
  render();
}

/** Whether this page was never let in: there is nothing to be shown. */
function isLocked() {
  return store.status === null && (connection.state === "denied" || connection.state === "no-token");
}

function sayConnection() {
  const { state } = connection;
  say(byId("connection"), state === "open" ? `Connected to ${foreign(store.name)}` : SAID[state][0]);
}

// Events say which games changed; the list says how they look now.
const refresh = new Refresh({
  list: (params) => call("games.list", params),
  setGames: (games) => store.setGames(games),
  setSome: (ids, games) => store.setSome(ids, games),
});
store.addEventListener("stale", ({ detail }) => refresh.stale(detail.ids));
store.addEventListener("notice", ({ detail }) => showNotice(detail, store, perform));

// -- painting -------------------------------------------------------------------------------------

let shownGames = null;
let shownQuery = "";

function renderShelf(afresh = false) {
  const query = JSON.stringify(search.query);
  const all = store.games;
  if (all !== shownGames || query !== shownQuery || afresh) {
    const moved = query !== shownQuery;
    [shownGames, shownQuery] = [all, query];
    const games = [...all.values()];
    const fitting = select(games, search.query);
    search.count(games, (id) => store.peerName(id));
    byId("grid").hidden = fitting.length === 0;
    shelf.show(fitting);
    if (search.isNarrowed) say(byId("found"), `${plural(fitting.length, "game")} found`);
    else say(byId("found"), "");
    if (moved && scrollY > byId("shelf").offsetTop) scrollTo(0, 0);
    welcome.render(fitting.length, search.isNarrowed);
  } else {
    shelf.render();
    welcome.render(byId("grid").hidden ? 0 : 1, search.isNarrowed);
  }
}

function title() {
  const running = [...store.operations.values()].filter((operation) => operation.state === "running");
  if (!running.length) return page.id === null ? "lanspread" : `${store.nameOf(page.id)} – lanspread`;
  const done = running.reduce((sum, operation) => sum + operation.done_bytes, 0);
  const total = running.reduce((sum, operation) => sum + operation.total_bytes, 0);
  return `${percent(done, total)} % – lanspread`;
}

const render = perFrame(() => {
  if (page.id === null) renderShelf();
  page.render();
  operations.render();
  peers.render();
  sayConnection();
  const wanted = title();
  if (document.title !== wanted) document.title = wanted;
});
store.addEventListener("change", render);

// -- where one is ---------------------------------------------------------------------------------

let shelfScroll = 0;

function route() {
  const id = isLocked() ? null : openGame();
  const before = page.id;
  if (id === before) return;
  if (before === null) shelfScroll = scrollY;
  byId("shelf").hidden = id !== null;
  byId("game").hidden = id === null;
  if (id !== null) {
    page.open(id);
    scrollTo(0, 0);
  } else {
    page.close();
    renderShelf(true);
    scrollTo(0, shelfScroll);
    shelf.render();
    if (before !== null) shelf.focus(before);
  }
  render();
}

watch(route);
addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    go(null);
    search.field.focus();
    search.field.select();
  } else if (event.key === "Escape" && page.id !== null && !typing && !document.querySelector("dialog[open]")) {
    go(null);
  }
});

// The list of peers is open where there is room beside the shelf.
const wide = matchMedia("(min-width: 68rem)");
const follow = () => { byId("peers-box").open = wide.matches; };
wide.addEventListener("change", follow);
follow();

showState(connection.state);
connection.open();
