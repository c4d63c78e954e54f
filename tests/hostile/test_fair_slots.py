"""Slots that one host cannot keep from the others."""

from __future__ import annotations

from collections import Counter

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lanspread.sync.fair import FairSlots


class Holders:
    """Tasks that take a slot each and keep it."""

    def __init__(self, slots: FairSlots, nursery: trio.Nursery) -> None:
        self.slots = slots
        self.held: Counter[str] = Counter()
        self._nursery = nursery

    async def add(self, host: str, count: int) -> None:
        for _ in range(count):
            self._nursery.start_soon(self._hold, host)
        await wait_all_tasks_blocked()

    async def _hold(self, host: str) -> None:
        async with self.slots.take(host):
            self.held[host] += 1
            try:
                await trio.sleep_forever()
            finally:
                self.held[host] -= 1


async def test_one_host_gets_half_and_the_next_finds_room(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        holders = Holders(FairSlots(64), nursery)
        await holders.add("greedy", 200)
        assert holders.held["greedy"] == 32
        await holders.add("second", 200)
        assert holders.held["second"] == 16
        for number in range(10):
            await holders.add(f"honest{number}", 1)
            assert holders.held[f"honest{number}"] == 1
        assert holders.slots.held == 58
        nursery.cancel_scope.cancel()
    assert holders.slots.held == 0
    assert not +holders.held


async def test_never_more_than_there_are(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        holders = Holders(FairSlots(4), nursery)
        for number in range(10):
            await holders.add(f"host{number}", 3)
        assert holders.slots.held == 4
        nursery.cancel_scope.cancel()


async def test_a_slot_that_is_given_back_goes_to_who_waits(autojump_clock: MockClock) -> None:
    slots = FairSlots(1)
    async with trio.open_nursery() as nursery:
        async with slots.take("first"):
            holders = Holders(slots, nursery)
            await holders.add("second", 1)
            waited = holders.held["second"]
        await wait_all_tasks_blocked()
        assert (waited, holders.held["second"]) == (0, 1)
        nursery.cancel_scope.cancel()
