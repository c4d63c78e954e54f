"""Removing what was downloaded, and nothing else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.download.records import PLAN, Plan, encode_plan
from lanspread.fs.errors import InTheWay, NotFetched, Stopped, Unrepaired
from lanspread.fs.install.install import install
from lanspread.fs.install.recovery import recover
from lanspread.fs.install.remove import Removed, remove
from lanspread.seams import Folder
from lanspread.testing import (
    FaultyFileSystem,
    MemoryFileSystem,
    check_crashes,
    check_faults,
)
from tests.fs.install.support import (
    PATH,
    V1,
    Counter,
    contents,
    files_in,
    new_files,
    open_fake,
    put_game,
    tree,
    write,
)
from tests.fs.support import BLOCK, download, transaction_for

GAME = {
    "version.ini": b"1.0\n",
    "game.eti": b"one",
    "data/a": b"a" * 10,
    "data/deep/b": b"b" * 20,
    "docs/readme": b"r",
}
SIZE = sum(map(len, GAME.values())) - len(GAME["version.ini"])
MINE = {"mine.txt": b"notes", "data/mine": b"more notes"}


def build(files: MemoryFileSystem) -> None:
    """Downloaded, installed, with notes of the user's and a file that he changed."""
    files.make_folders(PATH)
    with files.open_folder(PATH) as folder:
        download(folder, GAME)
        install(folder, open_fake)
        for path, data in MINE.items():
            write(folder, path, data)
        write(folder, "docs/readme", b"read!")
        write(folder, "local/save", b"saved")


@pytest.fixture
def files() -> MemoryFileSystem:
    files = new_files()
    files.make_folders(PATH)
    return files


def all_files(folder: Folder) -> dict[str, bytes]:
    found = files_in(folder, "")
    assert found is not None
    return found


def outside_local(folder: Folder) -> dict[str, bytes]:
    return {
        path: data
        for path, data in all_files(folder).items()
        if not path.startswith(("local/", ".lanspread/install.json"))
    }


def test_a_downloaded_game(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        download(folder, GAME)
        watch = Counter()
        assert remove(folder, watch=watch) == Removed(removed_bytes=SIZE)
        assert folder.list() == []
        assert watch.done == SIZE
        assert watch.expected == SIZE
        # Again: nothing is there, and that is fine.
        assert remove(folder) == Removed(removed_bytes=0)


def test_what_the_user_has_there_stays(files: MemoryFileSystem) -> None:
    build(files)
    with files.open_folder(PATH) as folder:
        done = remove(folder)
        assert done.kept == ("docs/readme",)
        assert outside_local(folder) == {**MINE, "docs/readme": b"read!"}
        assert files_in(folder, "local") == dict(sorted({**contents(V1), "save": b"saved"}.items()))
        assert folder.exists(".lanspread/install.json")
        assert not folder.exists("data/deep")


def test_forced_what_was_changed_goes_as_well(files: MemoryFileSystem) -> None:
    build(files)
    with files.open_folder(PATH) as folder:
        assert remove(folder, forced=True).kept == ()
        assert outside_local(folder) == dict(MINE)
        assert folder.exists("local/save")


def test_a_game_that_was_copied_here(files: MemoryFileSystem) -> None:
    put_game(files)
    files.write_tree(PATH, {"data/x": b"x", "local/save": b"s", ".DS_Store": b"d"})
    files.write_file(f"{PATH}/.local.backup/theirs", b"t")
    files.make_link(f"{PATH}/data/link", "/elsewhere")
    with files.open_folder(PATH) as folder:
        before = tree(folder, "")
        with pytest.raises(NotFetched) as caught:
            remove(folder)
        assert caught.value.names == ("data/x", "game.eti", "version.ini")
        assert tree(folder, "") == before
        remove(folder, forced=True)
        assert all_files(folder) == {
            ".DS_Store": b"d",
            ".local.backup/theirs": b"t",
            "local/save": b"s",
        }
        assert folder.exists("data/link")


def test_a_download_that_was_not_finished(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        transaction = transaction_for(folder, GAME)
        transaction.begin()
        transaction.write([(0, 0, b"half of it"[: len(GAME["data/a"])])])
        transaction.close()
        # Made, and cut off before it got its size.
        write(folder, "data/deep/b", b"")
        write(folder, "docs/readme", b"another size")
        assert folder.exists("data/a")
        done = remove(folder)
        assert done.kept == ("docs/readme",)
        assert all_files(folder) == {"docs/readme": b"another size"}


def test_an_update_that_was_not_finished(files: MemoryFileSystem) -> None:
    """Old files are explained by the record, new ones by the plan."""
    with files.open_folder(PATH) as folder:
        download(folder, GAME)
        new = {"version.ini": b"2.0\n", "game.eti": b"two" * 5, "new/file": b"n" * 9}
        transaction = transaction_for(folder, new)
        transaction.begin()
        transaction.write([(1, 0, b"n" * 9)])
        transaction.close()
        assert folder.exists("new/file")
        assert not folder.exists("version.ini")
        assert remove(folder).kept == ()
        assert folder.list() == []


def test_a_record_names_nothing_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(GAME["data/a"])
    game = tmp_path / "g"
    game.mkdir()
    with DiskFileSystem().open_folder(str(game)) as folder:
        download(folder, GAME)
        stamp = (game / "data/a").stat()
        os.utime(outside / "a", ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
        (game / "data").rename(game / "was")
        (game / "data").symlink_to(outside)
        remove(folder, forced=True)
    assert (outside / "a").read_bytes() == GAME["data/a"]
    assert (game / "data").is_symlink()
    assert (game / "was/a").exists()


def test_a_plan_from_somewhere_else_reaches_nothing_of_ours(files: MemoryFileSystem) -> None:
    build(files)
    hostile = Plan(
        version="1",
        manifest_hash=bytes(32),
        content_hash=bytes(32),
        block_bytes=BLOCK,
        total_bytes=6,
        files={"local/save": 5, "../x": 1, ".lanspread.json": 0},
        copied=False,
    )
    files.write_file(f"{PATH}/{PLAN}", encode_plan(hostile))
    with files.open_folder(PATH) as folder:
        remove(folder, forced=True)
        assert folder.exists("local/save")


def test_a_sentinel_that_is_no_file(files: MemoryFileSystem) -> None:
    files.make_link(f"{PATH}/version.ini", "/elsewhere")
    with files.open_folder(PATH) as folder, pytest.raises(InTheWay):
        remove(folder, forced=True)


def test_a_game_that_nobody_understands(files: MemoryFileSystem) -> None:
    build(files)
    files.write_file(f"{PATH}/.lanspread.json", b"?")
    with files.open_folder(PATH) as folder:
        before = tree(folder, "")
        with pytest.raises(Unrepaired):
            remove(folder, forced=True)
        assert tree(folder, "") == before


def test_one_busy_file_does_not_keep_the_others(files: MemoryFileSystem) -> None:
    build(files)
    faulty = FaultyFileSystem(files)
    faulty.fail(errno.EBUSY, operations={"remove_file"}, path="*/game.eti")
    with faulty.open_folder(PATH) as folder:
        with pytest.raises(OSError, match="busy"):
            remove(folder)
        assert outside_local(folder).keys() >= {"game.eti", ".lanspread/download.json"}
        assert not folder.exists("data/a")
        assert not folder.exists("version.ini")
        faulty.heal()
        assert remove(folder).removed_bytes == 3


# -- every step ------------------------------------------------------------------------------------


def recover_all(folder: Folder) -> None:
    found = recover(folder)
    assert found.blocked is None
    assert found.left == ()


def check(folder: Folder) -> None:
    found = outside_local(folder)
    kept = {**MINE, "docs/readme": b"read!"}
    assert {path: found.get(path) for path in kept} == kept
    assert files_in(folder, "local") == dict(sorted({**contents(V1), "save": b"saved"}.items()))
    assert folder.exists(".lanspread/install.json")
    rest = {path: data for path, data in found.items() if path in GAME and path not in kept}
    if "version.ini" in found:
        # Downloaded: every file of it is there.
        assert rest == {path: GAME[path] for path in GAME if path not in kept}
    if not folder.exists(".lanspread/download.json"):
        # Nothing would explain it.
        assert rest == {}
        return
    assert remove(folder).kept == ("docs/readme",)
    assert outside_local(folder) == kept


def test_a_crash_at_every_step() -> None:
    def check_finished(folder: Folder) -> None:
        assert outside_local(folder) == {**MINE, "docs/readme": b"read!"}

    count = check_crashes(
        PATH, build=build, act=remove, recover=recover_all, check=check,
        check_finished=check_finished,
    )  # fmt: skip
    assert count > 30


def test_an_error_at_every_step() -> None:
    errors = (errno.EIO, errno.EACCES, errno.EBUSY)
    count = check_faults(
        PATH, build=build, act=remove, recover=recover_all, check=check, errors=errors
    )
    assert count > 30


def test_a_stop_at_every_step() -> None:
    at = 0
    stopped = True
    while stopped:
        files = new_files()
        build(files)
        with files.open_folder(PATH) as folder:
            try:
                remove(folder, watch=Counter(stop_at=at))
                stopped = False
            except Stopped:
                recover_all(folder)
            check(folder)
        at += 1
    assert at > 3
