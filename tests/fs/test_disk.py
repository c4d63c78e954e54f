"""No name reaches outside a folder, and no link below it is followed."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lanspread.fs import disk_copy, sync_disk
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.disk_paths import PathFolder
from lanspread.seams import Folder, Kind
from tests.fs.support import open_descriptors, write_tree

Opener = Callable[[str], Folder]


@pytest.fixture(params=["descriptors", "paths"])
def opener(request: pytest.FixtureRequest) -> Opener:
    return DiskFileSystem().open_folder if request.param == "descriptors" else PathFolder.open_root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with links that lead out of it."""
    write_tree(tmp_path, {"outside/secret": b"secret", "games/sub/file": b"hello"})
    games = tmp_path / "games"
    (games / "link").symlink_to(tmp_path / "outside")
    (games / "sub" / "filelink").symlink_to(tmp_path / "outside" / "secret")
    (games / "dangling").symlink_to(tmp_path / "nowhere")
    return games


def test_reads_and_writes(opener: Opener, tree: Path) -> None:
    with opener(str(tree)) as folder:
        with folder.open("sub/file", "write") as file:
            assert file.read_at(100, 1) == b"ello"
            file.write_at(memoryview(b"J"), 0)
            buffer = bytearray(b"......")
            assert file.read_into(memoryview(buffer), 1) == 4
            assert buffer == b"ello.."
            assert file.read_into(memoryview(buffer)[:2], 0) == 2
            assert buffer == b"Jelo.."
            assert file.read_into(memoryview(buffer), 5) == 0
            file.truncate(3)
            file.sync()
            assert file.entry().size == 3
        with folder.open("sub/file", "create") as file:
            assert file.read_at(100, 0) == b"Jel"
        with folder.open("sub/made", "new") as file:
            file.write_at(b"made", 0)
            file.start_sync(0, 4)
            assert file.entry().name == "made"
        assert folder.entry("sub/made").size == 4
        for there in ("sub/made", "sub/filelink", "dangling", "sub"):
            with pytest.raises(FileExistsError):
                folder.open(there, "new")
        folder.remove_file("sub/made")
        folder.make_folder("sub/new")
        folder.make_folder("sub/new")
        folder.rename("sub/file", "sub/new/moved")
        assert not folder.exists("sub/file")
        assert folder.exists("sub/new/moved")
        folder.sync_folder("sub/new")
        folder.sync_all(["sub/new/moved"], ["sub", ""])
        with pytest.raises(OSError, match="not empty"):
            folder.remove_folder("sub/new")
        folder.remove_file("sub/new/moved")
        folder.remove_folder("sub/new")
        assert folder.free_bytes() > 0
        with folder.folder("sub") as below:
            assert {entry.name: entry.kind for entry in below.list()} == {"filelink": Kind.LINK}
        with pytest.raises(FileNotFoundError):
            folder.open("gone", "write")
        with pytest.raises(FileExistsError):
            folder.make_folder("link")


@pytest.mark.parametrize("name", ["../outside/secret", "/etc/passwd", "sub/../../x", "a//b", "."])
def test_names_stay_inside(opener: Opener, tree: Path, name: str) -> None:
    with opener(str(tree)) as folder:
        for call in (folder.entry, folder.exists, folder.make_folder, folder.remove_file):
            with pytest.raises(OSError, match="not a name"):
                call(name)
        with pytest.raises(OSError, match="not a name"):
            folder.open(name, "create")
        with pytest.raises(OSError, match="not a name"):
            folder.folder(name, follow=True)


@pytest.mark.parametrize("name", ["nul\0", "lone\ud800"])
def test_odd_names_are_an_oserror(opener: Opener, tree: Path, name: str) -> None:
    with opener(str(tree)) as folder, pytest.raises(OSError, match="not a name"):
        folder.open(name, "create")


def test_links_are_not_followed(opener: Opener, tree: Path) -> None:
    with opener(str(tree)) as folder:
        for name in ("link/secret", "sub/filelink", "dangling"):
            for mode in ("read", "write", "create"):
                with pytest.raises(OSError, match=r"."):
                    folder.open(name, mode)
        for call in (folder.list, folder.folder, folder.sync_folder):
            with pytest.raises(OSError, match=r"."):
                call("link")
        with pytest.raises(OSError, match=r"."):
            folder.make_folder("link/new")
        with pytest.raises(OSError, match=r"."):
            folder.rename("sub/file", "link/stolen")
        with pytest.raises(OSError, match=r"."):
            folder.remove_file("link/secret")
        assert not folder.exists("link/secret")
        assert folder.entry("link").kind is Kind.LINK
        with folder.folder("link", follow=True) as outside:
            assert [entry.name for entry in outside.list()] == ["secret"]
    assert not (tree / ".." / "nowhere").exists()
    assert (tree / ".." / "outside" / "secret").read_bytes() == b"secret"


def test_special_files_do_not_hang(opener: Opener, tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tree / "sock"))
        before = open_descriptors()
        with opener(str(tree)) as folder:
            for name in ("fifo", "sock", "sub"):
                for mode in ("read", "write"):
                    with pytest.raises(OSError, match=r"."):
                        folder.open(name, mode)
            assert folder.entry("fifo").kind is Kind.OTHER
        assert open_descriptors() == before


def test_names_that_are_not_unicode(opener: Opener, tree: Path) -> None:
    (tree / os.fsdecode(b"bad\xff")).write_bytes(b"x")
    with opener(str(tree)) as folder:
        name = next(entry.name for entry in folder.list() if entry.name.startswith("bad"))
        with folder.open(name, "read") as file:
            assert file.read_at(10, 0) == b"x"


def test_many_files_are_synced_at_once(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(sync_disk.MANY)]
    write_tree(tmp_path, dict.fromkeys(names, b"x"))
    with DiskFileSystem().open_folder(str(tmp_path)) as folder:
        folder.sync_all(names, [""])


def test_a_failing_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> bool:
        raise OSError(5, "lost")

    monkeypatch.setattr(sync_disk, "sync_whole", broken)
    names = [f"f{number}" for number in range(sync_disk.MANY)]
    write_tree(tmp_path, dict.fromkeys(names, b"x"))
    with (
        DiskFileSystem().open_folder(str(tmp_path)) as folder,
        pytest.raises(OSError, match="lost"),
    ):
        folder.sync_all(names, [""])


def test_a_file_that_is_gone_fails_the_sync(opener: Opener, tree: Path) -> None:
    with opener(str(tree)) as folder, pytest.raises(FileNotFoundError):
        folder.sync_all(["sub/file", "gone"], [])


def test_closing_leaves_nothing_open(opener: Opener, tree: Path) -> None:
    before = open_descriptors()
    folder = opener(str(tree))
    folder.list("sub")
    folder.entry("sub/file")
    folder.close()
    folder.close()
    assert open_descriptors() == before


def test_a_replaced_folder_is_gone(tree: Path) -> None:
    folder = PathFolder.open_root(str(tree / "sub"))
    (tree / "sub").rename(tree / "elsewhere")
    (tree / "sub").mkdir()
    with pytest.raises(FileNotFoundError):
        folder.list()


# -- second names, and copies where there are none -------------------------------------------------


def no_second_names(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP])
def test_a_copy_where_there_is_no_second_name(
    opener: Opener, tree: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    no_second_names(monkeypatch, number)
    (tree / "sub/file").write_bytes(b"hello" * 500_000)
    (tree / "sub/file").chmod(0o750)
    os.utime(tree / "sub/file", ns=(5, 1_600_000_000_000_000_100))
    before = open_descriptors()
    with opener(str(tree)) as folder:
        folder.link_or_copy("sub/file", "copy")
        assert folder.entry("copy").inode != folder.entry("sub/file").inode
        assert folder.entry("copy").mtime_ns == 1_600_000_000_000_000_100
        folder.link_or_copy("dangling", "sub/dangling")
        for source in ("sub/file", "link"):
            with pytest.raises(FileExistsError):
                folder.link_or_copy(source, "dangling")
    assert open_descriptors() == before
    assert (tree / "copy").read_bytes() == b"hello" * 500_000
    assert (tree / "copy").stat().st_mode & 0o7777 == 0o750
    assert os.readlink(tree / "sub/dangling") == os.readlink(tree / "dangling")


def test_no_copy_of_what_is_no_file(
    opener: Opener, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as unix, opener(str(tree)) as folder:
        unix.bind(str(tree / "sock"))
        folder.link_or_copy("fifo", "second")
        assert folder.entry("second").kind is Kind.OTHER
        no_second_names(monkeypatch, errno.EPERM)
        before = open_descriptors()
        for name in ("fifo", "sock"):
            with pytest.raises(OSError, match=r"."):
                folder.link_or_copy(name, "copy")
        assert open_descriptors() == before
    assert not (tree / "copy").exists()


def test_other_errors_make_no_copy(
    opener: Opener, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_second_names(monkeypatch, errno.EIO)
    with opener(str(tree)) as folder, pytest.raises(OSError, match="Input/output"):
        folder.link_or_copy("sub/file", "copy")
    assert not (tree / "copy").exists()


def test_a_copy_that_fails_leaves_nothing(
    opener: Opener, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: int, target: int) -> None:
        os.write(target, b"half")
        raise OSError(errno.ENOSPC, "full")

    no_second_names(monkeypatch, errno.EXDEV)
    monkeypatch.setattr(disk_copy, "_copy_bytes", full)
    before = open_descriptors()
    with opener(str(tree)) as folder, pytest.raises(OSError, match="full"):
        folder.link_or_copy("sub/file", "copy")
    assert open_descriptors() == before
    assert not (tree / "copy").exists()


def test_the_path_for_a_library(opener: Opener, tree: Path) -> None:
    with opener(str(tree)) as folder:
        path = folder.system_path("sub/file")
        assert path is not None
        assert Path(path).read_bytes() == b"hello"


def test_the_path_for_a_library_stays_in_the_folder_that_is_open(tree: Path) -> None:
    with DiskFileSystem().open_folder(str(tree / "sub")) as folder:
        path = folder.system_path("file")
        (tree / "sub").rename(tree / "away")
        write_tree(tree, {"sub/file": b"another"})
        assert path is not None
        assert Path(path).read_bytes() == b"hello"


def test_programs_can_be_run_by_whoever_reads_them(opener: Opener, tree: Path) -> None:
    path = tree / "sub/file"
    with opener(str(tree)) as folder, folder.open("sub/file", "write") as file:
        for before, executable, after in (
            (0o640, True, 0o750),
            (0o666, True, 0o777),
            (0o4755, True, 0o755),
            (0o755, False, 0o644),
        ):
            path.chmod(before)
            file.set_attributes(mtime_ns=None, executable=executable)
            assert path.stat().st_mode & 0o7777 == after


def test_a_folder_like_another(opener: Opener, tree: Path) -> None:
    (tree / "sub").chmod(0o2770)
    before = os.umask(0o077)
    try:
        with opener(str(tree)) as folder:
            folder.make_folder("new", like="sub")
            # What is there stays as it is.
            (tree / "sub").chmod(0o700)
            folder.make_folder("new", like="sub")
            folder.make_folder("plain")
            with pytest.raises(FileNotFoundError):
                folder.make_folder("other", like="nowhere")
    finally:
        os.umask(before)
    assert (tree / "new").stat().st_mode & 0o7777 == 0o770
    assert (tree / "plain").stat().st_mode & 0o7777 == 0o700
    assert not (tree / "other").exists()


@pytest.mark.parametrize("mtime_ns", [2**80, -(2**80), -1, 0, 2**63 - 1])
def test_times_that_no_file_can_have_are_no_error(
    opener: Opener, tree: Path, mtime_ns: int
) -> None:
    with opener(str(tree)) as folder, folder.open("sub/file", "write") as file:
        file.set_attributes(mtime_ns=mtime_ns, executable=False)
        assert file.read_at(10, 0) == b"hello"
