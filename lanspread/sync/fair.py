"""A number of slots, shared so that no one host can keep all of them from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import attrs
import trio

from lanspread.sync.fair_queue import Entry, FairQueue


class TooManyWait(Exception):
    """There are as many waiting as may; nobody would come to this one soon."""


class FairSlots:
    """A host may hold at most as many slots as are free: half of them alone, a third each by two.

    One slot is always left for who holds none, unless there are more hosts than slots. Of those who
    wait, the one goes first that has had the least; those behind one address are told apart by
    `who`. With a bound on how many may wait, a host may take up at most as many of those places
    as are free, too.
    """

    def __init__(self, total: int, most_waiting: int | None = None) -> None:
        self._total = total
        self._most_waiting = most_waiting
        self._held: Counter[str] = Counter()
        self._in_line: Counter[str] = Counter()
        self._waiting: FairQueue[_Waiter] = FairQueue()

    @property
    def held(self) -> int:
        return self._held.total()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def take(
        self, host: str, who: Hashable | None = None, amount: int = 1
    ) -> AsyncIterator[None]:
        """Hold a slot inside the block; `amount` is how much of it counts, as bytes do.

        Cancelled waiting holds none. Raises `TooManyWait`.
        """
        await trio.lowlevel.checkpoint()
        await self._wait(host, host if who is None else (host, who), amount)
        try:
            yield
        finally:
            _count_down(self._held, host)
            self._hand_out()

    async def _wait(self, host: str, key: Hashable, amount: int) -> None:
        waiter = _Waiter(host)
        entry = self._waiting.add(key, amount, waiter)
        self._in_line[host] += 1
        self._hand_out()
        if waiter.granted.is_set():
            return
        try:
            if self._most_waiting is not None:
                others = self._in_line[host] - 1
                places = self._most_waiting - (len(self._waiting) - 1)
                if not _may(others, places):
                    raise TooManyWait(host)
            await waiter.granted.wait()
        except BaseException:
            if waiter.granted.is_set():
                _count_down(self._held, host)
                self._hand_out()
            else:
                self._leave(entry)
            raise

    def _hand_out(self) -> None:
        """Give what is free to who may have it."""
        while self._total > self.held:
            entry = self._waiting.first(self._may_hold)
            if entry is None:
                return
            self._waiting.take(entry)
            _count_down(self._in_line, entry.item.host)
            self._held[entry.item.host] += 1
            entry.item.granted.set()

    def _may_hold(self, entry: Entry[_Waiter]) -> bool:
        host = entry.item.host
        return _may(self._held.get(host, 0), self._total - self.held)

    def _leave(self, entry: Entry[_Waiter]) -> None:
        self._waiting.remove(entry)
        _count_down(self._in_line, entry.item.host)


@attrs.define(eq=False)
class _Waiter:
    host: str
    granted: trio.Event = attrs.Factory(trio.Event)


def _may(mine: int, free: int) -> bool:
    """Whether a host that has so many may have one more of those that are free."""
    return free > 0 and (not mine or mine < free)


def _count_down(counter: Counter[str], host: str) -> None:
    counter[host] -= 1
    if not counter[host]:
        del counter[host]
