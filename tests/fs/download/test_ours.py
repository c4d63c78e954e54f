"""What a download left is told from what the user put there; no crash makes ours look his."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lanspread.fs.download.records import PlanState, read_plan
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.errors import FolderNotEmpty
from lanspread.fs.install.remove import remove
from lanspread.seams import Folder
from lanspread.testing import FaultyFileSystem, MemoryFileSystem, crash_points
from tests.fs.support import (
    BLOCK,
    download,
    missing_blocks,
    open_folder,
    read_tree,
    reference_of,
    transaction_for,
    write_tree,
)

GAME = {
    "big.eti": bytes((at * 7 + at // 251) % 256 for at in range(4 * BLOCK)),
    "data/one": b"1" * 700,
    "empty": b"",
    "two": b"2" * 700,
    "version.ini": b"1.0\n",
}
PATH = "/games/g"
OLD_NS = 1_500_000_000_000_000_000


@pytest.fixture
def game(tmp_path: Path) -> Path:
    path = tmp_path / "g"
    path.mkdir()
    return path


def put_down(folder: Folder, count: int = 3, *, orderly: bool = True) -> None:
    """A download that was paused after `two`, `data/one` and the end of big.eti."""
    transaction = transaction_for(folder, GAME)
    try:
        transaction.begin()
        transaction.write(missing_blocks(transaction, GAME)[:count])
        transaction.checkpoint()
        if orderly:
            transaction.put_down(PlanState.PAUSED)
    finally:
        transaction.close()


def refused(game: Path, *names: str) -> None:
    """The next download touches nothing, and `remove` keeps these and no others."""
    before = read_tree(game)
    with open_folder(game) as folder:
        with pytest.raises(FolderNotEmpty) as caught:
            download(folder, GAME)
        assert set(caught.value.names) <= set(names)
        assert read_tree(game) == before
        assert remove(folder).kept == names
    assert read_tree(game) == {name: before[name] for name in names}


def test_what_was_put_down_goes_on(game: Path) -> None:
    with open_folder(game) as folder:
        put_down(folder)
        plan = read_plan(folder)
        assert plan is not None
        assert plan.state is PlanState.PAUSED
        assert plan.made is not None
        assert sorted(plan.made) == ["big.eti", "data/one", "two"]
        download(folder, GAME)
    assert read_tree(game) == GAME


def test_what_was_put_down_can_be_removed(game: Path) -> None:
    with open_folder(game) as folder:
        put_down(folder)
        assert remove(folder).kept == ()
    assert read_tree(game) == {}


def test_a_file_at_the_place_of_one_that_was_not_made_is_the_users(game: Path) -> None:
    with open_folder(game) as folder:
        put_down(folder, 1)
    write_tree(game, {"data/one": b"u" * 700, "empty": b"notes"})
    refused(game, "data/one", "empty")


def test_a_file_that_was_edited_after_an_orderly_end_is_the_users(game: Path) -> None:
    with open_folder(game) as folder:
        put_down(folder)
    one = (game / "data/one").stat()
    write_tree(game, {"data/one": b"u" * 700})
    os.utime(game / "data/one", ns=(one.st_atime_ns, one.st_mtime_ns + 1))
    refused(game, "data/one")


def test_an_older_file_is_the_users_after_a_crash(game: Path) -> None:
    with open_folder(game) as folder:
        put_down(folder, 1, orderly=False)
    write_tree(game, {"data/one": b"u" * 700})
    os.utime(game / "data/one", ns=(OLD_NS, OLD_NS))
    refused(game, "data/one")


def test_what_was_adopted_stays_the_users(game: Path) -> None:
    write_tree(game, {"data/one": GAME["data/one"]})
    with open_folder(game) as folder:
        put_down(folder, 1)
        assert remove(folder).kept == ("data/one",)
    assert read_tree(game) == {"data/one": GAME["data/one"]}


def test_a_game_that_was_made_by_several_attempts(game: Path) -> None:
    """Also by one that crashed, and what another variant left."""
    other = {**GAME, "extra/file": b"e" * 10, "version.ini": b"2.0\n"}
    with open_folder(game) as folder:
        transaction = transaction_for(folder, other)
        transaction.begin()
        transaction.write(missing_blocks(transaction, other)[:2])
        transaction.close()
        assert (game / "extra/file").exists()
        put_down(folder, 1)
        put_down(folder, 0)
        plan = read_plan(folder)
        assert plan is not None
        assert plan.made is not None
        assert "extra/file" in plan.made
        assert remove(folder).kept == ()
    assert read_tree(game) == {}


def test_a_selection_is_ours_and_nothing_else(game: Path) -> None:
    with open_folder(game) as folder:
        some = DownloadTransaction(folder, reference_of(GAME), selection=["two"])
        some.begin()
        some.write(block for block in missing_blocks(some, GAME) if len(block[2]) == 700)
        some.finish_selection()
        some.close()
    (game / "data/one").unlink(missing_ok=True)
    write_tree(game, {"data/one": b"u" * 700})
    refused(game, "data/one")


# -- crashes and faults ----------------------------------------------------------------------------


def minutes() -> Callable[[], int]:
    """A clock that shows by far what came first."""
    clock = itertools.count(OLD_NS, 60_000_000_000)
    return lambda: next(clock)


def nothing(files: MemoryFileSystem) -> None:
    files.make_folders(PATH)


def paused(files: MemoryFileSystem) -> None:
    files.make_folders(PATH)
    with files.open_folder(PATH) as folder:
        put_down(folder, 2)


def crashed(files: MemoryFileSystem) -> None:
    files.make_folders(PATH)
    with files.open_folder(PATH) as folder:
        put_down(folder, 2, orderly=False)


@pytest.mark.parametrize("build", [nothing, paused, crashed])
def test_no_crash_makes_ours_look_like_the_users(
    build: Callable[[MemoryFileSystem], None],
) -> None:
    count = 0
    for survivor in crash_points(PATH, put_down, build=build):
        count += 1
        with survivor.files().open_folder(PATH) as folder:
            try:
                download(folder, GAME)
            except BaseException as error:
                error.add_note(survivor.story)
                raise
    assert count > 50


def test_what_a_full_disk_leaves_is_ours() -> None:
    """Whatever fails; the download is put down when there is space again."""
    faults = 0
    for step in range(40):
        files = MemoryFileSystem(minutes())
        nothing(files)
        faulty = FaultyFileSystem(files)
        with faulty.open_folder(PATH) as folder:
            transaction = transaction_for(folder, GAME)
            transaction.begin()
            faulty.fail(errno.ENOSPC, since=len(faulty.log) + step)
            try:
                for block in missing_blocks(transaction, GAME):
                    transaction.write([block])
                transaction.checkpoint()
                transaction.put_down()
            except OSError:
                faults += 1
            faulty.heal()
            # After a sync that failed there is no checkpoint, and nothing is put down.
            with contextlib.suppress(OSError):
                transaction.checkpoint()
                transaction.put_down()
            transaction.close()
            download(folder, GAME)
            assert files.read_tree(PATH).items() >= GAME.items()
    assert 10 < faults < 40
