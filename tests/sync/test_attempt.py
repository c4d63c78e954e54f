"""Slots for dialing: how many, and who first."""

from __future__ import annotations

import random

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lanspread.sync.attempt import Slots


async def test_the_urgent_ones_go_first_then_who_came_first(autojump_clock: MockClock) -> None:
    slots, order = Slots(1), []

    async def dial(name: str, urgent: bool) -> None:
        async with slots.one(urgent=urgent):
            order.append(name)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for name, urgent in (("a", False), ("b", False), ("c", True), ("d", False), ("e", True)):
            nursery.start_soon(dial, name, urgent)
            await wait_all_tasks_blocked()
    assert order == list("acebd")


async def test_never_too_many_and_none_is_lost_whoever_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    slots, rng = Slots(3), random.Random(1)
    held = most = done = 0

    async def dial(patience_s: float) -> None:
        nonlocal held, most, done
        with trio.move_on_after(patience_s):
            async with slots.one(urgent=rng.random() < 0.5):
                held += 1
                most = max(most, held)
                try:
                    await trio.sleep(1)
                    done += 1
                finally:
                    held -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            # Patience that ends just as slots are handed over, too.
            nursery.start_soon(dial, float(rng.randrange(1, 40)))
            await trio.sleep(rng.choice([0.0, 0.25]))
    assert most == 3
    assert done > 50
    with trio.fail_after(1):
        async with slots.one(), slots.one(), slots.one():
            pass
