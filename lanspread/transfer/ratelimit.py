"""A limit on bytes a second, shared by everything that moves in one direction."""

from __future__ import annotations

import trio

from lanspread.transfer.operation import RateMeter

_SILENT_S = 5.0


class RateLimit:
    """A token bucket that holds a quarter of a second's bytes. `rate` None means no limit.

    `total` counts all bytes ever taken.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._free_at = 0.0
        self.total = 0
        self._meter = RateMeter()
        self._measured = 0.0
        self._measured_at = -_SILENT_S

    async def take(self, amount: int) -> None:
        """Wait until `amount` bytes may move. Cancelled, the bytes still count as moved."""
        now = trio.current_time()
        self.total += amount
        self._measured = self._meter.add(now, self.total)
        self._measured_at = now
        if self.rate is None:
            return
        # The bucket as the time at which it is full again: one number, no timer.
        self._free_at = max(self._free_at, now - 0.25) + amount / self.rate
        if self._free_at > now:
            await trio.sleep_until(self._free_at)

    def measured(self) -> float:
        """Bytes a second over the last few seconds."""
        silent = trio.current_time() - self._measured_at > _SILENT_S
        return 0.0 if silent else self._measured
