"""Slots that one host cannot keep from the others."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lanspread.sync.fair import FairSlots, TooManyWait


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


async def test_those_behind_one_address_share_by_what_they_move(autojump_clock: MockClock) -> None:
    """Eight of one host, one of them with requests twice as large and four times as many."""
    slots = FairSlots(4)
    moved: Counter[str] = Counter()

    async def ask(who: str, size: int) -> None:
        while True:
            async with slots.take("one host", who, size):
                await trio.sleep(size / 1_000)
                moved[who] += size

    with trio.move_on_after(200):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                for _ in range(8 if number == 0 else 2):
                    nursery.start_soon(ask, f"peer{number}", 200 if number == 0 else 100)
    # A host alone has half of the slots, and they are never idle.
    assert sum(moved.values()) >= 0.95 * 2 * 200 * 1_000
    assert min(moved.values()) >= 0.8 * max(moved.values())
    assert slots.held == slots.waiting == 0


async def test_too_many_that_wait_are_told_so_and_leave_room_for_others(
    autojump_clock: MockClock,
) -> None:
    slots = FairSlots(2, most_waiting=8)
    refused: Counter[str] = Counter()
    async with trio.open_nursery() as nursery:

        async def hold(host: str) -> None:
            try:
                async with slots.take(host):
                    await trio.sleep_forever()
            except TooManyWait:
                refused[host] += 1

        for host, count in (("greedy", 20), ("second", 20), ("third", 1)):
            for _ in range(count):
                nursery.start_soon(hold, host)
            await wait_all_tasks_blocked()
        # Half of the queue, a half of the rest, and one place for who has none.
        assert (slots.held, slots.waiting) == (2, 7)
        assert refused == {"greedy": 15, "second": 17}
        nursery.cancel_scope.cancel()
    assert slots.held == slots.waiting == 0


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_is_cancelled_when_nothing_is_lost(
    autojump_clock: MockClock, seed: int
) -> None:
    rng = random.Random(seed)
    slots = FairSlots(3, most_waiting=10)

    async def use(host: str) -> None:
        with trio.move_on_after(rng.choice([0.1, 0.2, 5.0])):
            try:
                async with slots.take(host, rng.randrange(2)):
                    assert slots.held <= 3
                    await trio.sleep(rng.choice([0.1, 0.2, 1.0]))
            except TooManyWait:
                pass

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(use, rng.choice("abc"))
            await trio.sleep(rng.choice([0, 0.1]))
    assert slots.held == slots.waiting == 0
    with trio.fail_after(1):
        async with slots.take("a"):
            pass
