"""A bound on bytes asked for and not yet received, shared by the requests of one session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Credit:
    """Hands out parts of a fixed number of bytes; who asks for more than is free waits."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def in_use(self) -> int:
        return self._total - self._free

    @asynccontextmanager
    async def take(self, amount: int) -> AsyncIterator[None]:
        """Hold `amount` (all there is, if less) inside the block. Cancelled waiting takes none."""
        amount = min(amount, self._total)
        while self._free < amount:
            await self._waiting.park()
        self._free -= amount
        try:
            yield
        finally:
            self._free += amount
            self._waiting.unpark_all()
