// Numbers as people read them. Pure.

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

/** "just now", "5 minutes ago"; `now` and `then` in milliseconds. */
export function ago(then, now) {
  const minutes = Math.floor((now - then) / 60000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${plural(minutes, "minute")} ago`;
  if (minutes < 48 * 60) return `${plural(Math.floor(minutes / 60), "hour")} ago`;
  return `${plural(Math.floor(minutes / 1440), "day")} ago`;
}
