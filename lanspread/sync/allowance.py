"""How much of our time one session may take for what it costs to read it. Pure.

Reading a message can cost us much more than it cost its sender; so who sends such messages without
pause is read the slower, and nobody else waits.
"""

from __future__ import annotations

import attrs

from lanspread import limits


@attrs.define
class Allowance:
    """A share of our time, saved up to a bound. `seen` is when it was counted last (trio time)."""

    seen: float
    saved_s: float = limits.READING_SAVED_S

    def spend(self, began: float, ended: float) -> float:
        """Pay for work that took from `began` to `ended`; returns how long to rest now."""
        earned = limits.READING_SHARE * max(0.0, began - self.seen)
        self.saved_s = min(limits.READING_SAVED_S, self.saved_s + earned) - (ended - began)
        self.seen = ended
        return max(0.0, -self.saved_s / limits.READING_SHARE)
