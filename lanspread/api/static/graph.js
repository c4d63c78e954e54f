// A small picture of how fast something went over the last minute. Decoration: the number is beside it.

import { svg } from "./dom.js";

const POINTS = 120;
const HEIGHT = 40;
// What is young fills the width all the same.
const LEAST = 40;

/** `{element, draw(samples)}`; samples are bytes a second, the newest last. */
export function makeGraph() {
  const area = svg("path", { class: "graph-area" });
  const line = svg("path", { class: "graph-line", "vector-effect": "non-scaling-stroke" });
  const element = svg(
    "svg",
    { class: "graph", viewBox: `0 0 ${POINTS - 1} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    area,
    line,
  );
  const draw = (samples) => {
    const top = Math.max(1, ...samples) * 1.1;
    const step = (POINTS - 1) / (Math.max(LEAST, samples.length) - 1);
    const start = POINTS - 1 - (samples.length - 1) * step;
    const points = samples.map((value, at) =>
      `${(start + at * step).toFixed(1)} ${(HEIGHT - (value / top) * (HEIGHT - 2) - 1).toFixed(1)}`);
    const path = points.length > 1 ? `M${points.join("L")}` : "";
    line.setAttribute("d", path);
    area.setAttribute("d", path && `${path}V${HEIGHT}H${start}z`);
  };
  return { element, draw };
}
