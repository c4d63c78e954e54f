"""The library follows the disk: walks, hints, timers, holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lanspread import limits
from lanspread.errors import StartError
from lanspread.fs.catalog import Catalog
from lanspread.fs.errors import InTheWay, NotHere, UnsafePath
from lanspread.fs.games_folder import GamesFolder
from lanspread.fs.library import Library
from lanspread.fs.lookout import PRESENCE_S
from lanspread.fs.manifest import manifest_hash
from lanspread.fs.scan import GamesListing
from lanspread.model import CatalogEntry
from tests.fs.support import (
    GAME,
    World,
    digests_of_files,
    manifest_of_files,
    open_descriptors,
    settled,
    write_tree,
)


def is_present(library: Library) -> bool:
    return library.is_present


@pytest.fixture
def world(tmp_path: Path) -> World:
    games = tmp_path / "games"
    write_tree(games / "Game", GAME)
    return World(games)


async def test_the_first_scan_is_done_at_once(world: World, autojump_clock: MockClock) -> None:
    async with world.library() as library:
        game = library.games["game"]
        assert (game.id, game.version, game.downloaded, game.installed) == (
            "Game",
            "1.0",
            True,
            False,
        )
        assert game.manifest == manifest_of_files(GAME)
        assert game.manifest_hash == manifest_hash(game.manifest)
        assert game.size == 5004
        assert game.stamp_of(0).path == "game.eti"
        with pytest.raises(IndexError):
            game.stamp_of(-1)
        assert game.content_hash is None
        assert world.changes == []


async def test_hints_cause_walks(world: World, autojump_clock: MockClock) -> None:
    async with world.library() as library:
        await settled()
        world.changes.clear()
        (world.games / "Game" / "version.ini").write_bytes(b"2.0")
        await settled()
        assert library.games["game"].version == "1.0"
        world.watcher.changed("Game")
        await settled()
        assert library.games["game"].version == "2.0"
        assert library.games["game"].content_hash is not None
        assert world.changes == [{"Game"}, {"Game"}]
        write_tree(world.games / "Another", GAME)
        world.watcher.changed("Another")
        await settled()
        assert set(library.games) == {"game", "another"}
        (world.games / "Another").rename(world.games / "Third")
        world.watcher.changed("")
        await settled()
        assert set(library.games) == {"game", "third"}


async def test_a_snapshot_of_the_games_never_changes(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        snapshot = library.games
        write_tree(world.games / "Another", GAME)
        await library.rescan("Another")
        assert set(snapshot) == {"game"}
        assert set(library.games) == {"game", "another"}


async def test_the_fallback_scan_finds_what_nobody_hinted(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        await settled()
        write_tree(world.games / "Another", GAME)
        (world.games / "Game" / "game.eti").write_bytes(b"z")
        # Below the root, so only the walk in rotation sees it.
        write_tree(world.games / "Game", {"sub/empty": b"no more"})
        await trio.sleep(limits.FALLBACK_SCAN_S + 1)
        assert library.games["game"].digests == digests_of_files(
            {**GAME, "game.eti": b"z", "sub/empty": b"no more"}
        )
        assert "another" in library.games


async def test_nested_changes_are_found_in_rotation(
    world: World, autojump_clock: MockClock
) -> None:
    write_tree(world.games / "Another", GAME)
    async with world.library() as library:
        for name in ("Game", "Another"):
            write_tree(world.games / name, {"sub/empty": b"no more"})
        await trio.sleep(2 * limits.FALLBACK_SCAN_S + 1)
        for game in library.games.values():
            assert game.size == 5011


async def test_a_changed_game_is_walked_again_after_a_while(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        await settled()
        write_tree(world.games / "Game", {"sub/copying": b"half"})
        world.watcher.changed("Game")
        await settled()
        write_tree(world.games / "Game", {"sub/copying": b"whole, now"})
        await trio.sleep(limits.SETTLE_S + 0.5)
        assert library.games["game"].digests == digests_of_files(
            {**GAME, "sub/copying": b"whole, now"}
        )


async def test_rescan_sees_what_was_there_when_it_was_called(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                (world.games / "Game" / "version.ini").write_bytes(b"%d" % number)
                nursery.start_soon(self_check, library, str(number))
                await trio.lowlevel.checkpoint()
        assert await library.rescan("nothing") is None
        assert "nothing" not in library._shelf._slots
        (world.games / "Game" / "version.ini").unlink()
        game = await library.rescan("GAME")
        assert game is not None
        assert (game.id, game.downloaded, game.version) == ("Game", False, "")


async def self_check(library: Library, at_least: str) -> None:
    game = await library.rescan("game")
    assert game is not None
    assert int(game.version) >= int(at_least)


async def test_a_cancelled_rescan_goes_on(world: World, autojump_clock: MockClock) -> None:
    async with world.library() as library:
        (world.games / "Game" / "version.ini").write_bytes(b"2.0")
        with trio.CancelScope() as scope:
            scope.cancel()
            await library.rescan("Game")
        await settled()
        assert library.games["game"].version == "2.0"


async def test_a_held_game_is_left_alone(world: World, autojump_clock: MockClock) -> None:
    async with world.library() as library:
        await settled()
        with library.hold("Game"):
            with library.hold("GAME"):
                (world.games / "Game" / "version.ini").write_bytes(b"2.0")
                world.watcher.changed("Game")
                library.request_walk("Game")
                await trio.sleep(3 * limits.FALLBACK_SCAN_S)
            await trio.sleep(3 * limits.FALLBACK_SCAN_S)
            assert library.games["game"].version == "1.0"
            game = await library.rescan("Game")
            assert game is not None
            assert game.version == "2.0"
            await settled()
            assert library.games["game"].content_hash is None
            (world.games / "Game" / "version.ini").write_bytes(b"3.0")
            world.watcher.changed("Game")
            await settled()
        # What was missed meanwhile is caught up with.
        await settled()
        assert library.games["game"].version == "3.0"
        assert library.games["game"].content_hash is not None


async def test_an_unsafe_name_is_told_once(world: World, autojump_clock: MockClock) -> None:
    write_tree(world.games / "Game", {"NUL.txt": b""})
    async with world.library() as library:
        await library.rescan("Game")
        await library.rescan("Game")
        game = library.games["game"]
        assert game.problem is not None
        assert game.manifest_hash is None
        assert world.warnings == ["game_local_only"]
        (world.games / "Game" / "NUL.txt").unlink()
        await library.rescan("Game")
        assert library.games["game"].problem is None


async def test_twins_are_withheld(world: World, autojump_clock: MockClock) -> None:
    async with world.library() as library:
        write_tree(world.games / "GAME", GAME)
        world.watcher.changed("GAME")
        await settled()
        assert library.games == {}
        assert world.warnings == ["game_collision"]
        assert [library.is_withheld(name) for name in ("gamE", "nothing")] == [True, False]
        assert await library.rescan("Game") is None
        with pytest.raises(InTheWay):
            library.make_game("gaMe")
        (world.games / "Game").rename(world.games / "Other")
        world.watcher.changed("Game", "Other")
        await settled()
        assert {game.id for game in library.games.values()} == {"GAME", "Other"}


async def test_an_unmounted_games_folder_is_absent(world: World, autojump_clock: MockClock) -> None:
    async with world.library() as library:
        await settled()
        hashes = world.hashes()
        world.changes.clear()
        away = world.games.parent / "away"
        world.games.rename(away)
        world.games.mkdir()
        await trio.sleep(10)
        assert library.games == {}
        assert not is_present(library)
        assert world.changes == [{"Game"}]
        assert world.warnings == ["games_folder_gone"]
        for call in (library.open_game, library.make_game):
            with pytest.raises(NotHere):
                call("Game")
        library.drop_if_empty("Game")
        assert await library.rescan("Game") is None
        assert list(world.games.iterdir()) == []
        world.games.rmdir()
        await trio.sleep(10)
        away.rename(world.games)
        await trio.sleep(10)
        assert is_present(library)
        assert library.games["game"].content_hash is not None
        assert world.changes == [{"Game"}, {"Game"}]
        assert world.hashes() == hashes


async def test_the_catalog_decides_what_is_shared(world: World, autojump_clock: MockClock) -> None:
    write_tree(world.games / "Other", GAME)
    write_tree(world.games / "Old", GAME)
    catalog = Catalog(
        [
            CatalogEntry(id="GAME", name="g", version="1.0"),
            CatalogEntry(id="old", name="o", version="2.0"),
        ]
    )
    async with world.library(catalog) as library:
        await settled()
        problems = {game.id: game.problem for game in library.games.values()}
        assert problems["Game"] is None
        assert "catalog" in (problems["Other"] or "")
        assert "2.0" in (problems["Old"] or "")
        assert library.games["game"].content_hash is not None
        assert library.games["other"].content_hash is None


async def test_game_folders(world: World, autojump_clock: MockClock) -> None:
    (world.games / "file").write_bytes(b"")
    async with world.library() as library:
        with library.open_game("GAME") as folder:
            assert folder.exists("version.ini")
        with library.make_game("GAME") as folder:
            assert folder.exists("version.ini")
        with pytest.raises(NotHere):
            library.open_game("New")
        library.make_game("New").close()
        library.make_game("nEw").close()
        assert sorted(os.listdir(world.games)) == ["Game", "New", "file"]
        # A folder of ours that holds nothing keeps nobody; one that holds something does.
        (world.games / "New/.lanspread").mkdir()
        (world.games / "Game/.lanspread").mkdir()
        (world.games / "Game/.lanspread/install.json").write_bytes(b"{}")
        library.drop_if_empty("New")
        library.drop_if_empty("Game")
        assert (world.games / "Game/.lanspread/install.json").exists()
        assert sorted(os.listdir(world.games)) == ["Game", "file"]
        with pytest.raises(InTheWay):
            library.make_game("file")
        for name in ("../x", "", ".x", "a/b"):
            with pytest.raises(UnsafePath):
                library.make_game(name)


async def test_a_game_folder_may_be_a_link(world: World, autojump_clock: MockClock) -> None:
    (world.games / "Game").rename(world.games.parent / "disk2")
    (world.games / "Game").symlink_to(world.games.parent / "disk2")
    async with world.library() as library:
        await settled()
        assert library.games["game"].content_hash is not None
        with library.make_game("Game") as folder:
            assert folder.exists("version.ini")


async def test_a_folder_that_cannot_be_opened_is_a_start_error(
    world: World, autojump_clock: MockClock
) -> None:
    world.games = world.games / "nowhere"
    with pytest.raises(StartError):
        async with world.library():
            pass


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_cancelled_anywhere_nothing_stays_open(
    world: World, autojump_clock: MockClock, steps: int
) -> None:
    before = open_descriptors()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_after, scope, steps)
            async with world.library() as library:
                await library.rescan("Game")
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert open_descriptors() == before


async def cancel_after(scope: trio.CancelScope, steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_busy_file_beside_the_games_costs_no_listing_each_time(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.games / "log.txt").write_text("")
    listings: list[float] = []
    real = GamesFolder.listing

    def listing(folder: GamesFolder) -> GamesListing | None:
        listings.append(trio.current_time())
        return real(folder)

    async with world.library() as library:
        await settled()
        monkeypatch.setattr(GamesFolder, "listing", listing)
        for _ in range(600):
            world.watcher.changed("log.txt")
            await trio.sleep(0.1)
        assert len(listings) <= 60 / PRESENCE_S + 1
        # It becomes a game all the same, a little later.
        (world.games / "log.txt").unlink()
        write_tree(world.games / "log.txt", GAME)
        world.watcher.changed("log.txt")
        await trio.sleep(2 * PRESENCE_S)
        assert "log.txt" in library.games
