"""What a start, a change and a fallback scan cost, and what the index is believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from lanspread import limits
from lanspread.fs import lookout
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.index import INDEX_FILE, open_index
from lanspread.seams import Folder, IndexKey
from lanspread.testing import MemoryIndex
from tests.fs.counting import CountingFiles
from tests.fs.support import World, digests_of_files, settled, write_tree

GAMES = 20
NESTED = {"version.ini": b"1.0\n", "game.eti": b"x" * 5000, "sub/one": b"1", "sub/deep/two": b"2"}
# All at the root: the sentinel, two archives, and what a cheap look tells by its name alone.
FLAT = {"version.ini": b"1.0\n", "a.eti": b"x" * 5000, "b.eti": b"y", "one": b"1", "two": b"2"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "games").mkdir()
    return World(tmp_path / "games", files=CountingFiles())


def asked(world: World) -> dict[str, int]:
    assert isinstance(world.files, CountingFiles)
    return world.files.taken()


def rows(world: World) -> dict[IndexKey, dict[str, bytes]]:
    assert isinstance(world.index, MemoryIndex)
    return world.index.rows


async def known(world: World) -> None:
    """A run that is long enough for everything to be in the index."""
    async with world.library() as library:
        await trio.sleep(2 * limits.SETTLE_S)
        assert library.is_settled
    asked(world)
    world.threads.pools.clear()
    world.changes.clear()
    world.warnings.clear()


@pytest.mark.parametrize(("files", "looks"), [(NESTED, 2), (FLAT, 3)])
async def test_an_unchanged_library_costs_one_listing_a_game(
    world: World, autojump_clock: MockClock, files: dict[str, bytes], looks: int
) -> None:
    for number in range(GAMES):
        write_tree(world.games / f"g{number}", files)
    await known(world)
    async with world.library() as library:
        # The games folder twice: whether it can be read at all, and to begin with.
        cost = {"peek": GAMES + 2, "folder": GAMES, "lstat": looks * GAMES}
        assert asked(world) == cost
        assert len(library.games) == GAMES
        # Hops into threads do not grow with the number of games.
        assert len(world.threads.pools) < 6
        await trio.sleep(limits.FALLBACK_SCAN_S - 1)
        assert asked(world) == {}
        game = library.games["g7"]
        assert game.digests == digests_of_files(files)
        assert [stamp.path for stamp in game.stamps] == sorted(files)
        assert (game.version, game.downloaded, game.size) == (
            "1.0",
            True,
            sum(map(len, files.values())),
        )
    assert world.changes == []
    assert world.hashes() == 0


async def test_one_changed_game_costs_one_walk_of_one_game(
    world: World, autojump_clock: MockClock
) -> None:
    for number in range(GAMES):
        write_tree(world.games / f"g{number}", NESTED)
    await known(world)
    walk = {"folder": 1, "list": 3, "lstat": 6, "open": 1}
    # At the start.
    (world.games / "g3" / "version.ini").write_bytes(b"2.0\n")
    async with world.library() as library:
        assert library.games["g3"].version == "2.0"
        assert asked(world) == {
            "peek": GAMES + 2,
            "folder": GAMES + 1,
            "lstat": 2 * GAMES + 6,
            "list": 3,
            "open": 1,
        }
        await trio.sleep(2 * limits.SETTLE_S)
        # The file that changed was hashed, and the game walked again when it had settled.
        assert asked(world) == {"folder": 2, "list": 3, "lstat": 6, "open": 2}
        # By a hint, although nothing is to be seen at its root.
        write_tree(world.games / "g5", {"sub/one": b"other"})
        world.watcher.changed("g5")
        await settled()
        found = asked(world)
        assert found == {**walk, "folder": 2, "open": 2}
        assert library.games["g5"].digests == digests_of_files({**NESTED, "sub/one": b"other"})
        await trio.sleep(2 * limits.SETTLE_S)
        assert asked(world) == walk
        # A fallback scan: one listing a game, and one walk in rotation.
        await trio.sleep(limits.FALLBACK_SCAN_S - 4 * limits.SETTLE_S + 1)
        assert asked(world) == {
            "peek": GAMES + 1,
            "folder": GAMES + 1,
            "lstat": 2 * GAMES + 6,
            "list": 3,
            "open": 1,
        }
    assert world.changes == [{"g3"}, {"g5"}, {"g5"}]


async def test_a_large_game_that_is_being_written_is_not_walked_at_every_hint(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_LARGE", 3)
    write_tree(world.games / "g", NESTED)
    await known(world)
    async with world.library() as library:
        asked(world)
        for number in range(100):
            write_tree(world.games / "g", {"sub/one": b"%d" % number})
            world.watcher.changed("g")
            await trio.sleep(0.1)
            if not number:
                assert library.games["g"].size == 5006
        assert asked(world)["list"] <= 3 * (1 + 10 // limits.SETTLE_S + 1)
        await trio.sleep(2 * limits.SETTLE_S)
        assert library.games["g"].digests == digests_of_files({**NESTED, "sub/one": b"99"})


async def test_a_new_game_is_not_looked_at_while_it_is_being_downloaded(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        await settled()
        asked(world)
        with library.hold("New"):
            for number in range(20):
                write_tree(world.games / "New", {f"{number}": b"x"})
                world.watcher.changed("New")
                await settled()
            assert asked(world) == {}
            assert not library.games
            # It is listed with the next look for the games folder.
            await trio.sleep(2 * lookout.PRESENCE_S)
            assert asked(world)["peek"] <= 2
        await settled()
        assert library.games["new"].size == 20


async def test_the_rotation_goes_on_after_a_restart(
    world: World, autojump_clock: MockClock
) -> None:
    for number in range(6):
        write_tree(world.games / f"g{number}", NESTED)
    await known(world)
    for number in range(6):
        write_tree(world.games / f"g{number}", {"sub/one": b"changed"})
    seen: set[str] = set()
    # Two scans a run, so that a rotation that begins anew would never reach the last ones.
    for _ in range(3):
        async with world.library() as library:
            await trio.sleep(2 * limits.FALLBACK_SCAN_S + 10)
            seen |= {key for key, game in library.games.items() if game.size == 5012}
    assert len(seen) == 6


async def test_what_was_young_is_not_believed_at_the_next_start(
    world: World, autojump_clock: MockClock
) -> None:
    write_tree(world.games / "g", NESTED)
    async with world.library() as library:
        await trio.sleep(limits.SETTLE_S - 0.1)
        assert not library.is_settled
    asked(world)
    # A clock so coarse that a change leaves no trace at the root, and none in the folder's time.
    write_tree(world.games / "g", {"sub/one": b"other"})
    async with world.library() as library:
        assert asked(world)["list"] == 3
        await settled()
        assert library.games["g"].digests == digests_of_files({**NESTED, "sub/one": b"other"})
        await trio.sleep(2 * limits.SETTLE_S)
        assert library.is_settled
    asked(world)
    async with world.library():
        assert "list" not in asked(world)


async def test_an_empty_sentinel_is_believed_when_it_has_settled(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.library() as library:
        write_tree(world.games / "g", {**NESTED, "version.ini": b""})
        world.watcher.changed("g")
        await settled()
        assert not library.games["g"].downloaded
        write_tree(world.games / "g", {"version.ini": b"1.0"})
        world.watcher.changed("g")
        await settled()
        assert (library.games["g"].downloaded, library.games["g"].version) == (True, "1.0")
        write_tree(world.games / "h", {**NESTED, "version.ini": b""})
        world.watcher.changed("h")
        await trio.sleep(3 * limits.SETTLE_S)
        assert (library.games["h"].downloaded, library.games["h"].version) == (True, "")


async def test_games_that_went_away_are_pruned(world: World, autojump_clock: MockClock) -> None:
    for name in ("stays", "goes", "vanishes", "link"):
        write_tree(world.games / name, NESTED)
    disk = world.games.parent / "disk2"
    (world.games / "link").rename(disk)
    (world.games / "link").symlink_to(disk)
    await known(world)
    [kept] = rows(world).values()
    assert set(kept) == {"stays", "goes", "vanishes", "link"}
    (world.games / "goes").rename(world.games.parent / "elsewhere")
    # The disk behind the link is not mounted: its row stays.
    disk.rename(world.games.parent / "unplugged")
    async with world.library() as library:
        assert set(library.games) == {"stays", "vanishes"}
        (world.games / "vanishes").rename(world.games.parent / "elsewhere2")
        world.watcher.changed("")
        await trio.sleep(5)
        [kept] = rows(world).values()
        assert set(kept) == {"stays", "link"}
        (world.games.parent / "unplugged").rename(disk)
        asked(world)
        world.watcher.changed("")
        await trio.sleep(10)
        assert library.games["link"].content_hash is not None
        assert "list" not in asked(world)
    assert world.hashes() == 0


async def test_an_emptied_game_is_not_forgotten(world: World, autojump_clock: MockClock) -> None:
    """A link to a folder on which nothing is mounted now."""
    write_tree(world.games / "g", NESTED)
    await known(world)
    (world.games / "g").rename(world.games.parent / "unplugged")
    (world.games / "g").mkdir()
    async with world.library() as library:
        await trio.sleep(10)
        assert library.games["g"].size == 0
        (world.games / "g").rmdir()
        (world.games.parent / "unplugged").rename(world.games / "g")
        world.watcher.changed("g")
        await trio.sleep(10)
        assert library.games["g"].content_hash is not None
    assert world.hashes() == 0


async def test_an_unmounted_folder_prunes_nothing(world: World, autojump_clock: MockClock) -> None:
    for number in range(GAMES):
        write_tree(world.games / f"g{number}", NESTED)
    await known(world)
    away = world.games.parent / "away"
    async with world.library() as library:
        world.games.rename(away)
        world.games.mkdir()
        await trio.sleep(2 * limits.FALLBACK_SCAN_S + 10)
        assert library.games == {}
        world.games.rmdir()
        asked(world)
        away.rename(world.games)
        await trio.sleep(10)
        assert len(library.games) == GAMES
        # As at a start: known again by one listing each.
        found = asked(world)
        assert (found["peek"], found.get("list")) == (GAMES + 1, None)
    # The same across a restart: the empty mount point is another folder.
    world.games.rename(away)
    world.games.mkdir()
    async with world.library() as library:
        assert library.games == {}
        await trio.sleep(2 * limits.FALLBACK_SCAN_S)
    world.games.rmdir()
    away.rename(world.games)
    asked(world)
    async with world.library() as library:
        assert len(library.games) == GAMES
        assert "list" not in asked(world)
    assert world.hashes() == 0
    assert world.warnings == ["games_folder_gone"]


async def test_a_folder_that_comes_back_is_opened_anew(
    world: World, autojump_clock: MockClock
) -> None:
    """A disk that was pulled out: the old descriptor stays dead when it is back."""
    write_tree(world.games / "g", NESTED)
    dead: list[Folder] = []

    class Pulled(CountingFiles):
        def open_folder(self, path: str) -> Folder:
            folder = DiskFileSystem().open_folder(path)
            if not dead:
                dead.append(folder)
            return folder

    world.files = Pulled()
    async with world.library() as library:
        world.games.rename(world.games.parent / "away")
        await trio.sleep(10)
        assert library.games == {}
        dead[0].close()
        (world.games.parent / "away").rename(world.games)
        await trio.sleep(10)
        assert set(library.games) == {"g"}
        with library.open_game("g") as folder:
            assert folder.exists("version.ini")


async def test_rows_that_do_not_decode_cost_a_walk_and_one_line(
    world: World, autojump_clock: MockClock
) -> None:
    for number in range(GAMES):
        write_tree(world.games / f"g{number}", NESTED)
    await known(world)
    [kept] = rows(world).values()
    cut = kept["g9"][:-3]
    for number, spoiled in enumerate([b"", b"\xc0", b"\x92\x01\x02", cut, b"\xff" * 50]):
        kept[f"g{number}"] = spoiled
    with capture_logs() as logs:
        async with world.library() as library:
            assert asked(world)["list"] == 3 * 5
            await trio.sleep(10)
            assert all(game.content_hash for game in library.games.values())
    assert len(logs) == 1
    await known(world)
    async with world.library():
        assert "list" not in asked(world)


@pytest.mark.parametrize("name", [b"bad\xff", b"tab\t", b"NUL.txt", "ü\u202e.txt".encode()])
async def test_a_game_with_a_problem_is_remembered_with_it(
    world: World, autojump_clock: MockClock, name: bytes
) -> None:
    world.index = open_index(str(world.games.parent))
    write_tree(world.games / "g", {**NESTED, os.fsdecode(name): b"x"})
    async with world.library() as library:
        await trio.sleep(2 * limits.SETTLE_S)
        problem = library.games["g"].problem
        warnings = list(world.warnings)
    asked(world)
    world.warnings.clear()
    async with world.library() as library:
        assert "list" not in asked(world)
        assert library.games["g"].problem == problem
        assert world.warnings == warnings
    world.index.close()


async def test_with_the_real_index(world: World, autojump_clock: MockClock) -> None:
    state = world.games.parent
    for name in ("g", "ü", "linked"):
        write_tree(world.games / name, {**NESTED, "sub/ü": b"u"})
    os.symlink("nowhere", world.games / "linked" / "link")
    for damage in (False, True):
        world.index = open_index(str(state))
        async with world.library() as library:
            await trio.sleep(2 * limits.SETTLE_S)
            first = dict(library.games)
        world.index.close()
        asked(world)
        if damage:
            (state / INDEX_FILE).write_bytes(b"no database")
        world.warnings.clear()
        world.index = open_index(str(state))
        async with world.library() as library:
            assert ("list" in asked(world)) == damage
            assert library.games.keys() == first.keys()
            if not damage:
                assert library.games == first
                assert library.games["ü"].digests == first["ü"].digests
                assert library.games["ü"].manifest == first["ü"].manifest
        assert world.warnings == ["links_left_out"]
        world.index.close()
