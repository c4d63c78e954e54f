// The page: a WebSocket client like any other. The token comes from the address, after the #.
"use strict";

const games = new Map();
const peers = new Map();
const downloads = new Map(); // operation_id -> {id, done_bytes, total_bytes, rate, eta_s, note}
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
  downloads.clear();
  for (const peer of snapshot.peers) peers.set(peer.peer_id, peer);
  setGames(snapshot.games);
  show();
}

function setGames(list) {
  games.clear();
  for (const game of list) {
    games.set(game.id, game);
    const operation = game.operation;
    if (operation && operation.kind === "download" && !downloads.has(operation.operation_id)) {
      downloads.set(operation.operation_id, { id: game.id, ...operation });
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
  } else if (area === "download") {
    applyDownload(what, data);
  } else if (type === "warning") {
    say(`${data.message}${data.remedy ? `: ${data.remedy}` : ""}`);
  }
  show();
}

function applyDownload(what, data) {
  const name = games.has(data.id) ? games.get(data.id).name : data.id;
  if (what === "begin" || what === "progress" || what === "resumed") {
    const before = downloads.get(data.operation_id) || { id: data.id, done_bytes: 0, total_bytes: 0 };
    downloads.set(data.operation_id, { ...before, ...data, note: "" });
  } else if (what === "paused") {
    const notes = { no_sources: "waiting for a peer that has it", disk_full: "the disk is full" };
    const before = downloads.get(data.operation_id) || { id: data.id, done_bytes: 0, total_bytes: 0 };
    downloads.set(data.operation_id, { ...before, note: notes[data.reason] || "paused" });
  } else {
    downloads.delete(data.operation_id);
    if (what === "failed") say(`${name}: ${data.message}${data.remedy ? `: ${data.remedy}` : ""}`);
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

function button(label, method, id) {
  const element = document.createElement("button");
  element.textContent = label;
  element.addEventListener("click", async () => {
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
    showDownloads();
    showGames();
    showPeers();
  });
}

function showDownloads() {
  byId("downloads").hidden = downloads.size === 0;
  byId("download-list").replaceChildren(...[...downloads.values()].map((download) => {
    const item = document.createElement("li");
    const text = document.createElement("span");
    const game = games.get(download.id);
    const rate = download.rate ? ` at ${size(download.rate)}/s` : "";
    const note = download.note ? `, ${download.note}` : rate;
    text.textContent = `${game ? game.name : download.id}: ${size(download.done_bytes)} of ${size(download.total_bytes)}${note}`;
    const bar = document.createElement("progress");
    bar.max = download.total_bytes || 1;
    bar.value = download.done_bytes;
    item.append(text, button("Cancel", "game.cancel", download.id), bar);
    return item;
  }));
}

function showGames() {
  const sorted = [...games.values()].sort((a, b) => a.name.localeCompare(b.name));
  byId("no-games").hidden = sorted.length > 0;
  byId("games").replaceChildren(...sorted.map((game) => {
    const row = document.createElement("tr");
    const here = game.installed ? "installed" : game.downloaded ? "downloaded" : "";
    const at = game.peers.map((id) => (peers.has(id) ? peers.get(id).name : id)).join(", ");
    const action = cell("");
    if (!game.operation && game.peers.length && (!game.downloaded || game.update_available)) {
      action.append(button(game.downloaded ? "Update" : "Get", "game.download", game.id));
    }
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
