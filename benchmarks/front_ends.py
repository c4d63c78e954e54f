"""What front-ends cost: a download with and without 50 WebSocket clients, and how soon they hear.

The clients are one process with `websockets`, and share the machine with both peers.

    python -m benchmarks.front_ends [--rounds N] [--large-mib N]

says whether both bounds hold, and exits with 1 if one does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.downloads import download
from benchmarks.folders import Shape, make_games
from benchmarks.our_peer import RunningPeer, running_peer, wait_until_offered
from benchmarks.processes import Child

CLIENTS = 50
GAME = "large"


# What has to hold.
MAX_COST = 0.10
MAX_MEDIAN_MS = 50.0


@attrs.frozen
class FrontEnds:
    """What was measured: MB/s of each download, and what the clients of each round said."""

    alone: list[float]
    watched: list[float]
    heard: list[dict[str, Any]]

    @property
    def cost(self) -> float:
        """The part of the rate that is lost while everybody listens, by the medians."""
        return 1 - statistics.median(self.watched) / statistics.median(self.alone)

    @property
    def median_ms(self) -> float:
        """How late half of the events were, in the best round."""
        return min(float(one["median_ms"]) for one in self.heard)

    def failures(self) -> list[str]:
        """What does not hold, as sentences; empty if all does."""
        found = []
        if not self.cost < MAX_COST:
            found.append(
                f"{CLIENTS} clients cost {self.cost:.1%} of the rate, not less than {MAX_COST:.0%}"
            )
        if not self.median_ms <= MAX_MEDIAN_MS:
            found.append(
                f"half of the events were later than {self.median_ms:.1f} ms, "
                f"not {MAX_MEDIAN_MS:.0f} ms"
            )
        return found


def measure_front_ends(folder: Path, *, rounds: int, large_mib: int) -> FrontEnds:
    """Download the same game in turns, alone and with everybody listening; print the medians."""
    shapes = {GAME: Shape(large_mib=large_mib)}
    make_games(folder / "source" / "games", shapes)
    alone: list[float] = []
    watched: list[float] = []
    heard: list[dict[str, Any]] = []
    with running_peer(folder / "source") as source:
        for number in range(1, rounds + 1):
            print(f"front-ends: round {number} of {rounds}", flush=True)
            alone.append(_download(folder, source))
            watched.append(_download(folder, source, heard))
    measured = FrontEnds(alone, watched, heard)
    print(
        f"download, MB/s: {statistics.median(alone):.1f} alone, "
        f"{statistics.median(watched):.1f} with {CLIENTS} clients: a cost of {measured.cost:.1%}"
    )
    best = min(heard, key=lambda one: float(one["median_ms"]))
    print(
        f"an event reached a client after {best['median_ms']:.1f} ms (median), "
        f"{best['p95_ms']:.1f} ms (95 %); {best['events']} events, best of {rounds}"
    )
    return measured


def _download(
    folder: Path, source: RunningPeer, heard: list[dict[str, Any]] | None = None
) -> float:
    """MB a second of one download. With `heard`, everybody listens, and it gets what they say."""
    target_folder = folder / "target"
    with running_peer(target_folder, "--peer", source.address) as target:
        wait_until_offered(target, {GAME})
        if heard is None:
            rate = download([source], [target], GAME).mb_per_s
        else:
            ready = target.ready
            clients = Child(
                "benchmarks.front_ends", "--listen", ready["api_url"], ready["token"], str(CLIENTS),
                log=folder / "log",
            )  # fmt: skip
            try:
                clients.line()
                rate = download([source], [target], GAME).mb_per_s
                clients.release()
                heard.append(clients.line())
            finally:
                clients.stop()
    shutil.rmtree(target_folder)
    return rate


async def listen(url: str, token: str, count: int) -> None:
    """Be `count` clients until a line comes on stdin; say then how late events were."""
    delays_ms: list[float] = []
    sockets = [
        await connect(
            url.replace("http", "ws", 1) + "/ws",
            additional_headers={"Authorization": f"Bearer {token}"},
            max_size=None,
            proxy=None,
        )
        for _ in range(count)
    ]
    for socket in sockets:
        await socket.send('{"jsonrpc": "2.0", "id": 1, "method": "subscribe"}')
        while "result" not in json.loads(await socket.recv()):
            pass
    tasks = [asyncio.create_task(_note(socket, delays_ms)) for socket in sockets]
    print(json.dumps({"ready": True}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for task in tasks:
        task.cancel()
    told = {
        "events": len(delays_ms),
        "median_ms": statistics.median(delays_ms),
        "p95_ms": statistics.quantiles(delays_ms, n=20)[-1],
    }
    print(json.dumps(told), flush=True)


async def _note(socket: ClientConnection, delays_ms: list[float]) -> None:
    try:
        async for frame in socket:
            arrived = time.time()
            event = json.loads(frame)["params"]
            sent = datetime.fromisoformat(event["time"]).timestamp()
            delays_ms.append((arrived - sent) * 1000)
    except ConnectionClosed:
        raise SystemExit("a client was cut off") from None


def main() -> int:
    """Measure and judge; or be the clients of one round, which is for `_download` alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front_ends", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-mib", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="where the game is written (default: /tmp)")
    parser.add_argument("--listen", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.listen:
        url, token, count = options.listen
        asyncio.run(listen(url, token, int(count)))
        return 0
    with tempfile.TemporaryDirectory(prefix="lanspread-bench-", dir=options.folder) as place:
        measured = measure_front_ends(
            Path(place), rounds=options.rounds, large_mib=options.large_mib
        )
    failures = measured.failures()
    for failure in failures:
        print(f"FAIL: {failure}")
    print("FAIL" if failures else "PASS")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
