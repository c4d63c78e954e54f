// The page: a WebSocket client like any other. The token comes from the address, after the #.
"use strict";

const games = new Map();
const peers = new Map();
const operations = new Map(); // operation_id -> {id, kind, state, done_bytes, total_bytes, rate, note}
let socket = null;
let self = "";
let nextId = 1;
let waiting = new Map();
let retryMs = 500;
let since = null;
let refreshing = false;
let refreshAgain = false;

const byId = (id) => document.getElementById(id);

function token() {
  return new URLSearchParams(location.hash.slice(1)).get("token") || "";
}

function call(method, params = {}) {
  return new Promise((resolve, reject) => {
    const id = nextId++;
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  });
}

function say(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

function explain(error) {
  const remedy = error.data && error.data.remedy ? `: ${error.data.remedy}` : "";
  say(`${error.message}${remedy}`);
}

function connect() {
  if (!token()) {
    byId("state").textContent = "no token";
    say("Open this page by the link that `lanspread status` prints.");
    return;
  }
  socket = new WebSocket(`ws://${location.host}/ws?token=${encodeURIComponent(token())}`);
  socket.onmessage = (message) => receive(JSON.parse(message.data));
  socket.onclose = () => {
    byId("state").textContent = "not connected; trying again…";
    for (const { reject } of waiting.values()) reject({ message: "the connection was lost" });
    waiting = new Map();
    setTimeout(connect, retryMs);
    retryMs = Math.min(retryMs * 2, 5000);
  };
}

function receive(message) {
  if (message.method === "hello") {
    start(message.params);
  } else if (message.method === "event") {
    apply(message.params);
  } else if (waiting.has(message.id)) {
    const { resolve, reject } = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) reject(message.error);
    else resolve(message.result);
  }
}

async function start(hello) {
  retryMs = 500;
  self = hello.peer_id;
  byId("state").textContent = `connected to ${hello.name}`;
  try {
    if (since && since.instance === hello.instance) {
      await call("subscribe", { since });
      return;
    }
  } catch (error) {
    if (!error.data || error.data.code !== "resync_required") return;
  }
  try {
    const result = await call("subscribe");
    since = { instance: result.instance, seq: result.seq };
    fill(result.snapshot);
    say("");
  } catch (error) {
    explain(error);
  }
}

function fill(snapshot) {
  games.clear();
  peers.clear();
  operations.clear();
  for (const peer of snapshot.peers) peers.set(peer.peer_id, peer);
  setGames(snapshot.games);
  show();
}

function setGames(list) {
  games.clear();
  for (const game of list) {
    games.set(game.id, game);
    const operation = game.operation;
    if (operation) {
      const before = operations.get(operation.operation_id) || {};
      operations.set(operation.operation_id, { ...before, id: game.id, ...operation });
    }
  }
}

// Which games changed says the event; how they look now says the list.
async function refresh() {
  if (refreshing) {
    refreshAgain = true;
    return;
  }
  refreshing = true;
  try {
    do {
      refreshAgain = false;
      setGames(await call("games.list"));
      show();
      await new Promise((done) => setTimeout(done, 300));
    } while (refreshAgain);
  } catch (error) {
    if (socket.readyState === WebSocket.OPEN) explain(error);
  } finally {
    refreshing = false;
  }
}

function apply({ seq, type, data }) {
  if (seq !== null && since) since.seq = seq;
  const [area, what] = type.split(".");
  if (area === "peer") {
    peers.set(data.peer_id, data);
    refresh();
  } else if (area === "library") {
    refresh();
  } else if (data.operation_id && area !== "source") {
    applyOperation(area, what, data);
  } else if (area === "recovery") {
    say(`${nameOf(data.id)}: ${data.what || data.why}`);
  } else if (type === "warning") {
    say(`${data.message}${data.remedy ? `: ${data.remedy}` : ""}`);
  }
  show();
}

function nameOf(id) {
  return games.has(id) ? games.get(id).name : id;
}

function applyOperation(kind, what, data) {
  const before = operations.get(data.operation_id) || { id: data.id, done_bytes: 0, total_bytes: 0 };
  if (what === "begin" || what === "progress" || what === "resumed") {
    operations.set(data.operation_id, { ...before, kind, ...data, state: "running", note: "" });
  } else if (what === "paused") {
    const notes = { no_sources: "waiting for a peer that has it", disk_full: "the disk is full" };
    const state = data.reason === "user" ? "paused" : "waiting";
    operations.set(data.operation_id, { ...before, kind, state, note: notes[data.reason] || "paused" });
  } else {
    operations.delete(data.operation_id);
    if (what === "failed") say(`${nameOf(data.id)}: ${data.message}${data.remedy ? `: ${data.remedy}` : ""}`);
    if (what === "finished" && data.kept && data.kept.length) {
      say(`${nameOf(data.id)}: your files were kept: ${data.kept.slice(0, 5).join(", ")}${data.kept.length > 5 ? ", …" : ""}`);
    }
    refresh();
  }
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

function cell(text, className = "") {
  const element = document.createElement("td");
  element.textContent = text;
  element.className = className;
  return element;
}

function button(label, method, id, question = "") {
  const element = document.createElement("button");
  element.textContent = label;
  element.addEventListener("click", async () => {
    if (question && !window.confirm(question)) return;
    element.disabled = true;
    try {
      await call(method, { id });
      say("");
      refresh();
    } catch (error) {
      explain(error);
      element.disabled = false;
    }
  });
  return element;
}

let planned = false;
function show() {
  // Many events, one painting.
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    showOperations();
    showGames();
    showPeers();
  });
}

const doing = {
  download: "fetching", install: "installing", update: "updating", uninstall: "uninstalling", remove: "removing",
};

function showOperations() {
  byId("operations").hidden = operations.size === 0;
  byId("operation-list").replaceChildren(...[...operations.values()].map((operation) => {
    const item = document.createElement("li");
    const text = document.createElement("span");
    const rate = operation.rate ? ` at ${size(operation.rate)}/s` : "";
    const note = operation.note ? `, ${operation.note}` : rate;
    const amount = operation.total_bytes ? `: ${size(operation.done_bytes)} of ${size(operation.total_bytes)}` : "";
    text.textContent = `${nameOf(operation.id)}, ${doing[operation.kind] || operation.kind}${amount}${note}`;
    const bar = document.createElement("progress");
    bar.max = operation.total_bytes || 1;
    bar.value = operation.done_bytes;
    item.append(text);
    if (operation.kind === "download") {
      item.append(operation.state === "paused"
        ? button("Resume", "game.resume", operation.id)
        : button("Pause", "game.pause", operation.id));
    }
    item.append(button("Cancel", "game.cancel", operation.id), bar);
    return item;
  }));
}

function actions(game) {
  if (game.operation) return [];
  const found = [];
  if (!game.downloaded && game.peers.length) found.push(button("Get", "game.download", game.id));
  if (game.update_available) found.push(button("Update", "game.update", game.id));
  if (game.downloaded && !game.installed) found.push(button("Install", "game.install", game.id));
  if (game.installed) {
    found.push(button("Uninstall", "game.uninstall", game.id,
      `Remove the installed ${game.name} with all its saves and settings?`));
  }
  if (game.downloaded) {
    found.push(button("Remove", "game.remove", game.id,
      `Remove the downloaded files of ${game.name}? What is installed stays.`));
  }
  return found;
}

function showGames() {
  const sorted = [...games.values()].sort((a, b) => a.name.localeCompare(b.name));
  byId("no-games").hidden = sorted.length > 0;
  byId("games").replaceChildren(...sorted.map((game) => {
    const row = document.createElement("tr");
    const here = [game.downloaded && "downloaded", game.installed && "installed"].filter(Boolean).join(", ");
    const at = game.peers.map((id) => (peers.has(id) ? peers.get(id).name : id)).join(", ");
    const action = cell("");
    action.append(...actions(game));
    row.append(cell(game.name), cell(game.eti_version), cell(size(game.size), "number"), cell(here), cell(at), action);
    return row;
  }));
}

function showPeers() {
  const sorted = [...peers.values()].filter((peer) => peer.peer_id !== self)
    .sort((a, b) => a.name.localeCompare(b.name));
  byId("no-peers").hidden = sorted.length > 0;
  byId("peers").replaceChildren(...sorted.map((peer) => {
    const row = document.createElement("tr");
    row.append(cell(peer.name), cell(peer.state), cell(peer.game_count, "number"), cell(peer.addresses.join(", ")));
    return row;
  }));
}

window.addEventListener("hashchange", () => location.reload());
connect();
