"""Files in memory behave as files on the disk: one set of tests against both."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from lanspread.fs.disk import DiskFileSystem
from lanspread.seams import FileSystem, Folder, Kind
from lanspread.testing import CONTENTS_LOST, MemoryFileSystem


@attrs.define
class World:
    """A file system with `games` and something outside it, and how to make links and pipes."""

    files: FileSystem
    root: str
    link: Callable[[str, str], object]
    other: Callable[[str], object]

    def open(self, path: str = "games") -> Folder:
        return self.files.open_folder(f"{self.root}/{path}")


def on_disk(root: Path) -> World:
    for rel in ("outside", "games/sub"):
        (root / rel).mkdir(parents=True)
    (root / "outside/secret").write_bytes(b"secret")
    (root / "games/sub/file").write_bytes(b"hello")
    return World(
        DiskFileSystem(),
        str(root),
        lambda rel, target: (root / rel).symlink_to(target),
        lambda rel: os.mkfifo(root / rel),
    )


def in_memory() -> World:
    files = MemoryFileSystem(lambda: 1_700_000_000_000_000_000)
    files.write_file("/r/outside/secret", b"secret")
    files.write_file("/r/games/sub/file", b"hello")
    return World(
        files,
        "/r",
        lambda rel, target: files.make_link(f"/r/{rel}", target),
        lambda rel: files.make_other(f"/r/{rel}"),
    )


@pytest.fixture(params=["disk", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    found = on_disk(tmp_path) if request.param == "disk" else in_memory()
    found.link("games/link", f"{found.root}/outside")
    found.link("games/relative", "../outside")
    found.link("games/sub/filelink", f"{found.root}/outside/secret")
    found.link("games/dangling", f"{found.root}/nowhere")
    found.link("games/loop", "loop")
    found.other("games/pipe")
    return found


def number_of(call: Callable[..., object], *args: object, **options: object) -> int | None:
    """The number of the error that a call raises; None if it raises none."""
    try:
        result = call(*args, **options)
    except OSError as error:
        return error.errno
    if hasattr(result, "close"):
        result.close()
    return None


def test_reads_and_writes(world: World) -> None:
    with world.open() as folder:
        with folder.open("sub/file", "write") as file:
            assert file.read_at(100, 1) == b"ello"
            assert file.read_at(2, 0) == b"he"
            assert file.read_at(5, 100) == b""
            buffer = bytearray(b"......")
            assert file.read_into(memoryview(buffer), 1) == 4
            assert file.read_into(memoryview(buffer)[4:5], 0) == 1
            assert file.read_into(memoryview(buffer), 5) == 0
            assert buffer == b"elloh."
            file.write_at(memoryview(b"J"), 0)
            file.write_at(b"end", 8)
            assert file.read_at(100, 0) == b"Jello\0\0\0end"
            file.truncate(3)
            file.sync()
            assert (file.entry().name, file.entry().size) == ("file", 3)
            file.truncate(5)
            assert file.read_at(100, 0) == b"Jel\0\0"
        with folder.open("sub/new", "create") as file:
            assert file.read_at(100, 0) == b""
            file.write_at(b"x", 0)
        with folder.open("sub/new", "create") as file:
            assert file.read_at(100, 0) == b"x"
        with folder.open("sub/newer", "new") as file:
            file.write_at(b"x", 0)
            file.start_sync(0, 1)
        for there in ("sub/newer", "link", "sub"):
            with pytest.raises(FileExistsError):
                folder.open(there, "new")
        entries = {entry.name: entry for entry in folder.list()}
        assert entries["sub"].kind is Kind.FOLDER
        assert entries["link"].kind is Kind.LINK
        assert entries["pipe"].kind is Kind.OTHER
        assert folder.entry("sub/new").kind is Kind.FILE
        assert folder.entry().kind is Kind.FOLDER
        assert folder.entry("sub").inode == entries["sub"].inode
        assert folder.free_bytes() > 0
        assert folder.path == f"{world.root}/games"


# What each call answers, and the number is the promise: the same on the disk and in memory.
REFUSED: list[tuple[str, tuple[str, ...], int | None]] = [
    ("open", ("gone", "read"), errno.ENOENT),
    ("open", ("gone", "write"), errno.ENOENT),
    ("open", ("gone/x", "create"), errno.ENOENT),
    ("open", ("sub/file/x", "create"), errno.ENOTDIR),
    ("open", ("link/secret", "read"), errno.ENOTDIR),
    ("open", ("sub/filelink", "read"), errno.ELOOP),
    ("open", ("dangling", "create"), errno.ELOOP),
    ("open", ("sub", "read"), errno.EINVAL),
    ("open", ("sub", "write"), errno.EISDIR),
    ("open", ("sub", "create"), errno.EISDIR),
    ("open", ("", "read"), errno.EINVAL),
    ("open", ("", "write"), errno.EISDIR),
    ("open", ("pipe", "read"), errno.EINVAL),
    ("open", ("pipe", "write"), errno.EINVAL),
    ("open", ("../outside/secret", "read"), errno.EINVAL),
    ("open", ("nul\0", "create"), errno.EINVAL),
    ("list", ("link",), errno.ENOTDIR),
    ("list", ("sub/file",), errno.ENOTDIR),
    ("list", ("gone",), errno.ENOENT),
    ("folder", ("link",), errno.ENOTDIR),
    ("folder", ("sub",), None),
    ("folder", ("sub/file",), errno.ENOTDIR),
    ("folder", ("gone",), errno.ENOENT),
    ("sync_folder", ("link",), errno.ENOTDIR),
    ("sync_folder", ("sub",), None),
    ("sync_folder", ("",), None),
    ("make_folder", ("sub",), None),
    ("make_folder", ("sub/file",), errno.EEXIST),
    ("make_folder", ("link",), errno.EEXIST),
    ("make_folder", ("link/new",), errno.ENOTDIR),
    ("make_folder", ("gone/new",), errno.ENOENT),
    ("make_folder", ("",), errno.EINVAL),
    ("remove_file", ("sub",), errno.EISDIR),
    ("remove_file", ("gone",), errno.ENOENT),
    ("remove_file", ("link/secret",), errno.ENOTDIR),
    ("remove_file", ("link",), None),
    ("remove_folder", ("sub",), errno.ENOTEMPTY),
    ("remove_folder", ("sub/file",), errno.ENOTDIR),
    ("remove_folder", ("link",), errno.ENOTDIR),
    ("remove_folder", ("gone",), errno.ENOENT),
    ("rename", ("gone", "x"), errno.ENOENT),
    ("rename", ("sub/file", "gone/x"), errno.ENOENT),
    ("rename", ("sub/file", "link/stolen"), errno.ENOTDIR),
    ("rename", ("sub/file", "sub"), errno.ENOTEMPTY),
    ("rename", ("sub", "sub/file"), errno.EINVAL),
    ("rename", ("sub", "sub/deeper"), errno.EINVAL),
    ("rename", ("sub", "link"), errno.ENOTDIR),
    ("rename", ("sub/file", "link"), None),
    ("rename", ("sub/file", "sub/file"), None),
    ("rename", ("", "x"), errno.EINVAL),
    ("rename", ("sub", "other"), None),
    ("rename", ("sub", "gone/sub"), errno.ENOENT),
    ("rename", ("sub", "pipe"), errno.ENOTDIR),
    ("link_or_copy", ("sub/file", "new"), None),
    ("link_or_copy", ("link", "new"), None),
    ("link_or_copy", ("dangling", "sub/new"), None),
    ("link_or_copy", ("pipe", "new"), None),
    ("link_or_copy", ("sub/file", "sub/file"), errno.EEXIST),
    ("link_or_copy", ("sub/file", "sub"), errno.EEXIST),
    ("link_or_copy", ("sub/file", "dangling"), errno.EEXIST),
    ("link_or_copy", ("sub", "new"), errno.EISDIR),
    ("link_or_copy", ("gone", "new"), errno.ENOENT),
    ("link_or_copy", ("sub/file", "gone/new"), errno.ENOENT),
    ("link_or_copy", ("link/secret", "new"), errno.ENOTDIR),
    ("link_or_copy", ("sub/file", "link/new"), errno.ENOTDIR),
    ("link_or_copy", ("", "new"), errno.EINVAL),
    ("link_or_copy", ("sub/file", "../new"), errno.EINVAL),
    ("system_path", ("sub/file",), None),
    ("system_path", ("sub",), errno.EINVAL),
    ("system_path", ("pipe",), errno.EINVAL),
    ("system_path", ("sub/filelink",), errno.EINVAL),
    ("system_path", ("link/secret",), errno.ENOTDIR),
    ("system_path", ("gone",), errno.ENOENT),
]


@pytest.mark.parametrize(("method", "args", "number"), REFUSED)
def test_errors(world: World, method: str, args: tuple[str, ...], number: int | None) -> None:
    with world.open() as folder:
        assert number_of(getattr(folder, method), *args) == number


@pytest.mark.parametrize("number", [errno.EISDIR])
def test_a_file_does_not_replace_an_empty_folder(world: World, number: int) -> None:
    with world.open() as folder:
        folder.make_folder("empty")
        assert number_of(folder.rename, "sub/file", "empty") == number
        folder.make_folder("full")
        folder.rename("sub", "full/sub")
        folder.rename("full", "empty")
        assert [entry.name for entry in folder.list("empty")] == ["sub"]
        assert not folder.exists("full")
        with folder.open("empty/sub/file", "read") as file:
            assert file.read_at(10, 0) == b"hello"


def test_links_are_followed_only_when_asked_to(world: World) -> None:
    with world.open() as folder:
        for name in ("link", "relative"):
            with folder.folder(name, follow=True) as outside:
                assert [entry.name for entry in outside.list()] == ["secret"]
        assert number_of(folder.folder, "dangling", follow=True) == errno.ENOENT
        assert number_of(folder.folder, "loop", follow=True) == errno.ELOOP
        assert number_of(folder.folder, "sub/filelink", follow=True) == errno.ENOTDIR
        assert not folder.exists("link/secret")
        assert not folder.exists("sub/file/x")
        assert folder.exists("dangling")
    with world.open("games/link") as outside:
        assert outside.exists("secret")
    assert number_of(world.open, "games/sub/file") == errno.ENOTDIR
    assert number_of(world.open, "nowhere") == errno.ENOENT


def test_what_is_open_outlives_its_name(world: World) -> None:
    with world.open() as folder, folder.open("sub/file", "write") as file:
        folder.remove_file("sub/file")
        file.write_at(b"still", 0)
        assert file.read_at(10, 0) == b"still"
        with folder.folder("sub") as below:
            below.remove_file("filelink")
            folder.remove_folder("sub")
            assert below.list() == []
            assert number_of(below.open, "new", "create") == errno.ENOENT
            assert number_of(below.make_folder, "new") == errno.ENOENT


def test_a_file_opened_to_read_is_not_written(world: World) -> None:
    with world.open() as folder, folder.open("sub/file", "read") as file:
        assert number_of(file.write_at, b"x", 0) == errno.EBADF
        assert number_of(file.truncate, 0) == errno.EINVAL
    assert number_of(file.read_at, 1, 0) == errno.EBADF
    assert number_of(folder.list) == errno.EBADF


def test_syncing_names_what_is_missing(world: World) -> None:
    with world.open() as folder:
        folder.sync_all(["sub/file"], ["sub", ""])
        assert number_of(folder.sync_all, ["sub/file", "gone"], []) == errno.ENOENT


def test_replacing_keeps_the_inode_of_what_came(world: World) -> None:
    with world.open() as folder:
        with folder.open("sub/new", "create") as file:
            file.write_at(b"new", 0)
            inode = file.entry().inode
        assert inode != folder.entry("sub/file").inode
        folder.rename("sub/new", "sub/file")
        assert folder.entry("sub/file").inode == inode
        assert folder.entry("sub/file").size == 3


def test_a_folder_is_renamed_with_all_that_is_in_it(world: World) -> None:
    with world.open() as folder, folder.folder("sub") as held, folder.open("sub/file", "read") as f:
        inode = folder.entry("sub").inode
        folder.make_folder("elsewhere")
        folder.rename("sub", "elsewhere/moved")
        assert not folder.exists("sub")
        assert folder.entry("elsewhere/moved").inode == inode
        assert f.read_at(10, 0) == b"hello"
        held.make_folder("new")
        assert {entry.name for entry in folder.list("elsewhere/moved")} == {
            "file", "filelink", "new",
        }  # fmt: skip


def test_a_second_name_is_the_same_file(world: World) -> None:
    with world.open() as folder:
        folder.link_or_copy("sub/file", "second")
        assert folder.entry("second").inode == folder.entry("sub/file").inode
        with folder.open("second", "write") as file:
            file.write_at(b"J", 0)
        with folder.open("sub/file", "read") as file:
            assert file.read_at(10, 0) == b"Jello"
        # Of two names of one file, a rename makes neither go.
        folder.rename("second", "sub/file")
        assert folder.exists("second")
        folder.remove_file("sub/file")
        with folder.open("second", "read") as file:
            assert file.read_at(10, 0) == b"Jello"
        folder.link_or_copy("link", "sub/link")
        assert folder.entry("sub/link").kind is Kind.LINK
        assert folder.entry("sub/link").size == folder.entry("link").size


def test_a_second_name_is_nothing_in_a_folder_that_is_gone(world: World) -> None:
    with world.open() as folder:
        folder.make_folder("empty")
        with folder.folder("empty") as held:
            held.make_folder("deep")
            folder.remove_folder("empty/deep")
            folder.remove_folder("empty")
            assert number_of(held.make_folder, "x") == errno.ENOENT
            assert folder.exists("sub/file")


def test_a_file_gets_the_time_that_an_archive_says(world: World) -> None:
    with world.open() as folder, folder.open("sub/new", "create") as file:
        file.write_at(b"x", 0)
        file.set_attributes(mtime_ns=1_000_000_000_000_000_100, executable=True)
        assert file.entry().mtime_ns == 1_000_000_000_000_000_100
        file.set_attributes(mtime_ns=None, executable=False)
        assert folder.entry("sub/new").mtime_ns == 1_000_000_000_000_000_100
        file.close()
        assert number_of(file.set_attributes, mtime_ns=1, executable=False) == errno.EBADF


# -- what only memory has -------------------------------------------------------------------------


def test_times_come_from_the_clock() -> None:
    now = 5
    files = MemoryFileSystem(lambda: now)
    files.write_file("/g/a", b"x")
    with files.open_folder("/g") as folder:
        assert folder.entry("a").mtime_ns == 5
        now = 6
        with folder.open("a", "write") as file:
            file.write_at(b"y", 0)
        assert folder.entry("a").mtime_ns == 6
        assert folder.entry().mtime_ns == 5
        now = 7
        folder.make_folder("b")
        assert folder.entry().mtime_ns == 7


def test_a_full_disk_and_its_space() -> None:
    files = MemoryFileSystem(capacity_bytes=100)
    files.write_file("/g/a", bytes(60))
    with files.open_folder("/g") as folder, folder.open("b", "create") as file:
        assert folder.free_bytes() == 40
        assert number_of(file.write_at, bytes(41), 0) == errno.ENOSPC
        file.write_at(bytes(40), 0)
        assert number_of(file.truncate, 41) == errno.ENOSPC
        folder.rename("b", "a")
        assert folder.free_bytes() == 60
        folder.remove_file("a")
        assert folder.free_bytes() == 100
        file.write_at(bytes(1_000), 0)
        assert folder.free_bytes() == 100


def test_a_second_name_takes_no_space() -> None:
    files = MemoryFileSystem(capacity_bytes=100)
    files.write_file("/g/a", bytes(60))
    with files.open_folder("/g") as folder:
        folder.make_folder("below")
        folder.link_or_copy("a", "below/b")
        assert folder.free_bytes() == 40
        files.restore(files.snapshot())
    with files.open_folder("/g") as folder:
        assert folder.free_bytes() == 40
        assert folder.entry("a").inode == folder.entry("below/b").inode
        with folder.open("a", "write") as file:
            folder.remove_file("a")
            assert folder.free_bytes() == 40
            file.write_at(bytes(70), 0)
            assert folder.free_bytes() == 30
            files.discard("/g/below")
            assert folder.free_bytes() == 100


def test_a_disk_without_second_names_copies() -> None:
    files = MemoryFileSystem(capacity_bytes=100, hard_links=False)
    files.write_file("/g/a", bytes(40), mtime_ns=7)
    files.make_link("/g/link", "a")
    with files.open_folder("/g") as folder:
        folder.link_or_copy("a", "b")
        folder.link_or_copy("link", "link2")
        assert folder.free_bytes() == 20
        assert folder.entry("a").inode != folder.entry("b").inode
        assert folder.entry("b").mtime_ns == 7
        assert folder.entry("link2").kind is Kind.LINK
        assert number_of(folder.link_or_copy, "a", "c") == errno.ENOSPC
        files.lose_power(CONTENTS_LOST)
    assert files.read_tree("/g") == {"a": bytes(40), "b": b"", "c": b""}


def test_programs_are_told_from_other_files() -> None:
    files = MemoryFileSystem()
    files.write_tree("/g", {"run": b"", "read": b""})
    with files.open_folder("/g") as folder, folder.open("run", "write") as file:
        file.set_attributes(mtime_ns=None, executable=True)
    assert files.is_executable("/g/run")
    assert not files.is_executable("/g/read")
    assert not files.is_executable("/g")


def test_a_snapshot_brings_everything_back() -> None:
    files = MemoryFileSystem(capacity_bytes=1_000)
    files.write_tree("/g", {"a/b": b"1", "c": b"22"})
    files.make_link("/g/link", "c")
    snapshot = files.snapshot()
    with files.open_folder("/g") as folder, folder.open("c", "write") as held:
        inode = folder.entry("c").inode
        held.write_at(b"changed", 0)
        folder.remove_file("a/b")
        for _ in range(2):
            files.restore(snapshot)
            held.write_at(b"from the past, and long", 0)
            assert files.read_tree("/g") == {"a/b": b"1", "c": b"22"}
            with files.open_folder("/g") as again:
                assert again.entry("c").inode == inode
                assert again.entry("link").kind is Kind.LINK
                assert again.free_bytes() == 997
