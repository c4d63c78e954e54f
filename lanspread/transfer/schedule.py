"""Which source of a download fetches how much, and when. Pure: times come in.

Sources pull: one that is free takes the next pieces, so a fast one does more. What each may have
out follows what it has shown (`lanspread.transfer.estimates`), and what all have out is bounded,
however many they are. Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from lanspread import limits
from lanspread.transfer.estimates import Estimate
from lanspread.transfer.plan import Assignment, Plan

# An answer should take about this long: short enough to share out and to hand back, and long
# against what a request costs.
_CHUNK_S = 0.1
# Between two answers a source that has one request out rests for its latency and for what we take
# to ask again. If that is less than this share of the time, one request is enough.
_TURN_S = 0.002
_IDLE_SHARE = 0.02
_FIRST_DEPTH = 2
# Not more than this at once of a source that is not known yet: it may be slow.
_FIRST_BYTES = 4 * limits.MIB
# Of a source that is not known yet nothing is expected; one that knows nothing better to do helps
# out when an answer will not come within this time.
_UNKNOWN_HELP_S = 0.25
# To fetch something twice it must be sooner here by this factor.
_SOONER = 1.1
# And once more only when all who fetch it have had it for so long: who sends a byte now and then,
# or has shown to be slow, would keep it as long as it likes.
_THIRD_S = 2.0
# A source that cannot answer is asked again after this time, then after twice that.
_REST_S = 0.25
_REST_MOST_S = 2.0


@attrs.define(eq=False)
class _Source:
    order: int
    estimate: Estimate = attrs.Factory(Estimate)
    side_by_side: int = 1
    held: int = 0
    resting_until: float = -math.inf
    failures: int = 0


@attrs.frozen(eq=False)
class _Asked:
    """What was expected of an assignment when it was made; `open` until it is answered."""

    at: float
    ahead_bytes: int
    due: float


class Schedule:
    """Hands out the pieces of a plan to the sources that have joined."""

    def __init__(self, plan: Plan, chunk_bytes: int, most_held: int) -> None:
        """At most `most_held` chunks are out or being written at a time, over all sources."""
        self.plan = plan
        self._chunk_bytes = chunk_bytes
        self._most_held = most_held
        self._sources: dict[str, _Source] = {}
        # What was learned of sources outlasts their leaving.
        self._left: dict[str, _Source] = {}
        self._asked: dict[Assignment, _Asked] = {}
        self._held = 0
        self._joined = 0

    def join(self, name: str, *, anew: bool) -> None:
        """A source can be asked from now on, for everything that is left.

        One that was unable all the time and is not there `anew` has one try.
        """
        self._joined += 1
        before = self._left.pop(name, None) or _Source(self._joined)
        failures = 0 if anew else before.failures
        self._sources[name] = _Source(self._joined, before.estimate, failures=failures)
        self.plan.forget_failures(name)

    def widen(self, name: str, side_by_side: int) -> None:
        """So many answers of a source can come at its full rate at once, as it is now."""
        self._sources[name].side_by_side = side_by_side

    def leave(self, name: str) -> None:
        """It cannot any more. All that it had has been given back."""
        self._left[name] = self._sources.pop(name)

    # -- what happened ----------------------------------------------------------------------------

    def answered(self, assignment: Assignment, now: float) -> None:
        """All bytes of a chunk are here; they are not yet verified."""
        asked = self._asked.pop(assignment)
        source = self._sources[assignment.source]
        source.failures = 0
        source.estimate.answer(now, assignment.chunk.length, asked.at, asked.ahead_bytes)

    def done(self, assignment: Assignment) -> list[Assignment]:
        """They are verified and written; returns the assignments that this makes useless."""
        self._let_go(assignment)
        return self.plan.done(assignment)

    def give_back(self, assignment: Assignment) -> None:
        """Gone, changed, cancelled: nothing of it is held against the source."""
        self._let_go(assignment)
        self.plan.give_back(assignment, failed=False)

    def failed(self, assignment: Assignment, now: float, *, busy: bool) -> bool:
        """The source was unable; it rests a little. Whether it is to be asked again at all.

        One that says that it is `busy` may still have the same pieces later.
        """
        self._let_go(assignment)
        again = self.plan.give_back(assignment, failed=not busy)
        source = self._sources[assignment.source]
        if source.resting_until <= now:
            # What fails beside it is the same failure.
            rest = min(_REST_S * 2.0 ** min(source.failures, 10), _REST_MOST_S)
            source.resting_until = now + rest
            source.failures += 1
        return again and source.failures < limits.MAX_RETRY_COUNT

    def _let_go(self, assignment: Assignment) -> None:
        source = self._sources[assignment.source]
        source.held -= 1
        self._held -= 1
        if self._asked.pop(assignment, None) is not None:
            source.estimate.give_up(assignment.chunk.length)

    # -- what is next -----------------------------------------------------------------------------

    def is_barred(self, name: str, now: float) -> bool:
        """Whether a source that gets nothing now never will: it failed with all that is left.

        Not known while anything is out, what became useless and is not given back yet included:
        as long as that counts for one source, things may be left to it by the others.
        """
        resting = now < self._sources[name].resting_until
        return not (resting or self._held or self.plan.finished)

    def is_full(self, name: str, now: float) -> bool:
        """Whether only an answer of its own can make that a source gets something."""
        source = self._sources[name]
        return source.estimate.out >= self._depth(source, now)

    def next(self, name: str, now: float) -> Assignment | None:
        """What a source is to be asked for now; None if nothing, then or at this time."""
        source = self._sources[name]
        resting = now < source.resting_until
        if resting or not self._has_room(source, now) or self.is_full(name, now):
            return None
        found = None
        if not self._is_left_to_others(source, now):
            found = self.plan.take(name, self._size(source, now))
        if found is None:
            slow = self._slowest(name, source, now)
            if slow is None:
                return None
            found = self.plan.double(slow, name)
        estimate, length = source.estimate, found.chunk.length
        due = now + estimate.seconds_for(now, length)
        self._asked[found] = _Asked(now, estimate.out_bytes, due)
        estimate.ask(now, length)
        source.held += 1
        self._held += 1
        return found

    def _size(self, source: _Source, now: float) -> int:
        """What a source is asked for at once: so much as it sends in a moment, less at the end."""
        rate = source.estimate.rate(now)
        most = _FIRST_BYTES if rate is None else rate * _CHUNK_S
        size = min(float(self._chunk_bytes), most)
        size = min(size, self.plan.waiting_bytes / (2 * len(self._sources)))
        return max(round(size), limits.MIN_CHUNK_BYTES)

    def _depth(self, source: _Source, now: float) -> int:
        """How many requests a source needs so that it is never without one."""
        if source.failures:
            return 1
        rate = source.estimate.rate(now)
        if rate is None:
            return _FIRST_DEPTH
        each_s = max(self._size(source, now), self._typical_bytes(source)) / rate
        gap = (source.estimate.latency_s + _TURN_S) / each_s
        if gap < _IDLE_SHARE:
            return source.side_by_side
        wanted = max(limits.PIPELINE_DEPTH, source.side_by_side, 1 + math.ceil(gap))
        return min(wanted, limits.MAX_PIPELINE_DEPTH)

    @staticmethod
    def _typical_bytes(source: _Source) -> float:
        """The mean of what is out: a block may be larger than what was wanted."""
        return source.estimate.out_bytes / source.estimate.out if source.estimate.out else 0.0

    def _has_room(self, source: _Source, now: float) -> bool:
        """Whether it may hold one more chunk without keeping those from it who need one first.

        Nobody while the disk is behind: what waits for it grows cold, and fills the memory.
        Everybody's first comes before anybody's second; of those that have none the faster first.
        """
        free = self._most_held - self._held
        if not self._held or free <= 0:
            return free > 0
        before = 0
        for other in self._others(source, now):
            if not other.held and (source.held or _is_faster(other, source, now)):
                before += 1
                if before >= free:
                    return False
        return True

    def _others(self, source: _Source, now: float) -> Iterator[_Source]:
        for other in self._sources.values():
            if other is not source and other.resting_until <= now:
                yield other

    def _is_left_to_others(self, source: _Source, now: float) -> bool:
        """Whether the others will be done with everything before this one with one piece more."""
        if source.estimate.rate(now) is None:
            return False
        rates = out_bytes = 0.0
        for other in self._others(source, now):
            if other.estimate.out:
                rates += other.estimate.rate(now) or 0.0
                out_bytes += other.estimate.out_bytes
        if not rates:
            return False
        others_s = (self.plan.waiting_bytes + out_bytes) / rates
        ours_s = source.estimate.seconds_for(now, self.plan.next_bytes)
        return ours_s > _SOONER * others_s + _TURN_S

    def _slowest(self, name: str, source: _Source, now: float) -> Assignment | None:
        """What others are fetching that comes last, if it would be here sooner from this source.

        Left to a faster one that has nothing to do either.
        """
        best: Assignment | None = None
        longest = 0.0
        for assignment in self.plan.elsewhere(name):
            left = self._seconds_until_here(assignment, now)
            if left > longest:
                best, longest = assignment, left
        if best is None:
            return None
        ours = source.estimate.seconds_for(now, best.chunk.length)
        if ours == math.inf:
            ours = _UNKNOWN_HELP_S
        if ours * _SOONER >= longest:
            return None
        for other_name, other in self._sources.items():
            idle = not other.held and other.resting_until <= now
            if idle and other_name not in (name, best.source) and _is_faster(other, source, now):
                return None
        return best

    def _seconds_until_here(self, assignment: Assignment, now: float) -> float:
        """When the first of those who fetch it will have it; 0 if it is to be left to them."""
        rivals = self.plan.rivals(assignment)
        asked = [self._asked[rival] for rival in rivals if rival in self._asked]
        if len(asked) < len(rivals):
            return 0.0  # It is here, and being verified.
        if len(asked) > 1 and any(now - one.at < _THIRD_S for one in asked):
            return 0.0
        # What is late is taken to need as long again as it is late.
        return min(abs(one.due - now) for one in asked)


def _is_faster(one: _Source, other: _Source, now: float) -> bool:
    """The one not known yet counts as fast: it is to be known. Of equals the one here longer."""
    rates = [source.estimate.rate(now) for source in (one, other)]
    first, second = (math.inf if rate is None else rate for rate in rates)
    return (first, -one.order) > (second, -other.order)
