"""Walking games folders, hostile ones too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from lanspread import limits
from lanspread.fs.digests import BlockHasher, hash_files
from lanspread.fs.errors import FileChanged, Stopped
from lanspread.fs.manifest import manifest_hash
from lanspread.fs.progress import Unwatched
from lanspread.fs.reading import ExtentReader
from lanspread.fs.scan import list_games, look_at_game, scan_game
from lanspread.model import blocks_of
from lanspread.seams import FileStamp, Folder
from tests.fs.support import (
    BLOCK,
    RecordingFolder,
    digests_of_files,
    manifest_of_files,
    open_descriptors,
    open_folder,
    write_tree,
)

GAME = {
    "version.ini": b"1.0\n",
    "game.eti": bytes(range(256)) * 20,
    "sub/empty": b"",
    "sub/ünï.txt": b"x" * BLOCK,
    ".hidden": b"y",
}


def test_lists_games(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "end.", "Twin", "twin", "lost+found"):
        (tmp_path / "games" / name).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    games = tmp_path / "games"
    (games / "linked").symlink_to(tmp_path / "elsewhere")
    (games / "broken").symlink_to(tmp_path / "nowhere")
    (games / "loop").symlink_to("loop")
    (games / "file").write_bytes(b"")
    (games / os.fsdecode(b"bad\xff")).mkdir()
    os.mkfifo(games / "fifo")
    with open_folder(games) as folder:
        listing = list_games(folder)
    assert listing.ids == ("a", "b", "linked")
    assert listing.withheld == ("Twin",)
    assert sorted(warning.code for warning in listing.warnings) == [
        "bad_game_id",
        "bad_game_id",
        "game_collision",
    ]
    assert all(warning.message.isprintable() for warning in listing.warnings)


class StopsAfter(Unwatched):
    """Lets so many steps pass."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped("it was stopped")


def test_a_walk_stops_between_two_folders(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", {f"{number}/file": b"" for number in range(10)})
    with open_folder(tmp_path) as games:
        for steps in range(11):
            before = open_descriptors()
            with pytest.raises(Stopped):
                scan_game(games, "g", StopsAfter(steps))
            assert open_descriptors() == before
        assert len(scan_game(games, "g", StopsAfter(11)).stamps) == 10


def test_scans_what_is_shared_and_nothing_else(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", GAME)
    ours = {
        "local/save": b"mine",
        ".lanspread/download.json": b"{}",
        ".lanspread.json": b"{}",
        ".lanspread_owned": b"",
        ".version.ini.tmp": b"",
        ".version.ini.discarded": b"",
        ".local.backup/x": b"",
        "Thumbs.db": b"",
        "sub/.DS_Store": b"",
        "sub/._x": b"",
    }
    write_tree(tmp_path / "g", ours)
    with open_folder(tmp_path) as games:
        game = scan_game(games, "g")
    assert game.manifest == manifest_of_files(GAME)
    assert [stamp.path for stamp in game.stamps] == [entry.path for entry in game.manifest.files]
    assert game.manifest_hash == manifest_hash(manifest_of_files(GAME))
    assert (game.version, game.downloaded, game.installed) == ("1.0", True, True)
    assert game.problem is None
    assert game.warnings == ()


def test_a_game_folder_may_be_a_link(tmp_path: Path) -> None:
    write_tree(tmp_path / "elsewhere", GAME)
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "g").symlink_to(tmp_path / "elsewhere")
    with open_folder(tmp_path / "games") as games:
        assert scan_game(games, "g").manifest == manifest_of_files(GAME)


def test_links_and_special_files_are_left_out(tmp_path: Path) -> None:
    write_tree(tmp_path, {"outside/secret": b"s", "games/g/version.ini": b"1"})
    game = tmp_path / "games" / "g"
    (game / "sub").mkdir()
    (game / "folder").symlink_to(tmp_path / "outside")
    (game / "sub" / "up").symlink_to("..")
    (game / "file").symlink_to(tmp_path / "outside" / "secret")
    (game / "local").symlink_to(tmp_path / "outside")
    os.mkfifo(game / "fifo")
    with open_folder(tmp_path / "games") as games:
        found = scan_game(games, "g")
    assert [entry.path for entry in found.manifest.files] == ["version.ini"]
    assert not found.installed
    assert found.problem is None
    assert [warning.code for warning in found.warnings] == ["links_left_out"]


def test_a_linked_sentinel_is_none(tmp_path: Path) -> None:
    write_tree(tmp_path, {"v": b"1", "games/g/x": b"x"})
    (tmp_path / "games" / "g" / "version.ini").symlink_to(tmp_path / "v")
    with open_folder(tmp_path / "games") as games:
        assert not scan_game(games, "g").downloaded


@pytest.mark.parametrize(
    "name",
    [
        b"bad\xff",
        b"tab\t",
        b"end.",
        b"NUL.txt",
        b"Version.INI",
        b"LOCAL/x",
        b"a\\b",
        b"c:x",
        b"local",
        b"version.ini/x",
    ],
)
def test_unsafe_names_make_a_game_local_only(tmp_path: Path, name: bytes) -> None:
    files: dict[str, bytes] = {"game.eti": b"x"}
    files[os.fsdecode(name)] = b"y"
    write_tree(tmp_path / "g", files)
    with open_folder(tmp_path) as games:
        game = scan_game(games, "g")
    assert game.problem is not None
    assert game.manifest_hash is None
    assert [warning.code for warning in game.warnings] == ["game_local_only"]
    assert game.warnings[0].message.isprintable()
    assert [entry.path for entry in game.manifest.files] == ["game.eti"]


def test_names_that_collide_make_a_game_local_only(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", {"version.ini": b"1", "A": b"", "a": b""})
    with open_folder(tmp_path) as games:
        assert "collides" in (scan_game(games, "g").problem or "")


def test_too_many_files_make_a_game_local_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_FILES_PER_GAME", 3)
    write_tree(tmp_path / "g", {f"f{number}": b"" for number in range(9)})
    with open_folder(tmp_path) as games:
        game = scan_game(games, "g")
    assert "more than 3 files" in (game.problem or "")
    assert len(game.manifest.files) == 3


def test_too_deep_folders_make_a_game_local_only(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", {"version.ini": b"1", "/".join(["d"] * 70) + "/f": b""})
    with open_folder(tmp_path) as games:
        assert "deep" in (scan_game(games, "g").problem or "")


def test_a_missing_game_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with open_folder(tmp_path) as games:
        with pytest.raises(FileNotFoundError):
            scan_game(games, "g")
        with pytest.raises(NotADirectoryError):
            scan_game(games, "file")


def test_what_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", GAME)

    class Unreadable(RecordingFolder):
        def step(self, *call: str) -> None:
            if call == ("list", "sub"):
                raise PermissionError(13, "Permission denied")

    class Games(RecordingFolder):
        def folder(self, rel: str, *, follow: bool = False) -> RecordingFolder:
            return Unreadable(self.inner.folder(rel, follow=follow), [])

    with Games(open_folder(tmp_path), []) as games:
        game = scan_game(games, "g")
    assert game.problem == "'sub' cannot be read: Permission denied"
    assert game.downloaded


def test_fingerprint_sees_the_root_but_not_the_users_files(tmp_path: Path) -> None:
    game = tmp_path / "g"
    write_tree(game, GAME)
    with open_folder(tmp_path) as games:
        first = look_at_game(games, "g")
        assert first.fingerprint == scan_game(games, "g").fingerprint
        (game / "local").mkdir()
        installed = look_at_game(games, "g")
        assert installed != first
        write_tree(game, {"local/save": b"1", "sub/more": b"1"})
        assert look_at_game(games, "g") == installed
        (game / "game.eti").write_bytes(b"other")
        changed = look_at_game(games, "g")
        assert changed != installed
        # Replaced under its old name: the folder's own time tells.
        (game / ".new").write_bytes(b"z")
        (game / ".new").rename(game / ".hidden")
        assert look_at_game(games, "g") != changed


def test_nothing_stays_open(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", GAME)
    with open_folder(tmp_path) as games:
        before = open_descriptors()
        scan_game(games, "g")
        list_games(games)
        assert open_descriptors() == before


def test_hashes_files(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", GAME)
    with open_folder(tmp_path) as games, games.folder("g") as folder:
        stamps = scan_game(games, "g").stamps
        found = hash_files(folder, stamps, BLOCK)
    assert set(found) == set(stamps)
    flat = tuple(digest for stamp in stamps for digest in found[stamp])
    assert flat == digests_of_files(GAME)


def test_a_file_that_changes_while_it_is_hashed_is_noticed(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", {"big": b"x" * 3 * BLOCK})
    with open_folder(tmp_path) as games, games.folder("g") as folder:
        stamps = scan_game(games, "g").stamps
        hasher = BlockHasher(folder, dict.fromkeys(stamps, ()), BLOCK)
        assert hasher.step() == {}
        with open(tmp_path / "g" / "big", "r+b") as file:
            file.write(b"y")
        before = open_descriptors()
        with pytest.raises(FileChanged) as caught:
            while hasher.step() is not None:
                pass
        assert caught.value.path == "big"
        assert open_descriptors() == before - 1
        (tmp_path / "g" / "big").unlink()
        with pytest.raises(FileChanged):
            BlockHasher(folder, dict.fromkeys(stamps, ()), BLOCK).step()


def extents_of(
    games: Folder, stamps: Sequence[FileStamp], extents: Sequence[tuple[int, int, int]]
) -> ExtentReader:
    return ExtentReader(partial(games.folder, "g"), stamps, extents)


@pytest.mark.parametrize("size", [1, 100, BLOCK, 10_000, 1 << 20])
def test_reads_extents(tmp_path: Path, size: int) -> None:
    write_tree(tmp_path / "g", GAME)
    with open_folder(tmp_path) as games:
        game = scan_game(games, "g")
        extents = list(blocks_of(game.manifest, BLOCK))
        reader = extents_of(games, game.stamps, extents)
        pieces = list(iter(lambda: reader.read(size), b""))
        assert all(len(piece) == size for piece in pieces[:-1])
        before = open_descriptors()
        reader.close()
        assert open_descriptors() == before
    assert b"".join(pieces) == b"".join(GAME[entry.path] for entry in game.manifest.files)


@pytest.mark.parametrize("size", [1, 100, BLOCK, 10_000, 1 << 20])
def test_reads_extents_into_one_buffer(tmp_path: Path, size: int) -> None:
    write_tree(tmp_path / "g", GAME)
    buffer = bytearray(size)
    with open_folder(tmp_path) as games:
        game = scan_game(games, "g")
        reader = extents_of(games, game.stamps, list(blocks_of(game.manifest, BLOCK)))
        before = open_descriptors()
        pieces = []
        while count := reader.read_into(memoryview(buffer)):
            pieces.append(bytes(buffer[:count]))
        assert all(len(piece) == size for piece in pieces[:-1])
        reader.close()
        assert open_descriptors() == before
    assert b"".join(pieces) == b"".join(GAME[entry.path] for entry in game.manifest.files)


def test_a_link_in_the_place_of_a_folder_is_not_read_through(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", {"sub/a": b"x" * 100, "sub/b": b"y" * 100})
    with open_folder(tmp_path) as games:
        stamps = scan_game(games, "g").stamps
        reader = extents_of(games, stamps, [(0, 0, 100)])
        (tmp_path / "g" / "sub").rename(tmp_path / "sub")
        (tmp_path / "g" / "sub").symlink_to(tmp_path / "sub")
        with pytest.raises(FileChanged):
            reader.read(100)


def test_reads_some_extents_of_some_files(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", GAME)
    with open_folder(tmp_path) as games:
        game = scan_game(games, "g")
        number = [entry.path for entry in game.manifest.files].index("game.eti")
        reader = extents_of(games, game.stamps, [(0, 0, 1), (number, 5, 0), (number, 256, 3)])
        assert reader.read(100) == b"y\x00\x01\x02"
        assert reader.read(100) == b""


@pytest.mark.parametrize("extent", [(99, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, 2), (0, 0, -1)])
def test_refuses_extents_outside(tmp_path: Path, extent: tuple[int, int, int]) -> None:
    write_tree(tmp_path / "g", GAME)
    with open_folder(tmp_path) as games:
        stamps = scan_game(games, "g").stamps
        with pytest.raises(ValueError, match="extent"):
            extents_of(games, stamps, [extent])


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", {"a": b"x" * 100, "b": b"y" * 100})
    with open_folder(tmp_path) as games:
        stamps = scan_game(games, "g").stamps
        reader = extents_of(games, stamps, [(0, 0, 100), (1, 0, 100)])
        assert reader.read(50) == b"x" * 50
        os.utime(tmp_path / "g" / "a", ns=(1, 1))
        with pytest.raises(FileChanged):
            reader.read(100)
        reader = extents_of(games, stamps, [(1, 0, 100)])
        os.truncate(tmp_path / "g" / "b", 50)
        with pytest.raises(FileChanged):
            reader.read(100)
