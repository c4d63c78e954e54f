// A game's cover: its picture, or one that is drawn from its name, the same on every machine.

import { h, svg } from "./dom.js";

const WIDTH = 120;
const HEIGHT = 160;
// Not all around the circle: dark yellows and greens look like mud.
const HUES = [8, 28, 48, 150, 172, 195, 215, 235, 255, 272, 290, 312, 335, 352];

/** A cover that may be put anywhere; decoration only, the game's name stands beside it. */
export function makeCover(game) {
  const box = h("div", { class: "cover", "aria-hidden": "true" });
  if (game.cover_url) {
    const picture = h("img", { src: game.cover_url, alt: "", decoding: "async", draggable: "false" });
    picture.addEventListener("error", () => box.replaceChildren(drawn(game.name)), { once: true });
    box.append(picture);
  } else {
    box.append(drawn(game.name));
  }
  return box;
}

function drawn(name) {
  const random = generator(hash(name.normalize("NFC").toLowerCase()));
  const hue = HUES[Math.floor(random() * HUES.length)] + random() * 12 - 6;
  const other = hue + (random() < 0.5 ? -1 : 1) * (24 + random() * 36);
  const colours = {
    deep: `oklch(0.32 0.09 ${hue})`,
    mid: `oklch(0.47 0.12 ${hue + (other - hue) / 3})`,
    light: `oklch(0.65 0.13 ${other})`,
    glow: `oklch(0.83 0.11 ${other + (other - hue) * 0.9})`,
  };
  const motif = MOTIFS[Math.floor(random() * MOTIFS.length)];
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "xMidYMid slice", focusable: "false" },
    svg("rect", { width: WIDTH, height: HEIGHT, fill: colours.deep }),
    ...motif(random, colours),
    svg("text", { x: 10, y: 148, class: "monogram" }, monogram(name)),
  );
}

function monogram(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  if (words.length === 0) return "?";
  const letters = words.length === 1 ? [...words[0]].slice(0, 2) : words.slice(0, 3).map((word) => [...word][0]);
  return letters.join("").replace(/^./u, (first) => first.toUpperCase());
}

const MOTIFS = [sunset, hills, rings, tiles, beams, peaks, orbits];

function sunset(random, { mid, light, glow, deep }) {
  const y = 62 + random() * 24;
  const x = 36 + random() * 48;
  const bars = [0, 1, 2, 3].map((at) =>
    svg("rect", { x: 0, y: y + 6 + at * 9, width: WIDTH, height: 2 + at * 1.4, fill: deep }));
  return [
    svg("rect", { width: WIDTH, height: HEIGHT, fill: mid }),
    svg("circle", { cx: x, cy: y, r: 34, fill: glow }),
    ...bars,
    svg("rect", { y: y + 42, width: WIDTH, height: HEIGHT, fill: deep }),
    svg("path", { d: `M0 ${y + 42}h${WIDTH}`, stroke: light, "stroke-width": 1.5 }),
  ];
}

function hills(random, { mid, light, glow, deep }) {
  const wave = (y, swing, fill) => {
    const [a, b, c] = [0, 1, 2].map(() => y + (random() * 2 - 1) * swing);
    const crest = 30 + random() * 60;
    return svg("path", {
      d: `M0 ${a}C${crest / 2} ${a - swing} ${crest - 15} ${b} ${crest} ${b}S${WIDTH - 20} ${c + swing} ${WIDTH} ${c}V${HEIGHT}H0z`,
      fill,
    });
  };
  return [
    svg("rect", { width: WIDTH, height: HEIGHT, fill: light }),
    svg("circle", { cx: 20 + random() * 80, cy: 34, r: 13, fill: glow }),
    wave(66, 16, mid),
    wave(94, 18, `color-mix(in oklab, ${mid}, ${deep})`),
    wave(122, 12, deep),
  ];
}

function rings(random, { mid, light, glow, deep }) {
  const x = random() < 0.5 ? 0 : WIDTH;
  const y = random() * 50;
  return [
    svg("rect", { width: WIDTH, height: HEIGHT, fill: deep }),
    ...[118, 92, 66, 40, 18].map((r, at) =>
      svg("circle", { cx: x, cy: y, r, fill: [mid, deep, light, mid, glow][at] })),
  ];
}

function tiles(random, { mid, light, glow, deep }) {
  const side = 24;
  const parts = [svg("rect", { width: WIDTH, height: HEIGHT, fill: deep })];
  const lines = { [mid]: "", [light]: "", [glow]: "" };
  const shades = [mid, mid, mid, light, light, glow];
  for (let y = 0; y < 96; y += side) {
    for (let x = 0; x < WIDTH; x += side) {
      if (random() < 0.22) continue;
      const turned = random() < 0.5;
      lines[shades[Math.floor(random() * shades.length)]] += turned
        ? `M${x} ${y}h${side}L${x} ${y + side}z` : `M${x + side} ${y}v${side}H${x}z`;
    }
  }
  for (const [fill, d] of Object.entries(lines)) parts.push(svg("path", { d, fill }));
  return parts;
}

function beams(random, { mid, light, glow, deep }) {
  const tilt = 30 + random() * 40;
  let x = -20 + random() * 20;
  const parts = [svg("rect", { width: WIDTH, height: HEIGHT, fill: deep })];
  for (const fill of [mid, light, glow, light, mid]) {
    const wide = 7 + random() * 15;
    parts.push(svg("path", { d: `M${x + tilt} 0h${wide}L${x + wide - tilt} ${HEIGHT}h${-wide}z`, fill }));
    x += wide + 3 + random() * 8;
  }
  // The letters stand on this.
  parts.push(svg("rect", { y: 112, width: WIDTH, height: 48, fill: deep }));
  return parts;
}

function peaks(random, { mid, light, glow, deep }) {
  const peak = (x, y, half, fill) =>
    svg("path", { d: `M${x} ${y}l${half} ${HEIGHT - y}h${-2 * half}z`, fill });
  const x = 40 + random() * 40;
  return [
    svg("rect", { width: WIDTH, height: HEIGHT, fill: mid }),
    svg("circle", { cx: WIDTH - x, cy: 36, r: 15, fill: glow }),
    peak(x - 40, 74 + random() * 10, 62, `color-mix(in oklab, ${mid}, ${light})`),
    peak(x + 42, 66 + random() * 12, 66, `color-mix(in oklab, ${light}, ${mid})`),
    peak(x, 48 + random() * 14, 74, light),
    svg("rect", { y: 124, width: WIDTH, height: 36, fill: deep }),
  ];
}

function orbits(random, { mid, light, glow, deep }) {
  const tilt = -35 + random() * 70;
  const ring = (r, width) =>
    svg("ellipse", { cx: 60, cy: 64, rx: r, ry: r * 0.36, fill: "none", stroke: light, "stroke-width": width,
      transform: `rotate(${tilt} 60 64)` });
  return [
    svg("rect", { width: WIDTH, height: HEIGHT, fill: deep }),
    ring(78, 1.2),
    ring(62, 2.4),
    svg("circle", { cx: 60, cy: 64, r: 30, fill: mid }),
    svg("path", { d: "M60 34a30 30 0 0 1 0 60a42 42 0 0 0 0-60z", fill: light }),
    svg("circle", { cx: 16 + random() * 88, cy: 18, r: 4.5, fill: glow }),
  ];
}

// FNV-1a, and mulberry32: small, and good enough for colours.
function hash(text) {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  }
  return value >>> 0;
}

function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
