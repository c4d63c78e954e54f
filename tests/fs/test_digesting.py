"""Background digests keep out of the way, and what was hashed is not hashed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.fs import digesting
from lanspread.fs.library import Library
from lanspread.seams import IndexKey, Pool
from lanspread.testing import MemoryIndex
from tests.fs.support import (
    BLOCK,
    GAME,
    InlineThreads,
    World,
    digests_of_files,
    settled,
    write_tree,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEP_S = 0.1
BLOCKS = 600
HUGE = {"version.ini": b"1", "huge": bytes(BLOCKS * BLOCK)}


class SlowThreads(InlineThreads):
    """Each step of hashing takes a tenth of a second."""

    async def run(
        self,
        call: Callable[[*Ts], T],
        *args: *Ts,
        pool: Pool = "disk",
        on_cancel: Callable[[], object] | None = None,
    ) -> T:
        if pool == "hash":
            await trio.sleep(STEP_S)
        return await super().run(call, *args, pool=pool)


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_tree(tmp_path / "games" / "Huge", HUGE)
    return World(tmp_path / "games", threads=SlowThreads())


async def steps_in(world: World, seconds: float) -> int:
    before = world.hashes()
    await trio.sleep(seconds)
    return world.hashes() - before


async def test_a_busy_peer_hashes_a_tenth_of_the_time(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        assert await steps_in(world, 10) in range(99, 102)
        world.is_busy = True
        await trio.sleep(1)
        assert await steps_in(world, 10) in range(9, 12)
        game = library.games["huge"]
        assert game.manifest_hash is not None
        # Somebody who waits does not wait for that, not even for the end of a rest.
        began = trio.current_time()
        await library.digests("Huge", game.manifest_hash)
        assert trio.current_time() - began < BLOCKS * STEP_S


async def test_it_can_be_paused_but_not_for_who_waits(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        game = library.games["huge"]
        assert game.manifest_hash is not None
        await trio.sleep(1)
        with library.pause(), library.pause():
            await trio.sleep(1)
            assert await steps_in(world, 100) == 0
            with trio.move_on_after(5):
                await library.digests("Huge", game.manifest_hash)
            assert await steps_in(world, 100) <= 1
        assert await steps_in(world, 10) > 90


async def test_one_huge_file_is_gone_on_with_after_a_restart(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library():
        await trio.sleep(BLOCKS * STEP_S / 2)
    halfway = world.hashes()
    assert halfway in range(BLOCKS // 2 - 5, BLOCKS // 2 + 5)
    async with world.library() as library:
        await trio.sleep(BLOCKS * STEP_S)
        assert library.games["huge"].digests == digests_of_files(HUGE)
    assert world.hashes() <= BLOCKS + 10


async def test_what_was_begun_of_a_changed_file_is_not_used(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library():
        await trio.sleep(BLOCKS * STEP_S / 2)
    changed = {**HUGE, "huge": b"\x01" * (BLOCKS * BLOCK)}
    write_tree(world.games / "Huge", changed)
    async with world.library() as library:
        await trio.sleep(2 * BLOCKS * STEP_S)
        assert library.games["huge"].digests == digests_of_files(changed)


async def test_a_crash_costs_what_was_hashed_since_the_last_save(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digesting, "_SAVE_BYTES", 50 * BLOCK)
    index = MemoryIndex()
    world.index = index
    async with world.library():
        await trio.sleep(BLOCKS * STEP_S / 2)
        # What is in the index now is what a crash leaves.
        left = {key: dict(kept) for key, kept in index.rows.items()}
    index.rows = left
    before = world.hashes()
    async with world.library() as library:
        await trio.sleep(BLOCKS * STEP_S)
        assert library.games["huge"].digests == digests_of_files(HUGE)
    assert world.hashes() - before in range(BLOCKS // 2, BLOCKS // 2 + 65)


async def test_an_operation_interrupts_and_what_was_hashed_stays(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        await trio.sleep(BLOCKS * STEP_S / 2)
        with library.hold("Huge"):
            assert await steps_in(world, 100) <= 1
        await trio.sleep(BLOCKS * STEP_S / 2 + 5)
        assert library.games["huge"].content_hash is not None
    assert world.hashes() <= BLOCKS + 10


async def test_a_small_game_that_just_came_goes_before_a_large_one(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digesting, "_SMALL_BYTES", 300_000)
    async with world.library() as library:
        await trio.sleep(10)
        write_tree(world.games / "Game", GAME)
        world.watcher.changed("Game")
        # Before the publisher has told anybody of the game: a few steps at most.
        await trio.sleep(STEP_S * 9)
        assert library.games["game"].digests == digests_of_files(GAME)
        assert library.games["huge"].content_hash is None


async def test_a_game_that_is_copied_in_slowly_is_announced_whole(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """As the publisher sees it, which looks a moment after it was touched."""
    world = World(tmp_path / "games")
    world.games.mkdir()
    announced: list[tuple[bool, bool]] = []
    async with world.library() as library:

        async def publish() -> None:
            seen = 0
            while True:
                await trio.sleep(limits.LIBRARY_DEBOUNCE_S)
                if len(world.changes) > seen:
                    seen = len(world.changes)
                    game = library.games["game"]
                    announced.append((game.downloaded, game.content_hash is not None))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            for number, (path, data) in enumerate(
                [(f"part{number}.eti", bytes(5000)) for number in range(10)]
                + [("version.ini", b""), ("version.ini", b"1.0\n")]
            ):
                write_tree(world.games / "Game", {path: data})
                world.watcher.changed("Game")
                await trio.sleep(1.0 if number < 10 else 0.02)
            await trio.sleep(30)
            nursery.cancel_scope.cancel()
    downloaded = [whole for is_downloaded, whole in announced if is_downloaded]
    assert downloaded == [True]


async def test_many_games_are_saved_together(world: World, autojump_clock: MockClock) -> None:
    world.threads = InlineThreads()
    for number in range(200):
        write_tree(world.games / f"g{number}", {"version.ini": b"1", "x": b"%d" % number})
    stored: list[int] = []

    class Telling(MemoryIndex):
        def store(self, key: IndexKey, rows: Mapping[str, bytes | None]) -> None:
            stored.append(len(rows))
            super().store(key, rows)

    world.index = Telling()
    async with world.library() as library:
        await trio.sleep(10)
        assert all_known(library)
    assert len(stored) < 10


def all_known(library: Library) -> bool:
    return all(game.content_hash for game in library.games.values())


async def test_settled_means_quiet(world: World, autojump_clock: MockClock) -> None:
    world.threads = InlineThreads()
    async with world.library():
        await trio.sleep(10)
        await settled()
        before = len(world.threads.pools)
        await trio.sleep(4)
        # Only the look for the games folder.
        assert len(world.threads.pools) - before <= 1
