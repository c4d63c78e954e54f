"""Install, update and uninstall as a user meets them, on a real disk."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lanspread import limits
from lanspread.fs.archives.members import ArchiveDamaged
from lanspread.fs.archives.rar_headers import RAR4_SIGNATURE
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.errors import (
    CannotKeep,
    FileChanged,
    FolderNotEmpty,
    InTheWay,
    NoSpace,
    NotDownloaded,
    NothingToInstall,
    NotInstalled,
    UnsafePath,
)
from lanspread.fs.install.install import install
from lanspread.fs.install.record import read_install_record
from lanspread.fs.install.recovery import recover
from lanspread.fs.install.uninstall import uninstall
from lanspread.fs.install.update import update
from lanspread.seams import Folder
from lanspread.testing import FaultyFileSystem, MemoryFileSystem
from tests.fs.install.support import (
    PATH,
    V1,
    V2,
    Counter,
    contents,
    files_in,
    installed_file,
    new_files,
    open_fake,
    opener,
    own_names,
    put_game,
    tree,
)
from tests.fs.support import RecordingFolder, download, open_descriptors


@pytest.fixture
def game(tmp_path: Path) -> Path:
    path = tmp_path / "g"
    path.mkdir()
    put(path, 1)
    return path


@pytest.fixture
def folder(game: Path) -> Iterator[Folder]:
    before = open_descriptors()
    with DiskFileSystem().open_folder(str(game)) as folder:
        yield folder
    assert open_descriptors() == before


def put(game: Path, version: int) -> None:
    (game / "version.ini").write_bytes(b"%d.0\n" % version)
    (game / "game.eti").write_bytes({1: b"one", 2: b"two"}[version])


def local(folder: Folder) -> dict[str, bytes] | None:
    return files_in(folder, "local")


def test_an_install(game: Path, folder: Folder) -> None:
    watch = Counter()
    done = install(folder, open_fake, watch)
    assert (done.version, done.changed, done.kept, done.left) == ("1.0", True, (), ())
    assert local(folder) == dict(sorted(contents(V1).items()))
    assert (game / "local/empty").is_dir()
    assert (game / "local/game.exe").stat().st_mode & stat.S_IXUSR
    assert not (game / "local/config.ini").stat().st_mode & stat.S_IXUSR
    assert (game / "local/game.exe").stat().st_mtime_ns == 1_000_000_000
    assert own_names(folder) == [".lanspread"]
    record = read_install_record(folder)
    assert record is not None
    assert record.version == "1.0"
    assert record.files == {path: installed_file(data) for path, data in contents(V1).items()}
    assert watch.done == watch.expected == sum(map(len, contents(V1).values()))


def test_an_install_of_what_is_installed_is_done_at_once(game: Path, folder: Folder) -> None:
    install(folder, open_fake)

    def no_opener(folder: Folder, name: str) -> object:
        raise AssertionError("nothing is to be opened")

    done = install(folder, no_opener)  # type: ignore[arg-type]
    assert (done.version, done.changed) == ("1.0", False)
    assert update(folder, no_opener).changed is False  # type: ignore[arg-type]
    # Another spelling of the same version.
    (game / "version.ini").write_bytes(b"1.00\n")
    assert update(folder, no_opener).changed is False  # type: ignore[arg-type]


def test_an_install_over_an_older_one_is_an_update(game: Path, folder: Folder) -> None:
    install(folder, open_fake)
    (game / "local/save").write_bytes(b"saved")
    put(game, 2)
    done = install(folder, open_fake)
    assert (done.version, done.kept) == ("2.0", ("save",))


def test_an_update_keeps_what_the_user_made(game: Path, folder: Folder) -> None:
    install(folder, open_fake)
    inner = game / "local"
    (inner / "saves").mkdir()
    (inner / "saves/slot1").write_bytes(b"hours")
    (inner / "screenshots").mkdir()
    (inner / "config.ini").write_bytes(b"mine")
    (inner / "game.exe").write_bytes(b"patched")
    (inner / "data/level").unlink()
    (inner / "link").symlink_to("saves/slot1")
    inode = (inner / "saves/slot1").stat().st_ino
    put(game, 2)
    watch = Counter()
    done = update(folder, open_fake, watch)
    assert done.kept == (
        "config.ini",
        "game.exe.before-update",
        "link",
        "saves/slot1",
        "screenshots",
    )
    assert local(folder) == {
        "config.ini": b"mine",
        "data/level": b"level 2",
        "game.exe": b"program 2",
        "game.exe.before-update": b"patched",
        "more/new": b"new in 2",
        "saves/slot1": b"hours",
    }
    assert (inner / "screenshots").is_dir()
    assert os.readlink(inner / "link") == "saves/slot1"
    assert (inner / "saves/slot1").stat().st_ino == inode
    assert own_names(folder) == [".lanspread"]
    assert watch.expected is not None
    assert 0 < watch.done <= watch.expected
    # The next update knows what is the user's.
    (inner / "config.ini").write_bytes(b"mine again")
    put(game, 1)
    assert "config.ini" in update(folder, open_fake).kept
    assert (inner / "config.ini").read_bytes() == b"mine again"
    assert (inner / "game.exe.before-update").read_bytes() == b"patched"


def test_a_link_and_a_file_that_nobody_may_read(game: Path, folder: Folder) -> None:
    """A link in the place of a file that the new version does not change; a locked save."""
    install(folder, open_fake)
    outside = game.parent / "my settings"
    outside.write_bytes(b"mine")
    (game / "local/config.ini").unlink()
    (game / "local/config.ini").symlink_to(outside)
    (game / "local/save").write_bytes(b"saved")
    (game / "local/save").chmod(0)
    put(game, 2)
    assert update(folder, open_fake).kept == ("config.ini", "save")
    assert os.readlink(game / "local/config.ini") == str(outside)
    (game / "local/save").chmod(0o600)
    assert (game / "local/save").read_bytes() == b"saved"
    assert outside.read_bytes() == b"mine"


def test_an_update_without_a_record(game: Path, folder: Folder) -> None:
    install(folder, open_fake)
    (game / ".lanspread/install.json").write_bytes(b"{")
    put(game, 2)
    done = update(folder, open_fake)
    assert done.kept == (
        "data/level.before-update", "data/old", "empty", "game.exe.before-update",
    )  # fmt: skip


def test_an_update_of_what_is_not_installed(folder: Folder) -> None:
    with pytest.raises(NotInstalled):
        update(folder, open_fake)
    with pytest.raises(NotInstalled):
        uninstall(folder)


@pytest.mark.parametrize("act", [install, update])
def test_a_game_that_is_not_downloaded(game: Path, folder: Folder, act: object) -> None:
    install(folder, open_fake)
    (game / "version.ini").unlink()
    with pytest.raises(NotDownloaded):
        act(folder, open_fake)  # type: ignore[operator]
    (game / "version.ini").mkdir()
    with pytest.raises(NotDownloaded):
        act(folder, open_fake)  # type: ignore[operator]
    assert local(folder) == dict(sorted(contents(V1).items()))


def test_a_local_that_is_a_link_is_nobodys_to_replace(game: Path, folder: Folder) -> None:
    other = game.parent / "other"
    other.mkdir()
    (game / "local").symlink_to(other)
    for act in (lambda: install(folder, open_fake), lambda: uninstall(folder)):
        with pytest.raises(InTheWay):
            act()
    assert (game / "local").is_symlink()
    assert own_names(folder) in ([], [".lanspread"])


def test_a_game_without_archives(game: Path, folder: Folder) -> None:
    (game / "game.eti").unlink()
    with pytest.raises(NothingToInstall):
        install(folder, open_fake)
    assert own_names(folder) == []


def test_only_what_was_downloaded_is_installed(tmp_path: Path) -> None:
    game = tmp_path / "h"
    game.mkdir()
    with DiskFileSystem().open_folder(str(game)) as folder:
        download(folder, {"version.ini": b"1.0\n", "game.eti": b"one"})
        (game / "old.eti").write_bytes(b"two")
        install(folder, open_fake)
        assert local(folder) == dict(sorted(contents(V1).items()))
        (game / "game.eti").unlink()
        put_back = (game / "version.ini").read_bytes().replace(b"1", b"2")
        (game / "version.ini").write_bytes(put_back)
        with pytest.raises(FileChanged):
            update(folder, open_fake)


def test_several_archives_in_the_order_of_their_names(game: Path, folder: Folder) -> None:
    for name in ("a.eti", "B.eti", "game.eti"):
        (game / name).write_bytes(name.encode())
    archives = {
        "a.eti": {"x": b"a", "Data/one": b"a"},
        "B.eti": {"x": b"b", "data/two": b"b"},
        "game.eti": {"X": b"g", "data/one": b"g"},
    }
    install(folder, opener(archives))
    assert local(folder) == {"Data/one": b"g", "Data/two": b"b", "x": b"g"}


def test_volumes_are_not_opened_by_themselves(game: Path, folder: Folder) -> None:
    for number in range(1, 12):
        (game / f"game.part{number}.eti").write_bytes(RAR4_SIGNATURE)
    (game / "game.eti").unlink()
    names = [f"game.part{number}.eti" for number in range(1, 12)]
    opened = []

    def open_set(folder: Folder, name: str) -> object:
        opened.append(name)
        archive = opener({name: {"x": b"1"}})(folder, name)
        archive.volumes = names  # type: ignore[misc]
        return archive

    install(folder, open_set)  # type: ignore[arg-type]
    assert opened == ["game.part1.eti"]
    uninstall(folder)
    # One that the set does not use: the one before it is missing.
    (game / "game.part13.eti").write_bytes(RAR4_SIGNATURE)
    with pytest.raises(ArchiveDamaged, match="part13"):
        install(folder, open_set)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", ["../evil", "/evil", "a/../../evil", "C:/evil", "con", "x/.", ".lanspread_owned", "a\\b"]
)
def test_a_hostile_name_touches_nothing(game: Path, folder: Folder, bad: str) -> None:
    install(folder, open_fake)
    put(game, 2)
    before = tree(folder, "")
    with pytest.raises(UnsafePath):
        update(folder, opener({"game.eti": {"fine": b"1", bad: b"evil"}}))
    assert tree(folder, "") == before


def test_an_archive_that_is_cut_off(game: Path, folder: Folder) -> None:
    install(folder, open_fake)
    before = tree(folder, "")
    put(game, 2)
    with pytest.raises(ArchiveDamaged):
        update(folder, opener({"game.eti": V2}, cut_off=True))
    assert recover(folder).repaired == (
        "an interrupted update was undone: the installed game is the one of before",
    )
    put(game, 1)
    assert tree(folder, "") == before


@pytest.mark.parametrize("lies_by", [-1, 1])
def test_an_archive_that_lies_about_sizes(game: Path, folder: Folder, lies_by: int) -> None:
    with pytest.raises(ArchiveDamaged, match=r"game\.exe"):
        install(folder, opener({"game.eti": V1}, lies_by=lies_by))
    recover(folder)
    assert own_names(folder) == [".lanspread"] or own_names(folder) == []
    assert not (game / "local").exists()


def test_a_socket_is_named_and_nothing_is_changed(game: Path, folder: Folder) -> None:
    install(folder, open_fake)
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(game / "local/data")
        try:
            server.bind("sock")
        finally:
            os.chdir("/")
    put(game, 2)
    with pytest.raises(CannotKeep, match="data/sock"):
        update(folder, open_fake)
    recover(folder)
    assert local(folder) == dict(sorted(contents(V1).items()))


def test_a_name_of_ours_that_the_user_gave_to_a_file(game: Path, folder: Folder) -> None:
    install(folder, open_fake)
    (game / "local/.lanspread_owned").write_bytes(b"mine")
    put(game, 2)
    with pytest.raises(CannotKeep, match="lanspread_owned"):
        update(folder, open_fake)
    # An empty one is ours, from some crash, and must not be taken for a commit.
    (game / "local/.lanspread_owned").write_bytes(b"")
    update(folder, open_fake)
    assert local(folder) == dict(sorted(contents(V2).items()))


def test_an_uninstall(game: Path, folder: Folder) -> None:
    install(folder, open_fake)
    (game / "local/save").write_bytes(b"saved")
    watch = Counter()
    assert uninstall(folder, watch).version == "1.0"
    assert sorted(os.listdir(game)) == ["game.eti", "version.ini"]
    assert watch.done == watch.expected == sum(map(len, contents(V1).values())) + 5


# -- in memory, where more can go wrong ------------------------------------------------------------


@pytest.fixture
def files() -> MemoryFileSystem:
    files = new_files()
    put_game(files)
    return files


def test_a_full_disk_is_found_out_before(files: MemoryFileSystem) -> None:
    small = MemoryFileSystem(capacity_bytes=limits.MIB)
    put_game(small)
    with small.open_folder(PATH) as folder:
        with pytest.raises(NoSpace) as caught:
            install(folder, open_fake)
        assert caught.value.needed > limits.MIB > caught.value.free
        assert own_names(folder) == []


def test_a_disk_that_becomes_full(files: MemoryFileSystem) -> None:
    faulty = FaultyFileSystem(files)
    faulty.fail(errno.ENOSPC, operations={"write_at"}, path="*/.local*")
    with faulty.open_folder(PATH) as folder:
        with pytest.raises(OSError, match="No space"):
            install(folder, open_fake)
        assert recover(folder).blocked is None
        assert own_names(folder) == []
        faulty.heal()
        install(folder, open_fake)


def test_a_file_that_changes_while_the_update_runs(files: MemoryFileSystem) -> None:
    """A game that is running saves, after its save was looked at."""
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    files.write_file(f"{PATH}/local/save", b"saved")
    put_game(files, 2)

    def save_again(step: object) -> None:
        if "sync_all" in str(step) and not saved:
            saved.append(True)
            files.write_file(f"{PATH}/local/{name}", data)

    for name, data in (("save", b"SAVED"), ("new", b"n"), ("config.ini", b"new!")):
        saved: list[bool] = []
        faulty = FaultyFileSystem(files, on_step=save_again)
        with faulty.open_folder(PATH) as faulty_folder:
            with pytest.raises(FileChanged, match=name):
                update(faulty_folder, open_fake)
            assert recover(faulty_folder).blocked is None
            assert (files_in(faulty_folder, "local") or {})[name] == data
    with files.open_folder(PATH) as folder:
        assert update(folder, open_fake).kept == ("config.ini", "new", "save")


def test_a_local_that_somebody_makes_in_the_middle(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    files.write_file(f"{PATH}/local/save", b"saved")
    put_game(files, 2)

    def make(step: object) -> None:
        if str(step).endswith(f"{PATH}/.local.installing -> {PATH}/local)"):
            files.write_file(f"{PATH}/local/new", b"by somebody")

    with FaultyFileSystem(files, on_step=make).open_folder(PATH) as faulty:
        with pytest.raises(OSError, match="not empty"):
            update(faulty, open_fake)
        before = tree(faulty, "")
        assert ".local.backup" in (recover(faulty).blocked or "")
        assert tree(faulty, "") == before
        # A person moves it away, and all is as it was.
        files.discard(f"{PATH}/local")
        assert recover(faulty).blocked is None
        assert (files_in(faulty, "local") or {})["save"] == b"saved"


class Locked(RecordingFolder):
    """Nobody may open a save, not even to sync it."""

    def sync_all(self, files: Sequence[str], folders: Sequence[str]) -> None:
        super().sync_all(files, folders)
        if any(rel.endswith("/save") for rel in files):
            raise PermissionError(errno.EACCES, "Permission denied")


def test_a_save_that_may_not_be_opened_is_taken_along(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
        files.write_file(f"{PATH}/local/save", b"saved")
        put_game(files, 2)
        locked = Locked(folder, [])
        assert update(locked, open_fake).kept == ("save",)
    assert any(call[0] == "sync_all" and "save" in call[1] for call in locked.log)


@pytest.mark.parametrize(
    ("operation", "error", "raised"),
    [
        ("link_or_copy", errno.EACCES, CannotKeep),
        ("link_or_copy", errno.ENAMETOOLONG, CannotKeep),
        ("link_or_copy", errno.ENOSPC, OSError),
        ("open", errno.EACCES, CannotKeep),
        ("open", errno.ENOENT, FileChanged),
        ("list", errno.EACCES, CannotKeep),
    ],
)
def test_what_cannot_be_taken_along_is_named(
    files: MemoryFileSystem, operation: str, error: int, raised: type[Exception]
) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    files.write_file(f"{PATH}/local/data/save", b"saved")
    files.write_file(f"{PATH}/local/data/level", b"level X")
    put_game(files, 2)
    faulty = FaultyFileSystem(files)
    faulty.fail(error, operations={operation}, path="*/local/data*")
    with faulty.open_folder(PATH) as folder:
        with pytest.raises(raised, match=r"data|space"):
            update(folder, open_fake)
        assert recover(folder).blocked is None
        faulty.heal()
        assert (files_in(folder, "local") or {})["data/save"] == b"saved"
        assert "data/save" in update(folder, open_fake).kept


def test_two_games_at_once_in_one_name(files: MemoryFileSystem) -> None:
    """A staging folder that is not ours is never unpacked into."""
    files.write_file(f"{PATH}/.local.installing/x", b"mine")
    with files.open_folder(PATH) as folder, pytest.raises(FolderNotEmpty):
        install(folder, open_fake)


def test_what_an_interrupted_install_left_is_not_taken_for_the_next_ones(
    files: MemoryFileSystem,
) -> None:
    files.write_file(f"{PATH}/.lanspread/install.json.new", b"stale")
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
        record = read_install_record(folder)
        assert record is not None
        assert not folder.exists(".lanspread/install.json.new")
