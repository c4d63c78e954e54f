"""`make bench`, transfers: our peers among themselves, on each of their paths."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from benchmarks.claims import Claim, cpu_ratio, rate_ratio
from benchmarks.downloads import Way, download
from benchmarks.folders import FLAT, LARGE, MIB, MIXED, SMALL, TEN_GB, Shape, bytes_below, link_copy
from benchmarks.leftovers import put_away
from benchmarks.our_peer import RunningPeer, start_peer
from benchmarks.ours import (
    check_arrived,
    fetch,
    our_source,
    our_targets,
    way_options,
)
from benchmarks.places import place
from benchmarks.processes import Result, stream_between, written_bytes
from benchmarks.record import Section
from benchmarks.tables import Row, print_results
from benchmarks.tools.commands import Copy

BARE = "bare aioquic, one stream, memory"
ENDPOINT = "our endpoint, one stream, memory"
ONE_FOR_EIGHT, EIGHT = "one downloader", "eight downloaders"
LIMITED = "three sources, limited"
VANISHING = "three sources, one vanishes and returns"
TEN = "ten GB"
COPY_SMALL, COPY_FLAT = "cp -r of small", "cp -r of flat"
SINGLE = ("large", "mixed", "small", "flat")
DOWNLOADERS = 8
KILLED_AT, BACK_AT = 0.25, 0.4  # of the game's bytes
LAG_LIMIT_MS = 50.0
PEAK_LIMIT_MIB = 250.0


@attrs.frozen(kw_only=True)
class Plan:
    """What one path is measured with: a slower one gets less, which its rows say."""

    way: Way
    shapes: Mapping[str, Shape]
    limits_mb_per_s: tuple[float, float, float]
    vanishing_mb_per_s: float
    on: str

    @property
    def limit_sum(self) -> float:
        return sum(self.limits_mb_per_s)


def plan_for(way: Way, on: str, divisor: int = 1) -> Plan:
    less = 8 if way is Way.QUIC else 1
    shared = Shape(large_mib=256 // less)
    return Plan(
        way=way,
        shapes={
            "large": LARGE.scaled(less * divisor),
            "mixed": MIXED.scaled(less * divisor),
            "small": SMALL.scaled(divisor),
            "flat": FLAT.scaled(divisor),
            "one": shared.scaled(divisor),
            "eight": shared.scaled(divisor),
        },
        limits_mb_per_s=(40 / less, 40 / less, 4 / less),
        vanishing_mb_per_s=25 / less,
        on=on,
    )


@attrs.define
class Transfers:
    """One path's rounds."""

    plan: Plan
    folder: Path
    section: Section

    def run(self, rounds: int) -> None:
        with our_source(self.folder / "source", self.plan.shapes, self.plan.way) as source:
            for number in range(1, rounds + 1):
                print(f"{self.plan.way}: round {number} of {rounds}", flush=True)
                self._one_source(source)
                self._eight(source)
                with self._sources(source, [None] * 3) as sources:
                    self._from_three(sources, "mixed", "three sources, mixed")
                with self._sources(source, self.plan.limits_mb_per_s) as sources:
                    self._from_three(sources, "large", LIMITED)
                with self._sources(source, [self.plan.vanishing_mb_per_s] * 3) as sources:
                    self._vanishing(sources)

    def _one_source(self, source: RunningPeer) -> None:
        for game in SINGLE:
            if self.plan.way is Way.QUIC and game == "large":
                for module, name in (("bare_quic", BARE), ("our_endpoint", ENDPOINT)):
                    size = self.plan.shapes["large"].large_mib * MIB
                    self._note(name, stream_between(f"benchmarks.{module}", size, self.folder))
            self._note(game, fetch(source, self._targets, game, self.plan.way))
            if self.plan.way is Way.BULK and game in ("small", "flat"):
                put_away(self._targets)
                self._targets.mkdir()
                total = bytes_below(source.games / game)
                copied = Copy(source.games / game, total).fetch(self._targets)
                self._note(COPY_SMALL if game == "small" else COPY_FLAT, copied)

    def _eight(self, source: RunningPeer) -> None:
        way = self.plan.way
        self._note(ONE_FOR_EIGHT, fetch(source, self._targets, "one", way))
        with our_targets(self._targets, DOWNLOADERS, [source], {"eight"}, way) as targets:
            self._note(EIGHT, download([source], targets, "eight", way))
            check_arrived(source, targets, "eight")

    @contextmanager
    def _sources(
        self, original: RunningPeer, limits: list[None] | list[float] | tuple[float, ...]
    ) -> Iterator[list[RunningPeer]]:
        """Peers with the same files: hard links, which are read like others."""
        with ExitStack() as stack:
            sources = []
            for number, limit in enumerate(limits):
                folder = self.folder / f"source{number}"
                if not folder.exists():
                    for game in ("large", "mixed"):
                        link_copy(original.games / game, folder / "games" / game)
                options = [] if limit is None else ["--max-up", str(limit)]
                source = start_peer(folder, [*options, *way_options(self.plan.way)])
                sources.append(source)
                stack.callback(_stop, source)
            yield sources

    def _from_three(self, sources: list[RunningPeer], game: str, name: str) -> None:
        with our_targets(self._targets, 1, sources, {game}, self.plan.way) as targets:
            self._note(name, download(sources, targets, game, self.plan.way))
            check_arrived(sources[0], targets, game)

    def _vanishing(self, sources: list[RunningPeer]) -> None:
        """The first source is killed after a quarter of the game, and comes back."""
        way, game = self.plan.way, "large"
        with our_targets(self._targets, 1, sources, {game}, way) as targets:
            total = self.plan.shapes[game].large_mib * MIB
            options = ["--max-up", str(self.plan.vanishing_mb_per_s), *way_options(way)]
            absence = Absence(targets[0], sources[0], total, options)
            with absence:
                result = download(sources, targets, game, way, absence.hear)
            check_arrived(sources[1], targets, game)
            result = attrs.evolve(result, sender_cpu_s=result.sender_cpu_s + absence.cpu_s)
            result.extra["served_again"] = float(absence.served_again)
            self._note(VANISHING, result)

    @property
    def _targets(self) -> Path:
        return self.folder / "targets"

    def _note(self, name: str, result: Result) -> None:
        self.section.add(name, result)
        print(f"{self.plan.way}: {name}: {result.mb_per_s:.1f} MB/s", flush=True)


def _stop(peer: RunningPeer) -> None:
    """The process that it is by then."""
    peer.child.stop()


class Absence:
    """Kills a source once a quarter of the game is written, and starts it again at 40 %."""

    def __init__(
        self, target: RunningPeer, source: RunningPeer, total_bytes: int, options: list[str]
    ) -> None:
        self._target, self._source, self._options = target, source, options
        self._total_bytes = total_bytes
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._returned = threading.Event()
        self._idle_cpu_s = 0.0
        self._spent_cpu_s = 0.0
        self.served_again = False

    @property
    def cpu_s(self) -> float:
        """What the source took, before and after, but not to start."""
        if not self._returned.is_set():
            return self._spent_cpu_s
        return self._spent_cpu_s + self._source.child.cpu_s() - self._idle_cpu_s

    def __enter__(self) -> None:
        self._idle_cpu_s = self._source.child.cpu_s()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def hear(self, event: dict[str, object]) -> None:
        """An event of the target's: whether the source, once back, does its part again."""
        data = event["data"]
        if event["type"] == "download.progress" and isinstance(data, dict):
            rates = data["source_rates"]
            if self._returned.is_set() and rates.get(self._source.ready["peer_id"], 0) > 0:
                self.served_again = True

    def _run(self) -> None:
        before = written_bytes(self._target.child.pid)
        if self._wait_for(before + self._total_bytes * KILLED_AT):
            address = self._source.address
            self._spent_cpu_s = self._source.child.cpu_s() - self._idle_cpu_s
            self._source.child.kill()
            if self._wait_for(before + self._total_bytes * BACK_AT):
                again = start_peer(self._source.folder, self._options, address)
                self._source.child, self._source.ready = again.child, again.ready
                self._idle_cpu_s = self._source.child.cpu_s()
                self._returned.set()

    def _wait_for(self, written: float) -> bool:
        while written_bytes(self._target.child.pid) < written:
            if self._end.wait(0.02):
                return False
        return True


def measure_ten_gb(folder: Path, section: Section, way: Way, divisor: int) -> None:
    """A folder of 10 GB once, for what it takes of memory."""
    with our_source(folder / "ten", {"ten": TEN_GB.scaled(divisor)}, way) as source:
        section.add(TEN, fetch(source, folder / "targets", "ten", way))


def measure_between(
    *, ways: list[Way], on: str, disk: Path | None, rounds: int, divisor: int
) -> dict[Way, Section]:
    sections = {}
    for way in ways:
        plan = plan_for(way, on, divisor)
        title = f"{way}: large is {plan.shapes['large']}; mixed is {plan.shapes['mixed']}; on {on}"
        section = Section(title)
        needed = 25 * 10**9 if way is Way.BULK and divisor == 1 else 6 * 10**9
        with place(on, disk, needed_bytes=needed) as folder:
            Transfers(plan, folder, section).run(rounds)
            if way is Way.BULK:
                # By QUIC it would take a quarter of an hour.
                put_away(folder / "targets")
                measure_ten_gb(folder, section, way, divisor)
        print_results(section.title, section.runs)
        sections[way] = section
    return sections


# -- what is judged -------------------------------------------------------------------------------


def judge_between(sections: Mapping[Way, Section], plans: Mapping[Way, Plan]) -> list[Claim]:
    """What each path has to reach."""
    claims: list[Claim] = []
    for way, section in sections.items():
        claims += judge_path(plans[way], section)
    if Way.BULK in sections:
        ten = sections[Way.BULK].rows().get(TEN)
        for side, peak in (("sender", "sender_peak_mib"), ("receiver", "receiver_peak_mib")):
            value = None if ten is None else float(getattr(ten, peak))
            claims.append(
                Claim(f"10 GB: peak memory, {side}", value, PEAK_LIMIT_MIB, "at most", " MiB")
            )
    return claims


def judge_path(plan: Plan, section: Section) -> list[Claim]:
    way, rows = plan.way, section.rows()
    limited = rows.get(LIMITED)
    claims = [
        rate_ratio(rows, f"{way}: 5,000 small files, of one large file", "flat", "large", 0.5),
        Claim(
            f"{way}: three limited sources, of {plan.limit_sum:g} MB/s",
            None if limited is None else limited.mb_per_s / plan.limit_sum,
            0.95,
            unit=" x",
        ),
        Claim(
            f"{way}: longest stall while a source vanishes and returns",
            _worst(section, VANISHING, "longest_stall_s"),
            1.0,
            "at most",
            " s",
        ),
        Claim(
            f"{way}: the source that returned served again",
            _least(section, VANISHING, "served_again"),
            1.0,
        ),
        rate_ratio(rows, f"{way}: eight downloaders together, of one", EIGHT, ONE_FOR_EIGHT, 0.9),
        Claim(
            f"{way}: eight downloaders, the slowest behind the fastest",
            _spread(section),
            0.2,
            "at most",
        ),
        Claim(f"{way}: loop lag, 99 %", _lag(rows), LAG_LIMIT_MS, "at most", " ms"),
    ]
    if way is Way.QUIC:
        claims.append(rate_ratio(rows, "quic: one large file, of bare aioquic", "large", BARE, 0.9))
        # Nine tenths of the bare engine's rate, said in CPU time: that holds on a busy machine too.
        claims.append(
            cpu_ratio(rows, "quic: CPU of our endpoint, of bare aioquic's", ENDPOINT, BARE, 1 / 0.9)
        )
    return claims


def _spread(section: Section) -> float | None:
    """How much of the slowest one's time lies behind the fastest one; the median."""
    runs = section.runs.get(EIGHT)
    if not runs:
        return None
    return statistics.median(1 - run.extra["fastest_s"] / run.extra["slowest_s"] for run in runs)


def _worst(section: Section, name: str, key: str) -> float | None:
    return max((run.extra[key] for run in section.runs.get(name, [])), default=None)


def _least(section: Section, name: str, key: str) -> float | None:
    return min((run.extra[key] for run in section.runs.get(name, [])), default=None)


def _lag(rows: Mapping[str, Row]) -> float | None:
    lags = [lag for row in rows.values() for lag in (row.sender_lag_ms, row.receiver_lag_ms)]
    return max((lag for lag in lags if lag is not None), default=None)
