"""How long a library takes to be there: the first scan of everything, and a start without changes.

`python -m benchmarks.library GAMES STATE` is what is measured: one library by itself, which says
what it took, imports aside. Beside it whole `lanspread run` processes are measured up to their
ready line; what one with an empty games folder takes is taken off.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import attrs
import trio
from rich.console import Console
from rich.table import Table

from benchmarks.our_peer import running_peer
from benchmarks.processes import Child
from lanspread import limits
from lanspread.fs.catalog import Catalog
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.index import open_index
from lanspread.fs.library import open_library
from lanspread.fs.watch import DiskWatcher
from lanspread.platform import RealThreads

LAYOUTS = {"nested": "most files in a folder", "root": "all files at the root"}


@attrs.frozen
class Took:
    """Seconds of a process's CPU, and of the clock on the wall."""

    cpu_s: float
    wall_s: float

    def __str__(self) -> str:
        return f"{self.cpu_s:.2f} ({self.wall_s:.2f})"

    def __sub__(self, other: Took) -> Took:
        return Took(self.cpu_s - other.cpu_s, self.wall_s - other.wall_s)


def measure_library(folder: Path, *, games: int, files: int, rounds: int) -> None:
    """Measure and print; of the starts without changes the median."""
    table = Table(title=f"{games} games of {files} files, to ready: CPU seconds (wall)")
    for heading in ("", "library: first scan", "unchanged", "run: first scan", "unchanged"):
        table.add_column(heading, justify="left" if not heading else "right")
    empty = _median([_whole(folder / "empty") for _ in range(rounds)])
    for layout, label in LAYOUTS.items():
        place = folder / layout
        make_library(place / "games", games, files, layout)
        first_run = _whole(place)
        (place / "state").rename(place / "first-state")
        first = _alone(place, settle=True)
        starts = [_alone(place, settle=False) for _ in range(rounds)]
        runs = [_whole(place) for _ in range(rounds)]
        table.add_row(
            label,
            str(first),
            str(_median(starts)),
            str(first_run - empty),
            str(_median(runs) - empty),
        )
    Console().print(table)
    print(f"`run` is less what it takes with an empty folder: {empty}")


def make_library(folder: Path, games: int, files: int, layout: str) -> None:
    """Small files; `version.ini` and an archive of each game are at its root."""
    for number in range(games):
        game = folder / f"game-{number:05}"
        below = game / "data" if layout == "nested" else game
        below.mkdir(parents=True)
        for name in range(files - 2):
            (below / f"part{name:03}.eti").write_bytes(b"%d %d" % (number, name))
        (game / "game.eti").write_bytes(b"archive %d" % number)
        (game / "version.ini").write_bytes(b"20240101\n")


def _alone(place: Path, *, settle: bool) -> Took:
    (place / "state").mkdir(exist_ok=True)
    child = Child(
        "benchmarks.library", str(place / "games"), str(place / "state"), log=place / "log"
    )
    try:
        took = child.line()
        if settle:
            child.release()
        elif child.process.stdin is not None:
            child.process.stdin.close()
        child.line()
        return Took(took["cpu_s"], took["wall_s"])
    finally:
        child.stop()


def _whole(place: Path) -> Took:
    began = time.monotonic()
    with running_peer(place) as peer:
        return Took(peer.child.cpu_s(), time.monotonic() - began)


def _median(runs: list[Took]) -> Took:
    return sorted(runs, key=lambda took: took.cpu_s)[len(runs) // 2]


async def _measured(games: str, state: str) -> None:
    """In a process of its own: open, say what it took, and when asked wait until all is known."""
    began = time.process_time(), time.monotonic()
    index = open_index(state)
    async with open_library(
        DiskFileSystem(),
        games,
        threads=RealThreads(),
        index=index,
        watcher=DiskWatcher(),
        catalog=Catalog(),
        block_bytes=limits.BLOCK_BYTES,
        on_change=lambda ids: None,
        on_warning=lambda code, message, remedy: None,
    ) as library:
        took = {"cpu_s": time.process_time() - began[0], "wall_s": time.monotonic() - began[1]}
        print(json.dumps({**took, "games": len(library.games)}), flush=True)
        if await trio.to_thread.run_sync(sys.stdin.readline):
            while not library.is_settled:  # noqa: ASYNC110 - nobody tells a benchmark
                await trio.sleep(0.1)
    index.close()
    print(json.dumps({"settled": True}), flush=True)


if __name__ == "__main__":
    trio.run(_measured, sys.argv[1], sys.argv[2])
