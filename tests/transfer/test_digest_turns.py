"""Hashing for others: few games at once, every host in its turn, no host for ever."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.transfer.digest_turns import DigestTurns, TooManyAsked


class Hashing:
    """Takes turns and keeps them until told."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.turns = DigestTurns()
        self.nursery = nursery
        self.now: set[tuple[str, str]] = set()
        self.refused: set[tuple[str, str]] = set()
        self.scopes: dict[tuple[str, str], trio.CancelScope] = {}
        self.done: dict[tuple[str, str], trio.Event] = {}

    async def ask(self, host: str, game: str) -> None:
        key = (host, game)
        self.done[key] = trio.Event()
        self.scopes[key] = trio.CancelScope()
        self.nursery.start_soon(self._hash, key)
        await trio.testing.wait_all_tasks_blocked()

    async def _hash(self, key: tuple[str, str]) -> None:
        try:
            with self.scopes[key]:
                async with self.turns.take(*key):
                    self.now.add(key)
                    try:
                        await self.done[key].wait()
                    finally:
                        self.now.discard(key)
        except TooManyAsked:
            self.refused.add(key)

    async def finish(self, host: str, game: str) -> None:
        self.done[host, game].set()
        await trio.testing.wait_all_tasks_blocked()

    async def break_off(self, host: str, game: str) -> None:
        self.scopes[host, game].cancel()
        await trio.testing.wait_all_tasks_blocked()


async def test_few_at_once_and_every_host_has_a_turn(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        hashing = Hashing(nursery)
        for number in range(limits.MAX_DIGESTED_GAMES + 2):
            await hashing.ask("greedy", f"g{number}")
        assert 0 < len(hashing.now) < limits.MAX_DIGESTED_GAMES
        await hashing.ask("modest", "m")
        assert ("modest", "m") in hashing.now
        for host in "abcdefgh":
            await hashing.ask(host, "x")
        assert len(hashing.now) == limits.MAX_DIGESTED_GAMES
        assert not hashing.refused
        while hashing.now:
            await hashing.finish(*next(iter(hashing.now)))
        assert all(hashing.done[key].is_set() for key in hashing.done)


async def test_who_breaks_off_and_asks_for_the_next_is_refused(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        hashing = Hashing(nursery)
        for number in range(limits.MAX_DIGESTS_ASKED_PER_HOST):
            await hashing.ask("host", f"g{number}")
            await hashing.break_off("host", f"g{number}")
        assert not hashing.refused
        await hashing.ask("host", "more")
        assert hashing.refused == {("host", "more")}
        # What it asked for before it may ask for again; others may ask for anything.
        await hashing.ask("host", "g0")
        await hashing.ask("other", "more")
        assert hashing.now == {("host", "g0"), ("other", "more")}
        # What is done does not count any more.
        await hashing.finish("host", "g0")
        await hashing.ask("host", "more")
        assert ("host", "more") in hashing.now
        await hashing.ask("host", "yet another")
        assert ("host", "yet another") in hashing.refused
        # Nor does what is long ago.
        await trio.sleep(limits.DIGESTS_ASKED_S + 1)
        await hashing.ask("host", "later")
        assert ("host", "later") in hashing.now
        nursery.cancel_scope.cancel()


async def test_hosts_are_forgotten(autojump_clock: MockClock) -> None:
    turns = DigestTurns()
    for number in range(3_000):
        with pytest.raises(ZeroDivisionError):
            async with turns.take(f"host{number}", "g"):
                raise ZeroDivisionError
    assert len(turns._asked) <= 1_024
