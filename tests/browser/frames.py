"""How long frames take while a page scrolls: by the clock, and of the page's own thread."""

from __future__ import annotations

import bisect
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from playwright.sync_api import Browser, Page

FRAMES = 180
# Faster than one reads: 6,000 pixels a second at 60 frames. Answers with the frames' lengths in ms.
_SCROLL = f"""async () => {{
  const frames = [];
  scrollTo(0, 0);
  let last = await new Promise(requestAnimationFrame);
  for (let at = 1; at <= {FRAMES}; at += 1) {{
    scrollTo(0, at * 100);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }}
  return frames;
}}"""
_CATEGORIES = ["toplevel", "disabled-by-default-devtools.timeline"]


@attrs.frozen
class Scrolled:
    """What the frames took, in ms: `wall` by the clock, `work` of the page's thread while it had
    the processor. `others`: how many processors others had meanwhile."""

    wall: Sequence[float]
    work: Sequence[float]
    others: float


def p95(values: Sequence[float]) -> float:
    """The 95th percentile: one in twenty is longer."""
    return sorted(values)[len(values) * 95 // 100]


def scroll(browser: Browser, page: Page) -> Scrolled:
    """Scroll fast through what the page shows, from its start."""
    before, started = _others_s(), time.monotonic()
    browser.start_tracing(page=page, categories=_CATEGORIES)
    wall = page.evaluate(_SCROLL)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    others = (_others_s() - before) / (time.monotonic() - started)
    return Scrolled(wall, _work(events), others)


def _work(events: Sequence[dict[str, Any]]) -> list[float]:
    """The processor time of the page's thread for each frame, up to the commit that ends it."""

    def thread(event: dict[str, Any]) -> tuple[int, int]:
        return event["pid"], event["tid"]

    commits = [event for event in events if event["name"] == "Commit"]
    threads = [thread(event) for event in commits]
    page = max(set(threads), key=threads.count)
    ends = sorted(event["ts"] for event in commits if thread(event) == page)
    work = [0.0] * len(ends)
    for event in events:
        if event["name"] == "ThreadControllerImpl::RunTask" and thread(event) == page:
            frame = bisect.bisect_left(ends, event["ts"])
            if frame < len(ends):
                work[frame] += event["tdur"] / 1000
    assert len(work) >= FRAMES, "the trace has lost frames"
    return work


def _others_s() -> float:
    """Processor seconds of all that runs on this machine but for us and our children."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, soft, stolen = map(int, file.readline().split()[1:9])
    ours = sum(_family_ticks().values())
    ticks = user + nice + system + irq + soft + stolen - ours
    return ticks / os.sysconf("SC_CLK_TCK")


def _family_ticks() -> dict[int, int]:
    """What this process and those below it have used, and children of theirs that have ended."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has ended meanwhile.
        number = int(path.parent.name)
        parents[number] = int(fields[1])
        ticks[number] = sum(map(int, fields[11:15]))
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return {number: ticks[number] for number in family}
