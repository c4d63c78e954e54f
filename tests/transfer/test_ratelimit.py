"""Rate limits: they hold, share evenly, and change at once. Under the mock clock."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from lanspread.transfer.ratelimit import RateLimit

KIB = 1024


async def take_for(
    limit: RateLimit, seconds: float, takers: list[tuple[object, int]]
) -> Counter[object]:
    """What each of these takers, `who` and the size of a piece, got within a time."""
    had: Counter[object] = Counter()

    async def take(who: object, piece: int) -> None:
        while True:
            await limit.take(piece, who)
            had[who] += piece

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for who, piece in takers:
                nursery.start_soon(take, who, piece)
    return had


async def test_it_holds_and_lets_as_much_through(autojump_clock: MockClock) -> None:
    limit = RateLimit(100_000.0)
    had = await take_for(limit, 10, [("a", 1_000)])
    # The first slice is free.
    assert 990_000 <= had["a"] <= 1_030_000
    assert limit.measured() == pytest.approx(100_000, rel=0.05)
    await trio.sleep(6)
    assert limit.measured() == 0
    # What nobody used is not saved up.
    assert (await take_for(limit, 1, [("a", 1_000)]))["a"] <= 130_000


async def test_shares_are_even_by_bytes_and_not_by_streams(autojump_clock: MockClock) -> None:
    limit = RateLimit(1_000_000.0)
    takers: list[tuple[object, int]] = [("many", 64 * KIB)] * 16
    takers += [("one", 64 * KIB), ("small", 500)]
    had = await take_for(limit, 20, takers)
    assert sum(had.values()) >= 0.97 * 20_000_000
    assert max(had.values()) - min(had.values()) <= 3 * 64 * KIB


async def test_each_without_a_name_counts_for_itself(autojump_clock: MockClock) -> None:
    limit = RateLimit(1_000_000.0)
    ends = []

    async def take() -> None:
        await limit.take(500_000)
        ends.append(trio.current_time())

    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(take)
    # Nobody was served whole before the others had their half.
    assert min(ends) - begin >= 0.99
    assert max(ends) - begin == pytest.approx(1.75, abs=0.01)


@pytest.mark.parametrize("which", ["rate", "cap"])
async def test_who_waits_goes_on_at_once_when_it_is_lifted(
    autojump_clock: MockClock, which: str
) -> None:
    limit = RateLimit(None)
    setattr(limit, which, 1_000.0)
    done = trio.Event()

    async def take() -> None:
        await limit.take(1_000_000)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(take)
        await trio.sleep(10.1)
        before = trio.current_time()
        setattr(limit, which, None)
        await done.wait()
    assert trio.current_time() == before


async def test_a_raised_limit_holds_from_that_moment(autojump_clock: MockClock) -> None:
    limit = RateLimit(1_000.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.take, 1_000_000)
        await trio.sleep(1.05)
        limit.rate = 1_000_000.0
        begin = trio.current_time()
    # The last slice is handed out before it is paid for.
    assert trio.current_time() - begin == pytest.approx(0.75, abs=0.01)


async def test_a_lowered_limit_holds_for_who_waits(autojump_clock: MockClock) -> None:
    limit = RateLimit(1_000_000.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.take, 1_000_000)
        await trio.sleep(0.1)
        limit.cap = 10_000.0
        begin = trio.current_time()
        await wait_all_tasks_blocked()
        await trio.sleep(10)
        # At most one slice of the old limit was handed out before.
        assert limit.total == 0
        nursery.cancel_scope.cancel()
    assert trio.current_time() - begin >= 10
    # And it is the lower one that holds, whichever that is.
    limit.cap = 2_000_000.0
    assert limit.limit == 1_000_000.0
    limit.rate = None
    assert limit.limit == 2_000_000.0


async def test_a_cancelled_wait_leaves_the_turn_to_the_next(autojump_clock: MockClock) -> None:
    limit = RateLimit(1_000.0)
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_in_scope, scope, limit)
        await trio.sleep(0.1)
        nursery.start_soon(limit.take, 1_000)
        await trio.sleep(0.1)
        begin = trio.current_time()
        scope.cancel()
    # Not what the cancelled one wanted as well, which would have taken 100 s.
    assert trio.current_time() - begin < 2.0
    assert limit.total == 1_000


async def _in_scope(scope: trio.CancelScope, limit: RateLimit) -> None:
    with scope:
        await limit.take(100_000)


async def test_pieces_are_small_where_the_limit_is_low(autojump_clock: MockClock) -> None:
    limit = RateLimit(None)
    assert limit.piece(64 * KIB) == 64 * KIB
    limit.rate = 1_000.0
    assert 1 <= limit.piece(64 * KIB) <= 1_000
    limit.rate = 1e9
    assert limit.piece(64 * KIB) == 64 * KIB


@given(seed=st.integers(0, 2**32))
def test_whatever_happens_it_holds_and_nobody_is_forgotten(seed: int) -> None:
    """Takers of any size, some cancelled, under a limit that changes all the time."""
    trio.run(_ordeal, random.Random(seed), clock=MockClock(autojump_threshold=0))


async def _ordeal(rng: random.Random) -> None:
    limit = RateLimit(rng.choice([None, 1_000.0, 100_000.0]))
    allowed = 0.0
    unlimited = False

    async def take(amount: int, patience: float, who: object) -> None:
        with trio.move_on_after(patience):
            await limit.take(amount, who)

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            patience = rng.choice([0.3, 1e6])
            nursery.start_soon(take, rng.randrange(50_000), patience, rng.choice([None, "a", "b"]))
            if rng.random() < 0.3:
                limit.rate = rng.choice([None, 2_000.0, 50_000.0, 1e6])
            unlimited |= limit.limit is None
            pause = rng.random()
            # One slice may be spent ahead and one be caught up at each change.
            allowed += (limit.limit or 0) * (pause + 0.5)
            await trio.sleep(pause)
            assert unlimited or limit.total <= allowed + 50_000
        limit.rate = None
    # Everybody who was patient has returned, or the nursery would not have ended.
