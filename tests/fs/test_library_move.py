"""Changing the games folder while the library runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.errors import StartError
from lanspread.fs.errors import NotHere
from lanspread.fs.library import Library
from tests.fs.counting import CountingFiles
from tests.fs.support import (
    GAME,
    World,
    digests_of_files,
    open_descriptors,
    settled,
    write_tree,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_tree(tmp_path / "games" / "Game", GAME)
    write_tree(tmp_path / "games" / "Both", GAME)
    write_tree(tmp_path / "other" / "New", GAME)
    write_tree(tmp_path / "other" / "Both", {**GAME, "more": b"more"})
    return World(tmp_path / "games", files=CountingFiles())


def other(world: World) -> str:
    return str(world.games.parent / "other")


def ids(library: Library) -> set[str]:
    return {game.id for game in library.games.values()}


async def test_the_old_games_are_withdrawn_and_the_new_ones_announced(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        await settled()
        world.changes.clear()
        await library.move_to(other(world))
        assert world.changes == [{"Game", "Both"}, {"New", "Both"}]
        assert library.games_dir == other(world)
        assert ids(library) == {"New", "Both"}
        assert library.games["both"].size == 5008
        with library.open_game("New") as folder:
            assert folder.exists("version.ini")
        with pytest.raises(NotHere):
            library.open_game("Game")
        await settled()
        assert library.games["new"].digests == digests_of_files(GAME)
        # The new folder is watched, the old one is not.
        write_tree(Path(other(world)) / "New", {"version.ini": b"2.0"})
        world.watcher.changed("New")
        await settled()
        assert library.games["new"].version == "2.0"
        write_tree(world.games / "Late", GAME)
        await trio.sleep(limits.FALLBACK_SCAN_S + 1)
        assert ids(library) == {"New", "Both"}
        # And back: what the index knows of the old folder was not forgotten.
        hashes = world.hashes()
        await library.move_to(str(world.games))
        assert ids(library) == {"Game", "Both", "Late"}
        assert library.games["game"].content_hash is not None
        assert library.games["both"].size == 5004
        assert world.hashes() == hashes


async def test_a_folder_that_cannot_be_read_changes_nothing(
    world: World, autojump_clock: MockClock
) -> None:
    write_tree(world.games.parent, {"file": b""})
    async with world.library() as library:
        await settled()
        world.changes.clear()
        for name in ("nowhere", "file"):
            with pytest.raises(StartError):
                await library.move_to(str(world.games.parent / name))
        assert world.changes == []
        assert ids(library) == {"Game", "Both"}
        assert (await library.rescan("Game")) is not None


async def test_several_moves_follow_one_another(world: World, autojump_clock: MockClock) -> None:
    async with world.library() as library, trio.open_nursery() as nursery:
        for number in range(5):
            folder = str(world.games) if number % 2 else other(world)
            nursery.start_soon(library.move_to, folder)
    async with world.library() as library:
        assert ids(library) == {"Game", "Both"}


async def test_who_waits_is_told(world: World, autojump_clock: MockClock) -> None:
    write_tree(world.games / "Game", {"huge": bytes(3_000_000)})
    results: list[str] = []

    async def wait(library: Library) -> None:
        game = library.games["game"]
        assert game.manifest_hash is not None
        with pytest.raises(NotHere):
            await library.digests("Game", game.manifest_hash)
        results.append("digests")

    async with world.library() as library, trio.open_nursery() as nursery:
        nursery.start_soon(wait, library)
        while world.hashes() < 10:
            await trio.lowlevel.checkpoint()
        await library.move_to(other(world))
    assert results == ["digests"]
    with pytest.raises(NotHere):
        await library.move_to(other(world))


@pytest.mark.parametrize("steps", range(40))
async def test_cancelled_anywhere_it_is_on_one_folder_whole(
    world: World, autojump_clock: MockClock, steps: int
) -> None:
    before = open_descriptors()
    async with world.library() as library:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, scope, steps)
                await library.move_to(other(world))
                nursery.cancel_scope.cancel()
        await trio.sleep(1)
        if library.games_dir == other(world):
            assert ids(library) == {"New", "Both"}
            game = await library.rescan("New")
        else:
            assert ids(library) == {"Game", "Both"}
            game = await library.rescan("Game")
        assert game is not None
        assert game.content_hash is not None
        # And it can be moved again.
        await library.move_to(str(world.games))
        assert ids(library) == {"Game", "Both"}
    assert open_descriptors() == before


@pytest.mark.parametrize("steps", range(0, 40, 2))
async def test_closed_anywhere_in_a_move_nothing_stays_open(
    world: World, autojump_clock: MockClock, steps: int
) -> None:
    before = open_descriptors()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery, world.library() as library:
            nursery.start_soon(_cancel_after, scope, steps)
            await settled()
            await library.move_to(other(world))
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert open_descriptors() == before


async def _cancel_after(scope: trio.CancelScope, steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()
