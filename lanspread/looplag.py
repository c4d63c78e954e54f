"""How late the event loop comes to what is due: the one number that says whether it is kept busy.

Whatever else waits in the loop waits as long: a packet, a ping, an answer to a front-end.
"""

from __future__ import annotations

import math
from collections import deque

import trio

from lanspread import limits
from lanspread.views import LoopLagView


class LagRecord:
    """The lags of the last minute. Pure."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=round(limits.LAG_KEPT_S / limits.LAG_INTERVAL_S))

    def add(self, lag_s: float) -> None:
        """Take note of one wake-up."""
        self._lags.append(max(0.0, lag_s))

    def view(self) -> LoopLagView | None:
        """What there is to say; None where nothing was measured."""
        if not self._lags:
            return None
        ordered = sorted(self._lags)
        return LoopLagView(
            p50_s=_percentile(ordered, 0.50), p99_s=_percentile(ordered, 0.99), max_s=ordered[-1]
        )


def _percentile(ordered: list[float], share: float) -> float:
    """The least value that this share of all does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def measure_lag(record: LagRecord) -> None:
    """Sleep and see how late it wakes, until cancelled."""
    while True:
        due = trio.current_time() + limits.LAG_INTERVAL_S
        await trio.sleep_until(due)
        record.add(trio.current_time() - due)
