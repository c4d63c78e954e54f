// What can be done with a game now. Pure; who shows it and who asks first is elsewhere.

/** The actions of a game, the most likely first: `{name, label, icon, method, wanted?, ask?}`. */
export function actionsFor(game, operation) {
  if (operation) return duringOperation(operation);
  const offered = game.peers.length > 0;
  const actions = [];
  if (game.update_available && (offered || game.installed)) actions.push(UPDATE);
  else if (!game.downloaded && offered) actions.push(DOWNLOAD);
  if (game.downloaded && !game.installed) actions.push(INSTALL);
  if (game.installed) actions.push(UNINSTALL);
  if (game.downloaded || isPartlyHere(game)) actions.push(REMOVE);
  return actions;
}

/** Whether files of a game are here and not all: a download that was cancelled, or a copy by hand. */
export function isPartlyHere(game) {
  return game.availability === "local_only" && !game.downloaded && !game.installed;
}

function duringOperation({ kind, state, reason }) {
  if (kind !== "download") return [CANCEL];
  if (state === "paused" || (state === "waiting" && reason === "disk_full")) return [RESUME, CANCEL];
  return [PAUSE, CANCEL];
}

const DOWNLOAD = { name: "download", label: "Download", icon: "download", method: "game.download", wanted: true };
const INSTALL = { name: "install", label: "Install", icon: "box", method: "game.install", wanted: true };
const UPDATE = { name: "update", label: "Update", icon: "refresh", method: "game.update", wanted: true };
const PAUSE = { name: "pause", label: "Pause", icon: "pause", method: "game.pause" };
const RESUME = { name: "resume", label: "Resume", icon: "play", method: "game.resume", wanted: true };
const CANCEL = { name: "cancel", label: "Cancel", icon: "close", method: "game.cancel" };
const UNINSTALL = {
  name: "uninstall",
  label: "Uninstall",
  icon: "undo",
  method: "game.uninstall",
  ask: (name) => ({
    title: `Uninstall ${name}?`,
    text: "This deletes the game's folder local/ with everything in it: saved games, settings and mods too. The downloaded files stay, so it can be installed again.",
    yes: "Uninstall and delete saves",
  }),
};
const REMOVE = {
  name: "remove",
  label: "Remove",
  icon: "trash",
  method: "game.remove",
  ask: (name, game) => ({
    title: `Remove the download of ${name}?`,
    text: isPartlyHere(game) ? "This deletes what is here of it." : `This deletes the downloaded files; others cannot fetch them from here any more.${
      game.installed ? " What is installed in local/ stays." : ""}`,
    yes: "Remove",
  }),
};

/** Where a game stands, in a word or two: `{text, tone}`. */
export function standing(game, operation) {
  if (operation) return { text: doing(operation), tone: TONES[operation.state === "waiting" ? operation.reason : operation.state] ?? "still" };
  if (game.update_available) return { text: "Update", tone: "update" };
  if (game.installed) return { text: "Installed", tone: "good" };
  if (game.downloaded) return { text: "Downloaded", tone: "here" };
  if (isPartlyHere(game)) return { text: "Partly here", tone: "still" };
  return { text: "", tone: "" };
}

/** What an operation does now, in a word or two. */
export function doing({ kind, state, reason }) {
  if (state === "waiting" && reason === "disk_full") return "Disk full";
  return DOING[state === "running" ? kind : state];
}

const TONES = { running: "busy", disk_full: "bad" };

export const DOING = {
  download: "Downloading",
  install: "Installing",
  update: "Updating",
  uninstall: "Uninstalling",
  remove: "Removing",
  paused: "Paused",
  waiting: "Waiting",
};

/** Why an operation does not go on, as a sentence; "" if it does. */
export function whyStill({ state, reason, needed_bytes: needed }, size) {
  if (state === "paused") return "Paused";
  if (state !== "waiting") return "";
  if (reason === "disk_full") {
    return `The disk is full${needed ? `: ${size(needed)} more are needed` : ""}. Free some space, then resume.`;
  }
  if (reason === "no_sources") return "Waiting for a peer that has it";
  return "Waiting";
}
