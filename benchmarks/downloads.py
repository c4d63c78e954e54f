"""Downloads between our peers, timed and watched from outside.

The clock runs from the request to the event that says the game is complete; by then its last byte
has been synced to the disk. The path that the bytes took is checked, not believed.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import attrs

from benchmarks.folders import bytes_below
from benchmarks.memory import bring_in
from benchmarks.our_peer import LOOP_LAG, Calls, RunningPeer
from benchmarks.processes import Result, forget_peak, written_bytes

SAMPLE_S = 0.05
SENTINEL = "version.ini"
GROWTH_BYTES = 64 * 1024  # less than this is a journal, not the game


class Way(enum.StrEnum):
    """How the bytes may travel."""

    QUIC = "quic"
    BULK = "bulk"


def download(
    sources: Sequence[RunningPeer],
    targets: Sequence[RunningPeer],
    game_id: str,
    way: Way | None = None,
    heard: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Result:
    """All targets fetch the game at once; the time is until the last one is done.

    `heard` is called with each event of theirs. A source may be another process afterwards: the
    CPU time of such a one is left out.

    `extra` has the seconds of the fastest and the slowest target, the longest time in which the
    first target wrote nothing, how much came twice, and the event loops' lag where the peers export
    it. What came twice does not count for the rate.
    """
    everyone = [*sources, *targets]
    for peer in everyone:
        forget_peak(peer.child.pid)
    game = sources[-1].games / game_id
    total = bytes_below(game) * len(targets)
    # The sentinel alone is no chunk: a peer asks for it by itself, over QUIC on either path.
    chunks = bytes_below(game) - (game / SENTINEL).stat().st_size
    fetched = [target.fetched_bytes() for target in targets]
    bring_in(total)
    before = {peer.child.pid: peer.child.cpu_s() for peer in everyone}
    with Watch(targets[0]) as watch, ThreadPoolExecutor(len(targets)) as pool:
        began = time.monotonic()
        took = list(pool.map(lambda target: _fetch(target, game_id, heard), targets))
        seconds = time.monotonic() - began
    if way is not None:
        for target, earlier in zip(targets, fetched, strict=True):
            now = target.fetched_bytes()
            check_way(way, {path: now[path] - earlier[path] for path in now}, chunks)
    cpu = {
        peer.child.pid: peer.child.cpu_s() - before[peer.child.pid]
        for peer in everyone
        if peer.child.is_alive and peer.child.pid in before
    }
    extra = {
        "fetched_twice_mb": (sum(one.fetched_bytes for one in took) - total) / 1e6,
        "fastest_s": min(one.seconds for one in took),
        "slowest_s": max(one.seconds for one in took),
        "longest_stall_s": watch.longest_stall_s,
    }
    for side, peers in (("sender", sources), ("receiver", targets)):
        lags = [peer.metrics().get(LOOP_LAG) for peer in peers if peer.child.is_alive]
        known = [lag for lag in lags if lag is not None]
        if known:
            extra[f"{side}_loop_lag_p99_ms"] = max(known) * 1000
    return Result(
        total_bytes=total,
        seconds=seconds,
        sender_cpu_s=sum(cpu.get(peer.child.pid, 0.0) for peer in sources),
        receiver_cpu_s=sum(cpu[peer.child.pid] for peer in targets),
        sender_peak_mib=max(peer.child.peak_mib() for peer in sources),
        receiver_peak_mib=max(peer.child.peak_mib() for peer in targets),
        extra=extra,
    )


@attrs.frozen
class _Took:
    seconds: float
    fetched_bytes: int


def _fetch(target: RunningPeer, game_id: str, heard: Callable[[dict[str, Any]], None]) -> _Took:
    with Calls(target) as calls:
        calls.call("subscribe")
        began = time.monotonic()
        calls.call("game.download", id=game_id)
        while True:
            event = calls.event()
            heard(event)
            match event["type"]:
                case "download.finished":
                    seconds = time.monotonic() - began
                    return _Took(seconds, event["data"]["bytes_fetched"])
                case "download.failed" | "download.cancelled" | "source.dropped":
                    raise SystemExit(f"{game_id}: {event}")
                case _:
                    continue


def check_way(way: Way, by_path: Mapping[str, float], chunk_bytes: int) -> None:
    """Raise unless all chunks went the way that the benchmark's name says.

    `by_path` is what the target counted of those that it fetched, and `chunk_bytes` what the game
    is. With several sources some may come twice, and count twice.
    """
    other = Way.QUIC if way is Way.BULK else Way.BULK
    if by_path[other] or by_path[way] < chunk_bytes:
        raise SystemExit(
            f"of {chunk_bytes} bytes in chunks {by_path[way]:.0f} came by the {way} path, "
            f"and {by_path[other]:.0f} by the {other} path"
        )


class Watch:
    """Looks at the first target while the transfer runs, 20 times a second."""

    def __init__(self, target: RunningPeer) -> None:
        self._target = target.child.pid
        self._thread = threading.Thread(target=self._run)
        self._end = threading.Event()
        self.longest_stall_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        written = written_bytes(self._target)
        grown_at = time.monotonic()
        while not self._end.wait(SAMPLE_S):
            now, total = time.monotonic(), written_bytes(self._target)
            if total < written + GROWTH_BYTES:
                continue
            # What follows the last growth is the sync at the end: no stall.
            self.longest_stall_s = max(self.longest_stall_s, now - grown_at)
            written, grown_at = total, now
