"""`make bench-peers`: the same folders through us and through what others use, in one run.

Every tool moves the same files between two processes on 127.0.0.1 and is timed until its data is
durable. They take turns, each round beginning with another one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from benchmarks.claims import Claim, cpu_ratio, rate_ratio
from benchmarks.downloads import Way, download
from benchmarks.folders import (
    LARGE,
    MIXED,
    Shape,
    different,
    link_copy,
    make_durable,
    make_games,
    warm,
)
from benchmarks.leftovers import put_away
from benchmarks.our_peer import RunningPeer, running_peer
from benchmarks.ours import our_targets, way_options
from benchmarks.places import place
from benchmarks.processes import Result
from benchmarks.record import Section
from benchmarks.tables import Row, print_results
from benchmarks.tools.commands import Copy, nginx, rsync
from benchmarks.tools.syncthing import syncthing
from benchmarks.tools.tool import Tool
from benchmarks.tools.torrents import PYTHON as TORRENT_PYTHON
from benchmarks.tools.torrents import libtorrent

GAME = "game"
OURS = {way: f"lanspread, {way}" for way in Way}
COPY, RSYNC, TORRENT, CURL = "cp -r", "rsync daemon", "libtorrent", "nginx + curl, TLS 1.3"
SYNCTHING = {"tcp": "Syncthing, TCP", "quic": "Syncthing, QUIC"}
QUIC_DIVISOR = 8


@attrs.frozen
class OurTool:
    """We, as one of the tools: a new peer fetches the game from one that has it."""

    source: RunningPeer
    way: Way

    def fetch(self, target: Path) -> Result:
        with our_targets(target, 1, [self.source], {GAME}, self.way) as targets:
            return download([self.source], targets, GAME, self.way)

    def arrived_at(self, target: Path) -> Path:
        return target / "target0" / "games" / GAME


@attrs.frozen(kw_only=True)
class Contest:
    """One section of the results: which tools move which folder, where."""

    title: str
    shape: Shape
    on: str
    tools: Sequence[str]

    def run(self, disk: Path | None, rounds: int) -> Section:
        section = Section(f"{self.title}: {self.shape}; on {self.on}")
        with place(self.on, disk, needed_bytes=4 * 10**9) as folder, ExitStack() as stack:
            source = folder / "source" / GAME
            total = make_games(source.parent, {GAME: self.shape})[GAME]
            make_durable(folder)
            tools = {
                name: tool
                for name in self.tools
                if (tool := _open_tool(stack, name, folder, source, total)) is not None
            }
            warm(folder)
            names = list(tools)
            for number in range(rounds):
                first = number % len(names)
                for name in names[first:] + names[:first]:
                    result = _measured(tools[name], source, folder / "target", name, number)
                    section.add(name, result)
                    print(f"{self.title}: {name}: {result.mb_per_s:.1f} MB/s", flush=True)
        print_results(section.title, section.runs)
        return section


def _measured(tool: Tool, source: Path, target: Path, name: str, number: int) -> Result:
    put_away(target)
    target.mkdir()
    make_durable(target)
    result = tool.fetch(target)
    wrong = different(source, tool.arrived_at(target), whole=number == 0)
    if wrong is not None:
        raise SystemExit(f"{name}: {wrong} did not arrive as it was sent")
    return result


def _open_tool(stack: ExitStack, name: str, folder: Path, source: Path, total: int) -> Tool | None:
    """The tool with its sending side running; None if this machine has not got it."""
    # Their folders get hidden files of theirs; the bytes are shared, by hard links.
    own = folder / f"tool {name}".replace(" ", "-").replace(",", "")
    if name in OURS.values():
        way = next(way for way, label in OURS.items() if label == name)
        link_copy(source, own / "games" / GAME)
        return OurTool(stack.enter_context(running_peer(own, *way_options(way))), way)
    if name in SYNCTHING.values():
        if not shutil.which("syncthing"):
            return None
        protocol = next(kind for kind, label in SYNCTHING.items() if label == name)
        link_copy(source, own / "shared")
        files = sum(path.is_file() for path in source.rglob("*"))
        return stack.enter_context(syncthing(own, own / "shared", files, total, protocol))
    if name == RSYNC:
        return stack.enter_context(rsync(own, source, total)) if shutil.which("rsync") else None
    if name == TORRENT:
        has_torrents = TORRENT_PYTHON.exists()
        return stack.enter_context(libtorrent(own, source, total)) if has_torrents else None
    if name == CURL:
        if not shutil.which("nginx") or not shutil.which("curl"):
            return None
        return stack.enter_context(nginx(own, source, total))
    return Copy(source, total)


CONTESTS = ("disk", "memory", "large", "quic")


def contests(divisor: int) -> dict[str, Contest]:
    """By their names above."""
    mixed, large = MIXED.scaled(divisor), LARGE.scaled(divisor)
    everyone = [OURS[Way.BULK], COPY, RSYNC, SYNCTHING["tcp"], TORRENT]
    return {
        "disk": Contest(title="Mixed folder", shape=mixed, on="disk", tools=everyone),
        "memory": Contest(title="Mixed folder", shape=mixed, on="memory", tools=everyone),
        "large": Contest(
            title="One file", shape=large, on="disk", tools=[everyone[0], RSYNC, CURL]
        ),
        "quic": Contest(
            title="QUIC alone, an eighth of the mixed folder",
            shape=mixed.scaled(QUIC_DIVISOR),
            on="disk",
            tools=[OURS[Way.QUIC], SYNCTHING["quic"]],
        ),
    }


def measure_peers(
    *, disk: Path | None, rounds: int, divisor: int, only: Sequence[str]
) -> dict[str, Section]:
    return {
        name: contest.run(disk, rounds)
        for name, contest in contests(divisor).items()
        if not only or name in only
    }


def judge_peers(sections: Mapping[str, Section]) -> list[Claim]:
    """What the bulk path has to reach. QUIC is shown beside Syncthing's, and not judged."""
    rows: dict[str, dict[str, Row]] = {name: one.rows() for name, one in sections.items()}
    disk, memory = rows.get("disk", {}), rows.get("memory", {})
    bulk = OURS[Way.BULK]
    return [
        rate_ratio(disk, "mixed, disk: of Syncthing over TCP", bulk, SYNCTHING["tcp"], 2.0),
        rate_ratio(disk, "mixed, disk: of libtorrent", bulk, TORRENT, 1.5),
        rate_ratio(disk, "mixed, disk: of rsync, which does not encrypt", bulk, RSYNC, 0.9),
        rate_ratio(memory, "mixed, memory: of Syncthing over TCP", bulk, SYNCTHING["tcp"], 1.5),
        cpu_ratio(
            disk, "mixed, disk: CPU, both sides, of Syncthing's", bulk, SYNCTHING["tcp"], 0.5
        ),
        rate_ratio(rows.get("large", {}), "one file: of nginx and curl, TLS 1.3", bulk, CURL, 1.2),
    ]
