"""A number of slots, shared so that no one host can keep all of them from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class FairSlots:
    """A host may hold at most as many slots as are free: half of them alone, a third each by two.

    One slot is always left for who holds none, unless there are more hosts than slots.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: Counter[str] = Counter()
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def held(self) -> int:
        return self._held.total()

    def _may(self, host: str) -> bool:
        free = self._total - self.held
        return free > 0 and (not self._held[host] or self._held[host] < free)

    @asynccontextmanager
    async def take(self, host: str) -> AsyncIterator[None]:
        """Hold a slot inside the block. Cancelled waiting holds none."""
        await trio.lowlevel.checkpoint()
        while not self._may(host):
            await self._waiting.park()
        self._held[host] += 1
        try:
            yield
        finally:
            self._held[host] -= 1
            if not self._held[host]:
                del self._held[host]
            self._waiting.unpark_all()
