// Numbers and foreign texts as people read them. Pure.

const grouped = new Intl.NumberFormat("en");
const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** 1234567 -> "1.2 MB"; units of 1,000, as disks and networks are sold. */
export function size(bytes) {
  let value = Math.max(0, bytes || 0);
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)}\u00a0${UNITS[unit]}`;
}

export const rate = (bytes) => `${size(bytes)}/s`;

/** 75 -> "1 min 15 s"; never more exact than it is true. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s}\u00a0s`;
  if (s < 600) return `${Math.floor(s / 60)}\u00a0min ${s % 60}\u00a0s`;
  if (s < 5400) return `${Math.round(s / 60)}\u00a0min`;
  return `${Math.floor(s / 3600)}\u00a0h ${Math.round((s % 3600) / 60)}\u00a0min`;
}

export const percent = (done, total) => (total > 0 ? Math.min(100, Math.floor((done / total) * 100)) : 0);

/** plural(1, "game") -> "1 game" */
export function plural(count, one, many = `${one}s`) {
  return `${grouped.format(count)}\u00a0${count === 1 ? one : many}`;
}

/** "a, b and 3 more" */
export function some(names, shown = 3) {
  if (names.length <= shown) return names.join(", ");
  return `${names.slice(0, shown - 1).join(", ")} and ${names.length - shown + 1} more`;
}

/**
 * Text of others, such as a peer's name: it cannot turn what stands beside it around, nor write over
 * the line above. Letters that run from right to left keep to themselves.
 */
export function foreign(text) {
  const clean = String(text ?? "").replace(HIDDEN, "").replace(HEAPED, "$1");
  return RIGHT_TO_LEFT.test(clean) ? `\u2068${clean}\u2069` : clean;
}

/** A name of others, or `id` if nothing of it is to be seen. */
export function nameOr(id, name) {
  return BLANK.test(name ?? "") ? foreign(id) : foreign(name);
}

const BLANK = /^[\s\p{C}\p{M}\p{Z}\u115f\u1160\u3164\uffa0\u2800]*$/u;
// Control characters but for line ends and tabs, and those that embed, override or isolate.
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const HEAPED = /(\p{M}{4})\p{M}+/gu;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** "the disk is full" -> "The disk is full."; what `names`, a store, knows as a name stays as it is. */
export function sentence(text, names = null) {
  const trimmed = String(text).trim();
  if (!trimmed) return "";
  const capital = names?.beginsWithName(trimmed) ? trimmed : trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

/** What went wrong, and what to do: two sentences. */
export function told({ message, remedy }, names = null) {
  return [message && sentence(message, names), remedy && sentence(remedy)].filter(Boolean).join(" ");
}

/** "just now", "5 minutes ago"; `now` and `then` in milliseconds. */
export function ago(then, now) {
  const minutes = Math.floor((now - then) / 60000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${plural(minutes, "minute")} ago`;
  if (minutes < 48 * 60) return `${plural(Math.floor(minutes / 60), "hour")} ago`;
  return `${plural(Math.floor(minutes / 1440), "day")} ago`;
}
