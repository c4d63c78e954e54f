"""No name reaches outside a folder, and no link below it is followed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lanspread.fs import sync_disk
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
            file.truncate(3)
            file.sync()
            assert file.entry().size == 3
        with folder.open("sub/file", "create") as file:
            assert file.read_at(100, 0) == b"Jel"
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
