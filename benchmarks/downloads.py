"""Downloads between our peers, timed and watched from outside.

The clock runs from the request to the event that says the game is complete; by then its last byte
has been synced to the disk. The path that the bytes took is checked, not believed.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from benchmarks.conditions import bring_memory_in
from benchmarks.folders import bytes_below
from benchmarks.our_peer import LOOP_LAG, Calls, RunningPeer
from benchmarks.processes import Result, forget_peak, written_bytes

SAMPLE_S = 0.05
# The list of all connections takes the kernel some milliseconds: more often, it would be felt.
LINK_SAMPLE_S = 0.4
LINKED_SHARE = 0.75  # of the samples in which something went over loopback
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
    total = bytes_below(sources[-1].games / game_id) * len(targets)
    bring_memory_in(total)
    for peer in everyone:
        forget_peak(peer.child.pid)
    before = {peer.child.pid: peer.child.cpu_s() for peer in everyone}
    with Watch(targets[0], sources) as watch, ThreadPoolExecutor(len(targets)) as pool:
        began = time.monotonic()
        took = list(pool.map(lambda target: _fetch(target, game_id, heard), targets))
        seconds = time.monotonic() - began
    if way is not None:
        check_way(way, watch.linked, watch.samples)
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


def check_way(way: Way, linked: int, samples: int) -> None:
    """Raise unless the bytes went the way that the benchmark's name says."""
    if way is Way.QUIC and linked:
        raise SystemExit("the QUIC path was asked for, and the peers had a TCP connection")
    if way is Way.BULK and (not samples or linked < samples * LINKED_SHARE):
        raise SystemExit(f"the bulk path was there in {linked} of {samples} samples only")


class Watch:
    """Looks at the first target and the sources while the transfer runs, 20 times a second."""

    def __init__(self, target: RunningPeer, sources: Sequence[RunningPeer]) -> None:
        self._target = target.child.pid
        self._sources = [source.child.pid for source in sources]
        self._thread = threading.Thread(target=self._run)
        self._end = threading.Event()
        self.samples = 0
        self.linked = 0
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
        carried = loopback_bytes()
        grown_at = time.monotonic()
        looked_at = grown_at - LINK_SAMPLE_S
        while not self._end.wait(SAMPLE_S):
            now, total = time.monotonic(), written_bytes(self._target)
            before, carried = carried, loopback_bytes()
            if carried >= before + GROWTH_BYTES and now >= looked_at + LINK_SAMPLE_S:
                looked_at = now
                self.samples += 1
                self.linked += are_linked(self._target, self._sources)
            if total >= written + GROWTH_BYTES:
                # What follows the last growth is the sync at the end: no stall.
                self.longest_stall_s = max(self.longest_stall_s, now - grown_at)
                written, grown_at = total, now


def loopback_bytes() -> int:
    """What went over 127.0.0.1 since the machine started."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    raise ValueError("no lo in /proc/net/dev")


def are_linked(target: int, sources: Sequence[int]) -> bool:
    """Whether the target has an established TCP connection over IPv4 with one of the sources."""
    lines = Path(f"/proc/{target}/net/tcp").read_text().splitlines()[1:]
    mine = established(lines, sockets_of(target))
    theirs = {pair for source in sources for pair in established(lines, sockets_of(source))}
    return any((there, here) in theirs for here, there in mine)


def sockets_of(pid: int) -> set[str]:
    """The inodes of the process's sockets; none of one that has ended."""
    try:
        links = [_target_of(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def established(lines: Sequence[str], inodes: set[str]) -> set[tuple[int, int]]:
    """Ports of the lines of `/proc/net/tcp` in state 1 whose socket is one of `inodes`."""
    found = set()
    for line in lines:
        fields = line.split()
        if fields[3] == "01" and fields[9] in inodes:
            found.add((int(fields[1].split(":")[1], 16), int(fields[2].split(":")[1], 16)))
    return found


def _target_of(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""
