"""A limit on bytes a second, shared by everything that moves in one direction."""

from __future__ import annotations

import trio

from lanspread.transfer.operation import RateMeter

_SILENT_S = 5.0
_SLICE_S = 0.25


class RateLimit:
    """Hands out bytes at `rate` (None: no limit) in small slices, in turn to all who wait.

    Nothing is reserved ahead: who is cancelled while waiting has taken only what was handed out.
    `total` counts all bytes ever taken.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self.total = 0
        self._free_at = 0.0
        self._turn = trio.StrictFIFOLock()
        self._meter = RateMeter()
        self._measured = 0.0
        self._measured_at = -_SILENT_S

    async def take(self, amount: int) -> None:
        """Wait until `amount` bytes have been allowed to move."""
        left = amount
        # It may be changed at any time, also to none.
        while left > 0 and (rate := self.rate) is not None:
            part = min(left, max(1, int(rate * _SLICE_S)))
            async with self._turn:
                await trio.sleep_until(self._free_at)
                # Time that nobody used is lost but for one slice: a limit holds at any moment.
                begins = max(self._free_at, trio.current_time() - _SLICE_S)
                self._free_at = begins + part / rate
            left -= part
        self.total += amount
        self._measured_at = trio.current_time()
        self._measured = self._meter.add(self._measured_at, self.total)

    def measured(self) -> float:
        """Bytes a second over the last few seconds."""
        silent = trio.current_time() - self._measured_at > _SILENT_S
        return 0.0 if silent else self._measured
