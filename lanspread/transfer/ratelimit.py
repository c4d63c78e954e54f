"""A limit on bytes a second, shared by everything that moves in one direction."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Protocol

import trio

from lanspread.sync.fair_queue import Entry, FairQueue
from lanspread.sync.session import Session
from lanspread.transfer.operation import RateMeter

_SILENT_S = 5.0
_SLICE_S = 0.25
# Bytes are measured this often: a fast transfer takes thousands of times a second.
_MEASURE_S = 0.05


class Limit(Protocol):
    """What fetching asks before it takes more. Bytes."""

    def piece(self, most: int) -> int:
        """As `RateLimit.piece`."""

    async def take(self, amount: int, session: Session, /) -> None:
        """As `RateLimit.take`."""


class RateLimit:
    """Hands out bytes in small slices, as many to each who waits for some.

    The limit is the lower one of `rate` and `cap`; None is none. Both may be changed at any time,
    and whoever waits goes on at once by the new limit. Nothing is reserved ahead: who is cancelled
    while waiting has taken only what was handed out. `total` counts all bytes ever taken.
    """

    def __init__(self, rate: float | None, cap: float | None = None) -> None:
        self._rate = rate
        self._cap = cap
        self._limit = _lower(rate, cap)
        self.total = 0
        self._free_at = 0.0
        self._waiting: FairQueue[_Waiter] = FairQueue()
        self._meter = RateMeter()
        self._measured = 0.0
        self._measured_at = -_SILENT_S
        self._taken_at = -_SILENT_S

    @property
    def rate(self) -> float | None:
        """Bytes a second, as set."""
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self._rate = rate
        self._change()

    @property
    def cap(self) -> float | None:
        """A second limit that comes and goes, and leaves `rate` as it was set."""
        return self._cap

    @cap.setter
    def cap(self, cap: float | None) -> None:
        self._cap = cap
        self._change()

    @property
    def limit(self) -> float | None:
        """What holds now."""
        return self._limit

    def piece(self, most: int) -> int:
        """How many bytes, up to `most`, to take at once: so few that no piece waits for long."""
        return most if self._limit is None else min(most, _slice(self._limit))

    async def take(self, amount: int, who: Hashable | None = None) -> None:
        """Wait until `amount` bytes have been allowed to move.

        Those who wait get as many bytes each; all that wait for the same `who` count as one.
        Without a limit it returns at once.
        """
        if self._limit is not None and amount > 0:
            await self._wait(amount, who)
        self._note(amount)

    async def _wait(self, amount: int, who: Hashable | None) -> None:
        waiter = _Waiter()
        key: Hashable = waiter if who is None else who
        left = amount
        while left > 0 and self._limit is not None:
            entry = self._waiting.add(key, 0, waiter)
            self._call_first()
            try:
                await self._turn(entry)
                left -= self._hand_out(entry, left)
            except BaseException:
                self._waiting.remove(entry)
                raise
            finally:
                self._call_first()

    async def _turn(self, entry: Entry[_Waiter]) -> None:
        """Wait until an entry is first and bytes are there, or there is no limit any more."""
        while True:
            called = entry.item.called = trio.Event()
            if self._is_free(entry):
                await trio.lowlevel.checkpoint()
                # Others may have changed everything meanwhile.
                if self._is_free(entry):
                    return
                continue
            # Only the first one needs a clock: it calls the next when it has its part.
            first = self._waiting.first() is entry
            with trio.move_on_at(self._free_at if first else math.inf):
                await called.wait()

    def _is_free(self, entry: Entry[_Waiter]) -> bool:
        if self._limit is None:
            return True
        return self._waiting.first() is entry and self._free_at <= trio.current_time()

    def _hand_out(self, entry: Entry[_Waiter], left: int) -> int:
        """Give an entry its part and take it off the queue; returns how much it was."""
        limit = self._limit
        if limit is None:
            self._waiting.remove(entry)
            return left
        part = entry.amount = min(left, _slice(limit))
        self._waiting.take(entry)
        # Time that nobody used is lost but for one slice: a limit holds at any moment.
        begins = max(self._free_at, trio.current_time() - _SLICE_S)
        self._free_at = begins + part / limit
        return part

    def _call_first(self) -> None:
        first = self._waiting.first()
        if first is not None:
            first.item.called.set()

    def _change(self) -> None:
        before, self._limit = self._limit, _lower(self._rate, self._cap)
        if before is None or before == self._limit:
            return
        # What was handed out is paid for at the new rate, if that is sooner.
        debt = self._free_at - trio.current_time()
        if self._limit is None:
            self._free_at -= max(0.0, debt)
        elif debt > 0 and self._limit > before:
            self._free_at -= debt * (1 - before / self._limit)
        for entry in self._waiting:
            entry.item.called.set()

    def _note(self, amount: int) -> None:
        self.total += amount
        now = self._taken_at = trio.current_time()
        if now - self._measured_at >= _MEASURE_S:
            self._measured_at = now
            self._measured = self._meter.add(now, self.total)

    def measured(self) -> float:
        """Bytes a second over the last few seconds."""
        silent = trio.current_time() - self._taken_at > _SILENT_S
        return 0.0 if silent else self._measured


class _Waiter:
    """Who waits in `take`; `called` wakes it to look again."""

    def __init__(self) -> None:
        self.called = trio.Event()


def _lower(rate: float | None, cap: float | None) -> float | None:
    return min((one for one in (rate, cap) if one is not None), default=None)


def _slice(rate: float) -> int:
    return max(1, int(rate * _SLICE_S))
