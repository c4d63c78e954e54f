// What is known: games, peers, operations, this peer. Changed by the snapshot and by events only.
//
// It tells "change" when something is to be painted anew, "stale" when games should be asked for
// again (those with these `ids`, or all), and "notice" for what a person should hear of.

import { foreign, nameOr } from "./format.js";

const MAX_SAMPLES = 120;
const MAX_ENDED = 500;

export class Store extends EventTarget {
  games = new Map();
  peers = new Map();
  operations = new Map();
  best = new Map(); // peer_id -> bytes a second
  status = null;
  self = { peer_id: "", name: "", instance: "", capabilities: [] };
  since = null;
  #ended = new Set();

  fill({ instance, seq, snapshot }) {
    this.since = { instance, seq };
    this.operations.clear();
    this.#ended.clear();
    this.peers = new Map(snapshot.peers.map((peer) => [peer.peer_id, readPeer(peer)]));
    this.status = snapshot.status;
    this.setGames(snapshot.games);
  }

  setGames(list) {
    this.games = new Map();
    this.#take(list);
  }

  #take(list) {
    for (const game of list) {
      this.games.set(game.id, readGame(game));
      const { id, operation } = game;
      // The list may be older than an event that ended the operation.
      if (operation && !this.#ended.has(operation.operation_id)) this.#merge(id, operation);
    }
    this.#changed();
  }

  /** How games look now of which these IDs were asked for; one that is not listed is no more. */
  setSome(ids, list) {
    // An ID's spelling is that of the folder here, or else of the one who offers it.
    const asked = new Set(ids.map(folded));
    this.games = new Map([...this.games].filter(([id]) => !asked.has(folded(id))));
    this.#take(list);
  }

  setStatus(status) {
    this.status = status;
    this.#changed();
  }

  can(method) {
    return this.self.capabilities.includes(method);
  }

  operationOf(gameId) {
    for (const operation of this.operations.values()) if (operation.id === gameId) return operation;
    return null;
  }

  /** What this peer is called now; the name it greeted with may be an old one. */
  get name() {
    return this.status?.name ?? this.self.name;
  }

  /** How fast peers are and were, peer_id -> {now, best}: only what runs, and who is there, is now. */
  get speeds() {
    const speeds = new Map([...this.best].map(([peerId, best]) => [peerId, { now: 0, best }]));
    for (const { state, source_rates: rates } of this.operations.values()) {
      if (state !== "running") continue;
      for (const [peerId, rate] of Object.entries(rates ?? {})) {
        const speed = speeds.get(peerId);
        if (speed && this.peers.get(peerId)?.state === "connected") speed.now += rate;
      }
    }
    return speeds;
  }

  nameOf(gameId) {
    return this.games.get(gameId)?.name ?? foreign(gameId);
  }

  peerName(peerId) {
    return this.peers.get(peerId)?.name ?? peerId.slice(0, 8);
  }

  /** Whether a text begins with the name or ID of a game or a peer, which are written as they are. */
  beginsWithName(text) {
    const begins = (name) => name && text.startsWith(name) && !/[\p{L}\p{N}]/u.test(text.charAt(name.length));
    for (const { id, name } of this.games.values()) if (begins(id) || begins(name)) return true;
    for (const { peer_id: id, name } of this.peers.values()) if (begins(id) || begins(name)) return true;
    return begins(this.name);
  }

  apply({ seq, type, data }) {
    if (seq !== null && this.since) this.since.seq = seq;
    const [area, what] = type.split(".");
    if (area === "peer") {
      this.#peer(what, data);
    } else if (area === "library") {
      this.#tell("stale", { ids: data.games });
    } else if (data.operation_id && area !== "source") {
      this.#operation(area, what, data);
    } else if (area === "recovery" || type === "warning") {
      this.#tell("notice", { kind: type, id: data.id, data: readNotice(data) });
    }
    this.#changed();
  }

  #peer(what, data) {
    const { reason, ...peer } = data;
    if (what === "lost" && String(reason).startsWith("forgotten")) {
      this.peers.delete(peer.peer_id);
      this.best.delete(peer.peer_id);
    } else {
      this.peers.set(peer.peer_id, { ...readPeer(peer), reason });
    }
    // What a peer offers comes and goes with it.
    if (what === "connected" || what === "lost") this.#tell("stale", { ids: null });
  }

  #operation(kind, what, data) {
    const { operation_id: key, id } = data;
    if (what === "finished" || what === "failed" || what === "cancelled") {
      this.#ended.add(key);
      if (this.#ended.size > MAX_ENDED) this.#ended.delete(this.#ended.values().next().value);
      this.operations.delete(key);
      this.#tell("notice", { kind: `operation.${what}`, operation: kind, id, data: readNotice(data) });
      this.#tell("stale", { ids: [id] });
      return;
    }
    if (what === "progress") {
      // It comes while one waits, too: whether it goes on is said by the others.
      this.#sample(this.#merge(id, { state: "running", ...this.operations.get(key), ...data, kind }), data);
      return;
    }
    const state = what === "paused" ? (data.reason === "user" ? "paused" : "waiting") : "running";
    this.#merge(id, { ...data, kind, state, reason: data.reason ?? null, rate: 0, source_rates: {} });
    if (what === "begin") this.#tell("stale", { ids: [id] });
  }

  #merge(id, changes) {
    const key = changes.operation_id;
    const known = this.operations.get(key)
      ?? { done_bytes: 0, total_bytes: 0, rate: 0, eta_s: null, sources: [], samples: [], reason: null };
    const operation = { ...known, ...changes, id };
    this.operations.set(key, operation);
    return operation;
  }

  #sample(operation, data) {
    operation.samples.push(data.rate);
    if (operation.samples.length > MAX_SAMPLES) operation.samples.shift();
    for (const [peerId, now] of Object.entries(data.source_rates ?? {})) {
      this.best.set(peerId, Math.max(now, this.best.get(peerId) ?? 0));
    }
  }

  #changed() {
    this.#tell("change");
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// What others wrote, made fit to be shown. IDs stay as they are: they are sent back.

function folded(id) {
  return id.normalize("NFC").toLowerCase();
}

function readGame(game) {
  const read = { ...game };
  for (const key of ["description", "genre", "players", "eti_version", "local_version", "installed_version"]) {
    if (typeof read[key] === "string") read[key] = foreign(read[key]);
  }
  read.name = nameOr(game.id, game.name);
  return read;
}

function readPeer(peer) {
  return { ...peer, name: nameOr(peer.peer_id.slice(0, 8), peer.name) };
}

function readNotice(data) {
  const read = { ...data };
  for (const key of ["message", "remedy", "what", "why"]) {
    if (typeof read[key] === "string") read[key] = foreign(read[key]);
  }
  if (read.kept) read.kept = read.kept.map(foreign);
  return read;
}
