"""What somebody else does to a game's folder, and to the disk, while it is installed or updated."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.errors import CannotKeep, FileChanged, InTheWay, Stopped
from lanspread.fs.install.install import install
from lanspread.fs.install.recovery import recover
from lanspread.fs.install.uninstall import uninstall
from lanspread.fs.install.update import update
from lanspread.seams import Folder, Kind
from lanspread.testing import FaultyFileSystem, MemoryFileSystem
from tests.fs.install.support import (
    PATH,
    Counter,
    files_in,
    new_files,
    open_fake,
    opener,
    own_names,
    put_game,
)


@pytest.fixture
def files() -> MemoryFileSystem:
    files = new_files()
    put_game(files)
    return files


@pytest.fixture
def game(tmp_path: Path) -> Path:
    put(tmp_path, 1)
    return tmp_path


@pytest.fixture
def folder(game: Path) -> Iterator[Folder]:
    with DiskFileSystem().open_folder(str(game)) as folder:
        yield folder


def put(game: Path, version: int) -> None:
    (game / "version.ini").write_bytes(b"%d.0\n" % version)
    (game / "game.eti").write_bytes({1: b"one", 2: b"two"}[version])


@pytest.mark.parametrize("act", ["update", "uninstall"])
def test_another_folder_is_at_local_before_that_is_renamed(
    files: MemoryFileSystem, act: str
) -> None:
    """Between the look at it and the rename; what is put there is whole and the user's."""
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    put_game(files, 2)
    theirs = {"game.exe": b"theirs", "saves/one": b"hours"}

    def swap(step: object) -> None:
        if ".lanspread.json.tmp ->" not in str(step):
            return
        with files.open_folder(PATH) as folder:
            if folder.exists("taken"):
                return
            folder.rename("local", "taken")
            for path, data in theirs.items():
                files.write_file(f"{PATH}/local/{path}", data)

    with FaultyFileSystem(files, on_step=swap).open_folder(PATH) as faulty:
        with pytest.raises(FileChanged, match="local"):
            update(faulty, open_fake) if act == "update" else uninstall(faulty)
        assert recover(faulty).blocked is None
        assert files_in(faulty, "local") == theirs


@pytest.mark.parametrize("instead", ["link", "file", "folder", "nothing"])
@pytest.mark.parametrize("act", ["update", "uninstall"])
def test_something_else_is_at_local_when_that_is_renamed(
    files: MemoryFileSystem, act: str, instead: str
) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    put_game(files, 2)
    local = f"{PATH}/local"

    def swap(step: object) -> None:
        if instead == "nothing" and ".lanspread.json.tmp ->" in str(step):
            files.discard(local)
        elif instead != "nothing" and str(step).endswith(f"{local} -> {PATH}/.local.backup)"):
            files.discard(local)
            match instead:
                case "link":
                    files.make_link(local, "/elsewhere")
                case "file":
                    files.write_file(local, b"theirs")
                case "folder":
                    files.write_file(f"{local}/theirs", b"theirs")

    with FaultyFileSystem(files, on_step=swap).open_folder(PATH) as faulty:
        with pytest.raises(FileChanged, match="local"):
            update(faulty, open_fake) if act == "update" else uninstall(faulty)
        recovery = recover(faulty)
        assert recovery.blocked is None
        assert set(own_names(faulty)) <= {".lanspread"}
        match instead:
            case "link":
                assert faulty.entry("local").kind is Kind.LINK
            case "file":
                assert faulty.entry("local").kind is Kind.FILE
            case "folder":
                assert files_in(faulty, "local") == {"theirs": b"theirs"}
            case _:
                assert not faulty.exists("local")


def test_a_full_disk_is_no_reason_not_to_uninstall(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    faulty = FaultyFileSystem(files)
    faulty.fail(errno.ENOSPC, operations={"truncate", "write_at"})
    with faulty.open_folder(PATH) as full:
        assert uninstall(full).version == "1.0"
        assert own_names(full) == []
        assert not full.exists("local")
    assert faulty.failures


@pytest.mark.parametrize("instead", ["folder", "pipe", "link"])
def test_no_record_is_needed_to_uninstall(game: Path, folder: Folder, instead: str) -> None:
    install(folder, open_fake)
    record = game / ".lanspread/install.json"
    record.unlink()
    match instead:
        case "folder":
            record.mkdir()
        case "pipe":
            os.mkfifo(record)
        case _:
            record.symlink_to("/elsewhere")
    put(game, 2)
    with pytest.raises(InTheWay, match=r"install\.json"):
        update(folder, opener({}))
    assert own_names(folder) == [".lanspread"]
    assert uninstall(folder).version == ""
    assert not (game / "local").exists()
    assert os.path.lexists(record)
    with pytest.raises(InTheWay, match=r"install\.json"):
        install(folder, opener({}))


@pytest.mark.parametrize("instead", ["file", "link"])
def test_a_folder_of_ours_that_is_none(game: Path, folder: Folder, instead: str) -> None:
    install(folder, open_fake)
    (game / ".lanspread").rename(game / "moved")
    if instead == "file":
        (game / ".lanspread").touch()
    else:
        (game / ".lanspread").symlink_to(game / "moved")
    put(game, 2)
    with pytest.raises(InTheWay, match=r"^\.lanspread is"):
        update(folder, opener({}))
    assert own_names(folder) == [".lanspread"]
    assert uninstall(folder).version == ""
    with pytest.raises(InTheWay, match=r"^\.lanspread is"):
        install(folder, opener({}))
    assert (game / "moved/install.json").exists()


def test_a_pipe_stops_an_update_before_anything_is_unpacked(game: Path, folder: Folder) -> None:
    install(folder, open_fake)
    os.mkfifo(game / "local/pipe")
    put(game, 2)
    watch = Counter()
    with pytest.raises(CannotKeep, match="pipe"):
        update(folder, open_fake, watch)
    assert watch.expected is None
    assert own_names(folder) == [".lanspread"]


def test_no_empty_folder_stays_of_an_install_that_was_stopped(game: Path, folder: Folder) -> None:
    at = 0
    stopped = 0
    while True:
        try:
            install(folder, open_fake, Counter(stop_at=at))
        except Stopped:
            stopped += 1
            recover(folder)
            assert own_names(folder) == []
        else:
            break
        at += 1
    assert stopped > 5
