"""Who fetches what when: simulated sources, and a stateful model of everything they may do."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lanspread import limits
from lanspread.transfer.plan import Assignment, Block, Piece, Plan
from lanspread.transfer.schedule import Schedule

MIB = limits.MIB
MB = 1_000_000.0


def plan_of(sizes: list[int]) -> Plan:
    return Plan(
        [Piece(number, (Block(number, 0, size, b""),), size) for number, size in enumerate(sizes)]
    )


@attrs.define
class Source:
    """Sends at `rate`, one answer after the other, each begun `latency_s` after it was asked.

    While it is `gone` (from, to) nothing leaves it.
    """

    rate: float
    latency_s: float = 0.001
    gone: tuple[float, float] | None = None
    free_at: float = 0.0
    sent: int = 0

    def arrival(self, now: float, length: int) -> float:
        begin = max(self.free_at, now + self.latency_s)
        end = begin + length / self.rate
        if self.gone is not None and begin < self.gone[1] and end > self.gone[0]:
            end += self.gone[1] - max(self.gone[0], begin)
        self.free_at = end
        return end


@attrs.define
class Run:
    seconds: float = 0.0
    fetched: Counter[str] = attrs.Factory(Counter)
    most_held: int = 0
    longest_gap_s: float = 0.0


def simulate(
    plan: Plan,
    sources: dict[str, Source],
    *,
    chunk_bytes: int = limits.CHUNK_BYTES,
    most_held: int = limits.MAX_DOWNLOAD_BUFFER_BYTES // limits.CHUNK_BYTES,
    write_s: float = 0.005,
) -> Run:
    """Fetch everything as the shell does: ask at each change, and look ten times a second."""
    schedule = Schedule(plan, chunk_bytes, most_held)
    run = Run()
    order = itertools.count()
    due: list[tuple[float, int, str, Assignment | None]] = []
    out: set[Assignment] = set()
    last = now = 0.0

    def ask() -> None:
        for name, source in sources.items():
            while (assignment := schedule.next(name, now)) is not None:
                out.add(assignment)
                at = source.arrival(now, assignment.chunk.length)
                heapq.heappush(due, (at, next(order), "here", assignment))
        run.most_held = max(run.most_held, len(out))

    for name in sources:
        schedule.join(name, anew=True)
    heapq.heappush(due, (0.0, next(order), "look", None))
    while not plan.finished:
        now, _, what, assignment = heapq.heappop(due)
        assert now < 10_000, "it never ends"
        if what == "look":
            heapq.heappush(due, (now + 0.1, next(order), "look", None))
        elif assignment in out:
            assert assignment is not None
            if what == "here":
                schedule.answered(assignment, now)
                run.fetched[assignment.source] += assignment.chunk.length
                heapq.heappush(due, (now + write_s, next(order), "written", assignment))
            else:
                out.remove(assignment)
                run.longest_gap_s = max(run.longest_gap_s, now - last)
                last = now
                for useless in schedule.done(assignment):
                    out.remove(useless)
                    schedule.give_back(useless)
                    # Cancelled: the source goes on with what was asked behind it.
                    source = sources[useless.source]
                    source.free_at = min(source.free_at, now + source.latency_s)
        ask()
    run.seconds = now
    return run


# -- what it is for -------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("idlers", [2, 6])
def test_several_that_never_finish_anything_do_not_hold_up_one_that_does(
    idlers: int, known: bool
) -> None:
    """A byte now and then is no silence, and whoever has two identities could hold the end."""
    sources = {"honest": Source(100 * MB)}
    for number in range(idlers):
        # Not known yet, or after it had shown for a while what it can do.
        gone = (0.5 if known else 0.0, math.inf)
        sources[f"idler {number}"] = Source(100 * MB, gone=gone)
    run = simulate(plan_of([4 * MIB] * 100), sources)
    assert run.seconds < 400 * MIB / (100 * MB) + idlers * 2.5


def test_several_known_to_be_slow_do_not_hold_the_end_either() -> None:
    rates = {"slow": 0.01 * MB, "less slow": 0.02 * MB}
    schedule = Schedule(plan_of([MIB] * 2 + [4 * MIB]), limits.CHUNK_BYTES, 12)
    now = 0.0
    for name in ("slow", "less slow"):
        schedule.join(name, anew=True)
    # Each of the two shows how slow it is, and both come to have the last piece; then nobody else.
    out: dict[str, list[Assignment]] = {"slow": [], "less slow": []}
    for name in ("slow", "less slow"):
        small = schedule.next(name, now)
        assert small is not None
        now += small.chunk.length / rates[name]
        schedule.answered(small, now)
        schedule.done(small)
    joined = now + 60
    while not schedule.plan.finished and now < joined + 1_000:
        if now > joined and "honest" not in out:
            schedule.join("honest", anew=True)
            out["honest"] = []
        for name, asked in out.items():
            while (assignment := schedule.next(name, now)) is not None:
                asked.append(assignment)
        now += 0.1
        for assignment in tuple(out.get("honest", ())):
            schedule.answered(assignment, now)
            for useless in schedule.done(assignment):
                schedule.give_back(useless)
                out[useless.source].remove(useless)
            out["honest"].remove(assignment)
    assert now < joined + 5


def test_three_sources_one_of_them_slow_give_what_they_have_together() -> None:
    sources = {"a": Source(40 * MB), "slow": Source(4 * MB), "b": Source(40 * MB)}
    run = simulate(plan_of([4 * MIB] * 175), sources)
    assert 700 * MIB / run.seconds >= 0.95 * 84 * MB
    # The slow one does its part, and little is fetched twice.
    assert run.fetched["slow"] >= 0.5 * 4 * MB * run.seconds
    assert sum(run.fetched.values()) <= 1.02 * 700 * MIB


def test_many_small_files_are_shared_as_well() -> None:
    rng = random.Random(1)
    plan = plan_of([rng.randrange(100 * 1024, 300 * 1024) for _ in range(2_000)])
    sources = {"a": Source(40 * MB), "slow": Source(4 * MB), "b": Source(40 * MB)}
    run = simulate(plan, sources)
    assert plan.total_bytes / run.seconds >= 0.95 * 84 * MB


@pytest.mark.parametrize("slow", [0.01, 0.1, 0.5])
def test_a_very_slow_source_never_holds_up_a_fast_one(slow: float) -> None:
    run = simulate(plan_of([4 * MIB] * 50), {"slow": Source(slow * MB), "fast": Source(100 * MB)})
    # Alone the fast one needs 2.1 s.
    assert run.seconds <= 2.1 * 1.15


def test_less_is_asked_of_one_that_is_not_known_yet() -> None:
    schedule = Schedule(plan_of([MIB] * 200), limits.CHUNK_BYTES, 24)
    schedule.join("new", anew=True)
    while (first := schedule.next("new", 0.0)) is not None:
        assert first.chunk.length <= 4 * MIB
        last = first
    schedule.answered(last, 0.01)
    schedule.done(last)
    later = schedule.next("new", 0.01)
    assert later is not None
    assert later.chunk.length == limits.CHUNK_BYTES


def test_a_source_far_away_is_never_without_a_request() -> None:
    run = simulate(plan_of([256 * 1024] * 800), {"far": Source(40 * MB, latency_s=0.1)})
    assert 200 * MIB / run.seconds >= 0.85 * 40 * MB


def test_one_that_vanishes_and_returns_costs_no_stall() -> None:
    sources = {
        "a": Source(20 * MB),
        "b": Source(20 * MB, gone=(2.0, 5.0)),
        "c": Source(20 * MB),
    }
    plan = plan_of([4 * MIB] * 90)
    run = simulate(plan, sources)
    assert run.longest_gap_s < 1.0
    # Two thirds for three seconds, all of it before and after.
    assert run.seconds <= (plan.total_bytes / MB + 60) / 60 * 1.1
    assert run.fetched["b"] >= 0.2 * plan.total_bytes


def test_one_that_vanishes_at_the_end_is_made_up_for_at_once() -> None:
    sources = {"a": Source(20 * MB), "b": Source(20 * MB, gone=(1.9, 1_000.0))}
    run = simulate(plan_of([4 * MIB] * 20), sources)
    assert run.seconds <= 84 / 40 + 1.0


@pytest.mark.parametrize("count", [1, 3, 30, 200])
def test_what_is_held_is_bounded_however_many_there_are(count: int) -> None:
    rng = random.Random(count)
    sources = {str(number): Source(rng.uniform(0.1, 20) * MB) for number in range(count)}
    run = simulate(plan_of([4 * MIB] * 300), sources, most_held=24)
    assert run.most_held <= 24
    # Those that are slow do not keep the memory from those that are fast; to learn who is which
    # takes a chunk of each, which of two hundred is most of the game.
    best = sum(sorted(source.rate for source in sources.values())[-24:])
    assert 300 * 4 * MIB / run.seconds >= (0.2 if count == 200 else 0.5) * best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 100), st.floats(0, 0.05)), min_size=1, max_size=6),
    st.lists(st.integers(1, 4 * MIB), min_size=1, max_size=80),
    st.integers(2, 24),
)
def test_together_they_are_about_as_fast_as_the_sum(
    given_sources: list[tuple[float, float]], sizes: list[int], most_held: int
) -> None:
    sources = {
        str(number): Source(rate * MB, latency_s)
        for number, (rate, latency_s) in enumerate(given_sources)
    }
    plan = plan_of(sizes)
    run = simulate(plan, sources, most_held=most_held)
    assert run.most_held <= most_held
    # Never worse than the fastest alone, but for the time in which nobody is known yet.
    fastest = max(source.rate for source in sources.values())
    latency_s = max(source.latency_s for source in sources.values())
    alone = plan.total_bytes / fastest
    assert (
        run.seconds
        <= 1.3 * alone
        + 2 * 4 * MIB / fastest
        + (len(sizes) + 20) * (latency_s + 0.02)
        + 2 * limits.CHUNK_BYTES / fastest
        + 0.6
    )


# -- what may happen ------------------------------------------------------------------------------


class ScheduleMachine(RuleBasedStateMachine):
    """Sources join, answer, fail, are busy and leave in any order and at any time."""

    MOST = 4

    def __init__(self) -> None:
        super().__init__()
        self.plan = plan_of([MIB, 10, 4 * MIB, 300_000, 300_000, MIB, 2 * MIB])
        self.schedule = Schedule(self.plan, MIB, self.MOST)
        self.now = 0.0
        self.here: set[str] = set()
        self.asked: list[Assignment] = []
        self.answered: list[Assignment] = []
        self.useless: list[Assignment] = []

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from("abc"), anew=st.booleans())
    def join(self, name: str, anew: bool) -> None:
        if name not in self.here:
            self.here.add(name)
            self.schedule.join(name, anew=anew)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.here)))
        for assignment in [one for one in self.all_out() if one.source == name]:
            self.forget(assignment)
            self.schedule.give_back(assignment)
        self.here.remove(name)
        self.schedule.leave(name)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def next(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.here)))
        assignment = self.schedule.next(name, self.now)
        if assignment is not None:
            assert assignment.source == name
            assert assignment.chunk.length > 0
            self.asked.append(assignment)
            assert not self.schedule.is_barred(name, self.now)
        elif self.schedule.is_barred(name, self.now):
            assert not any(self.plan._may(piece, name) for piece in self.plan._waiting)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        assignment = data.draw(st.sampled_from(self.asked))
        self.asked.remove(assignment)
        self.answered.append(assignment)
        self.schedule.answered(assignment, self.now)

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        assignment = data.draw(st.sampled_from(self.answered))
        self.answered.remove(assignment)
        for useless in self.schedule.done(assignment):
            self.forget(useless)
            self.useless.append(useless)

    @precondition(lambda self: self.useless)
    @rule(data=st.data())
    def give_back_useless(self, data: st.DataObject) -> None:
        """Its task sees that it was cancelled a moment later, when others were asked already."""
        useless = data.draw(st.sampled_from(self.useless))
        self.useless.remove(useless)
        self.schedule.give_back(useless)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), busy=st.booleans())
    def fail(self, data: st.DataObject, busy: bool) -> None:
        assignment = data.draw(st.sampled_from(self.asked))
        self.asked.remove(assignment)
        self.schedule.failed(assignment, self.now, busy=busy)
        # It rests, however often it is looked at.
        assert self.schedule.next(assignment.source, self.now) is None
        assert not self.schedule.is_barred(assignment.source, self.now)

    def forget(self, assignment: Assignment) -> None:
        for some in (self.asked, self.answered, self.useless):
            if assignment in some:
                some.remove(assignment)

    def all_out(self) -> list[Assignment]:
        return self.asked + self.answered + self.useless

    @invariant()
    def bounds_hold(self) -> None:
        held = len(self.asked) + len(self.answered)
        assert held <= self.MOST
        assert self.plan.active == held
        for name in self.here:
            mine = sum(one.source == name for one in self.asked)
            assert mine <= limits.MAX_PIPELINE_DEPTH

    def teardown(self) -> None:
        """Whatever was, a source that joins alone and answers gets everything that is left."""
        for assignment in self.all_out():
            self.schedule.give_back(assignment)
        for name in self.here:
            self.schedule.leave(name)
        self.schedule.join("a", anew=False)
        while not self.plan.finished:
            self.now += 0.1
            found = self.schedule.next("a", self.now)
            assert found is not None
            self.schedule.answered(found, self.now)
            self.schedule.done(found)


TestScheduleMachine = ScheduleMachine.TestCase
TestScheduleMachine.settings = settings(max_examples=80, deadline=None)


def test_one_that_is_always_unable_is_asked_ever_less() -> None:
    schedule = Schedule(plan_of([MIB] * 10), MIB, 8)
    asked, now, again = 0, 0.0, True
    for joined in range(6):
        schedule.join("bad", anew=joined == 0)
        again = True
        while again:
            assignment = schedule.next("bad", now)
            if assignment is None:
                assert not schedule.is_barred("bad", now)
                now += 0.05
                continue
            asked += 1
            again = schedule.failed(assignment, now, busy=True)
        schedule.leave("bad")
        now += 2.0
    # Five times, then once each time it is tried again.
    assert asked == limits.MAX_RETRY_COUNT + 5
    # On a new session everything is forgiven.
    schedule.join("bad", anew=True)
    assignment = schedule.next("bad", now)
    assert assignment is not None
    assert schedule.failed(assignment, now, busy=True)


def test_one_that_failed_with_all_that_is_left_is_barred() -> None:
    schedule = Schedule(plan_of([10]), MIB, 8)
    schedule.join("bad", anew=True)
    now = 0.0
    for attempt in range(limits.MAX_RETRY_COUNT):
        now += 10
        assignment = schedule.next("bad", now)
        assert assignment is not None
        again = schedule.failed(assignment, now, busy=False)
        assert again == (attempt + 1 < limits.MAX_RETRY_COUNT)
    assert schedule.next("bad", now + 10) is None
    assert schedule.is_barred("bad", now + 10)


def test_what_became_useless_bars_nobody_while_it_is_still_to_be_given_back() -> None:
    plan = plan_of([MIB] * 7)
    schedule = Schedule(plan, MIB, 8)
    now = 0.0
    for name, rate in (("slow", 0.5 * MIB), ("fast", 10.0 * MIB), ("gone", 0.5 * MIB)):
        schedule.join(name, anew=True)
        assignment = schedule.next(name, now)
        assert assignment is not None
        now += MIB / rate
        schedule.answered(assignment, now)
        schedule.done(assignment)
    slow, gone = schedule.next("slow", now), schedule.next("gone", now)
    assert slow is not None
    assert gone is not None
    # With nothing else left, the fast one also fetches what a slow one will be late with.
    doubled = None
    while doubled is None or doubled.chunk.pieces != slow.chunk.pieces:
        doubled = schedule.next("fast", now)
        assert doubled is not None
        if doubled.chunk.pieces not in (slow.chunk.pieces, gone.chunk.pieces):
            now += 0.1
            schedule.answered(doubled, now)
            schedule.done(doubled)
    for useless in [one for one in plan.elsewhere("slow") if one is not doubled]:
        schedule.give_back(useless)
    schedule.leave("gone")
    schedule.answered(slow, now)
    assert schedule.done(slow) == [doubled]
    # What the third had is waiting again, and left to the fast one.
    assert plan.next_bytes == MIB
    assert schedule.next("slow", now) is None
    assert not schedule.is_barred("slow", now)
    schedule.give_back(doubled)
    assert schedule.next("fast", now) is not None
