"""When to dial a peer again. Pure.

Full jitter around a doubling delay, so that peers that lost each other do not dial in step.
Source: ARCHITECTURE.md, "Dialing".
"""

from __future__ import annotations

import random

import attrs

from lanspread import limits


@attrs.define
class Backoff:
    """The failures of one target so far. `persistent` is a target that a person named."""

    persistent: bool = False
    failures: int = 0
    eager_until: float = 0.0

    def reset(self, now: float) -> None:
        """Something new was heard of the target, or it was connected until now."""
        self.failures = 0
        self.eager_until = now + limits.DIAL_KNOWN_FOR_S

    def failed(self, now: float, rng: random.Random) -> float:
        """Take note of a failure; returns the time of the next attempt."""
        delay = min(
            limits.DIAL_BACKOFF_FIRST_S * 2.0 ** min(self.failures, 20),
            limits.DIAL_BACKOFF_MAX_S,
        )
        self.failures += 1
        if self.persistent and now < self.eager_until:
            delay = min(delay, limits.DIAL_BACKOFF_KNOWN_MAX_S)
        return now + delay * rng.uniform(0.75, 1.0)
