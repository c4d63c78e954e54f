"""The workers that walk, with gates that open and close at any moment."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from lanspread.fs.slots import Slot
from lanspread.fs.walks import Walks
from tests.fs.support import settled


class Disk:
    """Games whose content is a number; a walk takes time and sees what is there when it begins."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.slots = [Slot(f"g{number}") for number in range(6)]
        self.content = dict.fromkeys((slot.id for slot in self.slots), 0)
        self.seen = dict(self.content)
        self.walking: set[str] = set()
        self.walked = 0
        self.walks = Walks(self.walk, lambda slot: None)

    async def walk(self, slots: Sequence[Slot]) -> None:
        names = {slot.id for slot in slots}
        assert len(names) == len(slots)
        assert not names & self.walking
        for slot in slots:
            # By a hint no walk begins while the game is held; somebody asked for this one.
            assert not slot.gate.is_held or slot.walk is not None
        self.walking |= names
        found = dict(self.content)
        await trio.sleep(self.random.random())
        for slot in slots:
            self.seen[slot.id] = found[slot.id]
            self.walks.done(slot)
        self.walking -= names
        self.walked += len(names)

    async def user(self) -> None:
        """Changes games, with a hint or in an operation, and asks."""
        for _ in range(60):
            await trio.sleep(self.random.random() * 0.5)
            slot = self.random.choice(self.slots)
            match self.random.randrange(4):
                case 0:
                    self.content[slot.id] += 1
                    self.walks.hint(slot, later=self.random.random() < 0.5)
                case 1:
                    slot.gate.hold()
                    await trio.sleep(self.random.random())
                    # The hint of this change is dropped.
                    self.content[slot.id] += 1
                    self.walks.hint(slot)
                    await trio.sleep(self.random.random())
                    self.walks.release(slot)
                case 2:
                    self.content[slot.id] += 1
                    at_least = self.content[slot.id]
                    walk = self.walks.ask(slot)
                    await walk.done.wait()
                    assert walk.finished
                    assert self.seen[slot.id] >= at_least
                case _:
                    pass


@pytest.mark.parametrize("seed", range(20))
async def test_what_changed_is_seen_and_nothing_is_walked_twice_at_once(
    autojump_clock: MockClock, seed: int
) -> None:
    disk = Disk(seed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.walks.run)
        async with trio.open_nursery() as users:
            for _ in range(4):
                users.start_soon(disk.user)
        await trio.sleep(30)
        assert disk.seen == disk.content
        assert all(slot.gate.is_idle for slot in disk.slots)
        before = disk.walked
        await trio.sleep(100)
        assert disk.walked == before
        nursery.cancel_scope.cancel()


async def test_who_waits_does_not_wait_for_what_can_wait(autojump_clock: MockClock) -> None:
    slots = [Slot(f"g{number}") for number in range(500)]

    async def walk(batch: Sequence[Slot]) -> None:
        for slot in batch:
            await trio.sleep(10)
            walks.done(slot)

    walks = Walks(walk, lambda slot: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(walks.run)
        for slot in slots:
            walks.hint(slot, later=True)
        await trio.sleep(25)
        with trio.fail_after(11):
            await walks.ask(slots[-1]).done.wait()
        nursery.cancel_scope.cancel()


async def test_closed_whoever_waits_is_woken(autojump_clock: MockClock) -> None:
    async def walk(batch: Sequence[Slot]) -> None:
        await trio.sleep_forever()

    walks = Walks(walk, lambda slot: None)
    slots = [Slot("a"), Slot("b")]
    async with trio.open_nursery() as nursery:
        waiting = [walks.ask(slot) for slot in slots]
        nursery.start_soon(walks.run)
        await settled()
        waiting += [walks.ask(slot) for slot in slots]
        walks.close()
        nursery.cancel_scope.cancel()
    waiting.append(walks.ask(slots[0]))
    assert all(walk.done.is_set() and not walk.finished for walk in waiting)
