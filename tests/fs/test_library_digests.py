"""The library's digests: in the background, on demand, and when files will not rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lanspread import limits
from lanspread.fs import digests as digests_module
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.errors import Changed, FsError, NotHere
from lanspread.fs.library import Library
from lanspread.fs.manifest import content_hash
from lanspread.fs.reading import ExtentReader
from lanspread.model import blocks_of
from lanspread.seams import FileStamp, Folder
from tests.fs.support import (
    BLOCK,
    GAME,
    World,
    digests_of_files,
    reference_of,
    settled,
    write_tree,
)


def problem_of(library: Library) -> str | None:
    return library.games["game"].problem


@pytest.fixture
def world(tmp_path: Path) -> World:
    games = tmp_path / "games"
    write_tree(games / "Game", GAME)
    return World(games)


async def test_digests_are_computed_in_the_background(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        await settled()
        game = library.games["game"]
        assert game.digests == digests_of_files(GAME)
        assert game.manifest_hash is not None
        assert game.content_hash == content_hash(game.manifest_hash, BLOCK, game.digests)
        assert world.changes == [{"Game"}]
    # Known from the index next time.
    before = world.hashes()
    async with world.library() as library:
        assert library.games["game"].content_hash == game.content_hash
        await trio.sleep(10)
    assert world.hashes() == before
    assert world.changes == [{"Game"}]


async def test_one_changed_file_is_hashed_again_alone(
    world: World, autojump_clock: MockClock
) -> None:
    write_tree(world.games / "Game", {"big": b"y" * 50 * BLOCK})
    async with world.library():
        await settled()
    (world.games / "Game" / "game.eti").write_bytes(b"z" * 10)
    before = world.hashes()
    async with world.library() as library:
        await settled()
        files = {**GAME, "big": b"y" * 50 * BLOCK, "game.eti": b"z" * 10}
        assert library.games["game"].digests == digests_of_files(files)
    assert world.hashes() - before < 5


async def test_digests_on_demand(world: World, autojump_clock: MockClock) -> None:
    async with world.library() as library:
        game = library.games["game"]
        assert game.manifest_hash is not None
        found: list[tuple[bytes, ...]] = []

        async def ask() -> None:
            assert game.manifest_hash is not None
            found.append(await library.digests("game", game.manifest_hash))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert found == [digests_of_files(GAME)] * 5
        # 5 blocks, one for the sentinel, one to see the end; not five times as many.
        assert world.hashes() <= 8
        with pytest.raises(Changed):
            await library.digests("Game", b"other")
        with pytest.raises(NotHere):
            await library.digests("nothing", game.manifest_hash)


async def test_what_somebody_waits_for_goes_first(world: World, autojump_clock: MockClock) -> None:
    write_tree(world.games / "A", {"version.ini": b"1", "huge": bytes(500 * BLOCK)})
    async with world.library() as library:
        game = library.games["game"]
        assert game.manifest_hash is not None
        await library.digests("Game", game.manifest_hash)
        assert library.games["a"].content_hash is None
        await settled()
        assert library.games["a"].content_hash is not None


async def test_a_change_ends_the_wait_for_digests(world: World, autojump_clock: MockClock) -> None:
    write_tree(world.games / "Game", {"big": bytes(50 * BLOCK)})
    async with world.library() as library:
        game = library.games["game"]
        errors: list[FsError] = []

        async def ask() -> None:
            assert game.manifest_hash is not None
            try:
                await library.digests("Game", game.manifest_hash)
            except FsError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while world.hashes() < 5:
                await trio.lowlevel.checkpoint()
            write_tree(world.games / "Game", {"big": bytes(20 * BLOCK)})
        assert isinstance(errors[0], Changed)
        await trio.sleep(2 * limits.SETTLE_S)
        assert library.games["game"].digests == digests_of_files({**GAME, "big": bytes(20 * BLOCK)})


async def test_a_file_that_never_rests_does_not_keep_the_disk_busy(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests_module, "matches", lambda entry, stamp: False)
    async with world.library() as library:
        await trio.sleep(100)
        assert library.games["game"].content_hash is None
        assert len(world.threads.pools) < 400
        monkeypatch.undo()
        await trio.sleep(2 * limits.SETTLE_S)
        assert library.games["game"].content_hash is not None


async def test_an_unreadable_file_makes_a_game_local_only(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Folder, stamp: FileStamp) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(digests_module, "open_stamped", broken)
    async with world.library() as library:
        game = library.games["game"]
        assert game.manifest_hash is not None
        with pytest.raises(NotHere):
            await library.digests("Game", game.manifest_hash)
        await settled()
        assert problem_of(library) == "'game.eti' cannot be read: Input/output error"
        await library.rescan("Game")
        await trio.sleep(30)
        assert world.warnings == ["game_local_only"]
        monkeypatch.undo()
        await trio.sleep(2 * limits.FALLBACK_SCAN_S)
        assert problem_of(library) is None
        assert library.games["game"].content_hash is not None


async def test_a_download_needs_no_hashing(world: World, autojump_clock: MockClock) -> None:
    """The library and the transaction together, as a downloader uses them."""
    async with world.library() as library:
        await settled()
        source = library.games["game"]
        hashes = world.hashes()
        with library.hold("Copy"):
            folder = library.make_game("Copy")
            transaction = DownloadTransaction(folder, reference_of(GAME))
            transaction.check()
            transaction.begin()
            extents = [
                extent
                for extent in blocks_of(source.manifest, BLOCK)
                if source.manifest.files[extent[0]].path != "version.ini"
            ]
            reader = ExtentReader(partial(library.open_game, "game"), source.stamps, extents)
            for number, offset, length in extents:
                transaction.write([(number, offset, reader.read(length))])
            reader.close()
            stamps = transaction.commit()
            transaction.close()
            folder.close()
            library.store_digests("Copy", stamps)
            game = await library.rescan("Copy")
        assert game is not None
        assert game.content_hash == source.content_hash
        await trio.sleep(10)
        assert world.hashes() == hashes
    before = world.hashes()
    async with world.library() as library:
        assert library.games["copy"].content_hash == source.content_hash
    assert world.hashes() == before


async def test_waiting_ends_with_the_library(world: World, autojump_clock: MockClock) -> None:
    results: list[str] = []

    async def wait(library: Library, hash_: bytes) -> None:
        try:
            await library.digests("Game", hash_)
        except NotHere:
            results.append("digests")

    async with trio.open_nursery() as nursery, world.library() as library:
        with library.hold("Game"):
            game = library.games["game"]
            assert game.manifest_hash is not None
            nursery.start_soon(wait, library, game.manifest_hash)
            await settled()
    assert results == ["digests"]
    with pytest.raises(NotHere):
        await library.rescan("Game")
