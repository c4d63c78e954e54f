"""When to dial a peer again. Pure.

A doubling delay and up to a quarter more, so that peers that lost each other do not dial in step.
Source: ARCHITECTURE.md, "Dialing".
"""

from __future__ import annotations

import random

import attrs

from lanspread import limits


@attrs.define
class Backoff:
    """What came of one target so far. `persistent` is a target that a person named.

    `failures` are the dials in a row that came to nothing, `short` the sessions in a row that ended
    soon: a peer that greets and closes at once must not be dialed without end.
    """

    persistent: bool = False
    failures: int = 0
    short: int = 0
    eager_until: float = 0.0
    met_until: float = 0.0

    def reset(self, now: float) -> None:
        """Something new was heard of the target, or it was connected for long until now."""
        self.failures = self.short = 0
        self.eager_until = now + limits.DIAL_KNOWN_FOR_S

    def connected(self) -> None:
        """A dial ended in a session."""
        self.failures = 0

    def ended(self, lived_s: float, now: float, rng: random.Random) -> float:
        """A session ended; returns the time of the next attempt, which is now if it lived long."""
        if lived_s >= limits.SESSION_PROVEN_S:
            self.reset(now)
            self.met_until = now + limits.DIAL_MET_FOR_S
            return now
        self.short += 1
        return self._after(self.short - 1, now, rng)

    def failed(self, now: float, rng: random.Random) -> float:
        """A dial came to nothing; returns the time of the next attempt."""
        self.failures += 1
        return self._after(self.failures + self.short - 1, now, rng)

    def _after(self, before: int, now: float, rng: random.Random) -> float:
        delay = min(
            limits.DIAL_BACKOFF_FIRST_S * 2.0 ** min(before, 20),
            limits.DIAL_BACKOFF_MAX_S,
        )
        if self.persistent and now < self.eager_until:
            delay = min(delay, limits.DIAL_BACKOFF_KNOWN_MAX_S)
        elif now < self.met_until:
            delay = min(delay, limits.DIAL_MET_MAX_S)
        return now + delay * rng.uniform(1.0, 1.25)
