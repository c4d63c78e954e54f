"""Who walks: a few workers that take games from a queue, several at a time.

A gate per game decides whether one may be walked; this only performs it. What somebody waits for or
the system hinted at comes before what is only looked at once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from lanspread.fs.slots import Slot, Walk

# Walks at the same time; more would only make a disk's head travel.
_WORKERS: Final = 3
# Games in one hop into a thread. Few where somebody waits for one of them.
_SOON: Final = 16
_LATER: Final = 64


class Walks:
    """The queue and its workers. All but `run` is synchronous and for the event loop."""

    def __init__(
        self,
        walk: Callable[[Sequence[Slot]], Awaitable[None]],
        walked: Callable[[Slot], None],
    ) -> None:
        self._walk = walk
        self._walked = walked
        self._soon: dict[int, Slot] = {}
        self._later: dict[int, Slot] = {}
        self._more = trio.Event()
        self._closed = False

    def ask(self, slot: Slot) -> Walk:
        """A walk of a game that begins after now; one that is never done once closed."""
        if self._closed:
            walk = Walk()
            walk.done.set()
            return walk
        if slot.next_walk is None:
            slot.next_walk = Walk()
        slot.gate.ask()
        self._queue(slot)
        return slot.next_walk

    def hint(self, slot: Slot, *, later: bool = False) -> None:
        """Have a game walked if no operation is active on it; `later`: after all others."""
        slot.gate.hint()
        self._queue(slot, later=later)

    def release(self, slot: Slot) -> None:
        """An operation on a game ended."""
        slot.gate.release()
        self._queue(slot)

    async def run(self) -> None:
        """Walk until cancelled."""
        async with trio.open_nursery() as nursery:
            for number in range(_WORKERS):
                # One is kept for what somebody waits for.
                nursery.start_soon(self._work, number > 0)

    def close(self) -> None:
        """No walk begins any more; who waits is woken."""
        self._closed = True
        for slot in (*self._soon.values(), *self._later.values()):
            _give_up(slot)
        self._soon.clear()
        self._later.clear()

    def _queue(self, slot: Slot, *, later: bool = False) -> None:
        if self._closed or not slot.gate.is_open:
            # Walking: asked again when that ends. Held: when it is released.
            return
        if not later:
            self._later.pop(id(slot), None)
            self._soon[id(slot)] = slot
        elif id(slot) not in self._soon:
            self._later[id(slot)] = slot
        self._more.set()

    def _take(self, later: bool) -> list[Slot]:
        queue, most = (self._later, _LATER) if later and not self._soon else (self._soon, _SOON)
        batch: list[Slot] = []
        while queue and len(batch) < most:
            slot = queue.pop(next(iter(queue)))
            # An operation may have begun since it was queued.
            if slot.gate.begin():
                slot.walk, slot.next_walk = slot.next_walk, None
                batch.append(slot)
            else:
                self._walked(slot)
        return batch

    async def _work(self, later: bool) -> None:
        while True:
            batch = self._take(later)
            if not batch:
                self._more = trio.Event() if self._more.is_set() else self._more
                await self._more.wait()
                continue
            try:
                await self._walk(batch)
            finally:
                for slot in batch:
                    self._end(slot)

    def done(self, slot: Slot) -> None:
        """What a walk saw is published: wake who waits for it, before the rest of its batch."""
        walk, slot.walk = slot.walk, None
        if walk is not None:
            walk.finished = True
            walk.done.set()

    def _end(self, slot: Slot) -> None:
        slot.gate.end()
        if slot.walk is not None:
            slot.walk.done.set()
            slot.walk = None
        if self._closed:
            _give_up(slot)
        self._queue(slot)
        self._walked(slot)


def _give_up(slot: Slot) -> None:
    walk, slot.next_walk = slot.next_walk, None
    if walk is not None:
        walk.done.set()
