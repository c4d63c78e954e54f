// What a person should hear of, as notifications.

import { plural, size, some } from "./format.js";
import { toast } from "./toasts.js";

const DONE = {
  download: (name) => `${name} is downloaded`,
  install: (name) => `${name} is installed`,
  update: (name) => `${name} is updated`,
  uninstall: (name) => `${name} is uninstalled`,
  remove: (name) => `The download of ${name} is removed`,
};
const FAILED = {
  download: (name) => `${name} could not be downloaded`,
  install: (name) => `${name} could not be installed`,
  update: (name) => `${name} could not be updated`,
  uninstall: (name) => `${name} could not be uninstalled`,
  remove: (name) => `The download of ${name} could not be removed`,
};

/** Show a notice of the store. `act(method, id, params)` makes a call. */
export function showNotice({ kind, operation, id, data }, store, act) {
  const name = id === undefined ? "" : store.nameOf(id);
  if (kind === "operation.finished") {
    toast({ tone: "good", title: DONE[operation](name), ...finished(operation, id, data, store, act) });
  } else if (kind === "operation.failed") {
    const action = operation === "remove" && data.code === "folder_not_empty"
      ? { label: "Remove all files", run: () => act("game.remove", id, { force: true }) } : null;
    toast({ tone: "bad", title: FAILED[operation](name), detail: data.message, remedy: data.remedy, action, names: store });
  } else if (kind === "operation.cancelled") {
    toast({ title: `${name}: cancelled` });
  } else if (kind === "recovery.repaired") {
    toast({ title: `${name}: put right after an interruption`, detail: data.what, names: store });
  } else if (kind === "recovery.blocked") {
    toast({ tone: "bad", title: `${name} needs a look`, detail: data.why, names: store });
  } else {
    toast({ tone: "bad", title: "Warning", detail: data.message, remedy: data.remedy, names: store });
  }
}

function finished(operation, id, data, store, act) {
  if (operation === "download") {
    const detail = data.bytes_fetched > 0
      ? `${size(data.bytes_fetched)} in ${Math.max(1, Math.round(data.seconds))} s` : "Everything was here already";
    const canInstall = !store.games.get(id)?.installed;
    return { detail, action: canInstall ? { label: "Install", run: () => act("game.install", id) } : null };
  }
  const kept = data.kept ?? [];
  const count = kept.length + (data.kept_omitted ?? 0);
  return count ? { detail: `${plural(count, "file")} of yours kept: ${some(kept)}` } : {};
}
