"""Blocks that several threads write at once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lanspread import limits
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.download.writer import Written
from lanspread.fs.errors import FileChanged
from lanspread.seams import File, Folder
from lanspread.testing import FaultyFileSystem, MemoryFileSystem
from lanspread.testing.faults import Step
from tests.fs.support import (
    RecordingFile,
    RecordingFolder,
    missing_blocks,
    open_descriptors,
    open_folder,
    read_tree,
    reference_of,
    transaction_for,
    write_blocks,
)

FILES = {
    "version.ini": b"1.0\n",
    "big": bytes(range(250)) * 1_000,
    **{f"small/{number % 3}/{number}": bytes([number]) * (100 + number) for number in range(60)},
}

# Only a test that fails waits so long.
_HANGS_S = 60
NUMBERS = reference_of(FILES).numbers


@pytest.fixture
def game(tmp_path: Path) -> Path:
    path = tmp_path / "games" / "g"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def begun(folder: Folder, files: dict[str, bytes] = FILES) -> DownloadTransaction:
    transaction = transaction_for(folder, files)
    transaction.check()
    transaction.begin()
    return transaction


def held_at(
    operation: str, path: str
) -> tuple[Callable[[Step], None], threading.Event, Callable[[], None]]:
    """An `on_step` that waits at one step; an event that it has come there; what lets it go on."""
    there, further = threading.Event(), threading.Event()

    def on_step(step: Step) -> None:
        if (step.operation, step.paths) == (operation, (path,)):
            there.set()
            further.wait()

    return on_step, there, further.set


@pytest.mark.parametrize("operation", ["create", "truncate", "write_at"])
def test_a_large_file_that_takes_long_holds_up_no_small_one(operation: str) -> None:
    files = MemoryFileSystem()
    files.make_folders("/g")
    on_step, there, go_on = held_at(operation, "/g/big")
    faulty = FaultyFileSystem(files, on_step=on_step)
    with faulty.open_folder("/g") as folder, ThreadPoolExecutor(2) as pool:
        transaction = begun(folder)
        blocks = missing_blocks(transaction, FILES)
        big = transaction.known.index(0)
        waits = [block for block in blocks if block[0] == 0]
        slow = pool.submit(transaction.write, waits)
        try:
            there.wait()
            others = [block for block in blocks if block[0] != 0]
            pool.submit(transaction.write, others).result(timeout=_HANGS_S)
            pool.submit(transaction.checkpoint).result(timeout=_HANGS_S)
            assert transaction.known[big] == 0
            assert transaction.known.count(0) == len(waits) + 1
        finally:
            go_on()
        slow.result()
        transaction.commit()
        transaction.close()
    tree = files.read_tree("/g")
    assert {path: tree[path] for path in FILES} == FILES


@pytest.mark.usefixtures("impatient")
def test_threads_and_checkpoints_do_not_take_each_other_for_somebody_else(game: Path) -> None:
    before = open_descriptors()
    with open_folder(game) as folder, ThreadPoolExecutor(5) as pool:
        transaction = begun(folder)
        blocks = missing_blocks(transaction, FILES)
        done = threading.Event()

        def checkpoints() -> int:
            count = 0
            while not done.is_set():
                transaction.checkpoint()
                count += 1
            return count

        made = pool.submit(checkpoints)
        # Every block by two threads, as at the end of a download, when a source was too slow.
        parts = [blocks[start::2] for start in (0, 1, 0, 1)]
        try:
            for written in [pool.submit(transaction.write, part) for part in parts]:
                written.result()
        finally:
            done.set()
        assert made.result() > 0
        # All but version.ini.
        assert list(transaction.known).count(0) == 1
        assert transaction.unsynced_bytes <= 2 * sum(len(data) for _, _, data in blocks)
        transaction.checkpoint()
        assert transaction.unsynced_bytes == 0
        transaction.commit()
        transaction.close()
    assert read_tree(game) == FILES
    assert open_descriptors() == before


def test_what_a_crash_leaves_of_many_threads_work_counts(game: Path) -> None:
    with open_folder(game) as folder, ThreadPoolExecutor(4) as pool:
        transaction = begun(folder)
        blocks = missing_blocks(transaction, FILES)
        list(pool.map(lambda block: transaction.write([block]), blocks[:-20]))
        transaction.checkpoint()
        transaction.close()
        again = transaction_for(folder, FILES)
        again.check()
        assert missing_blocks(again, FILES) == blocks[-20:]
        again.begin()
        assert write_blocks(again, FILES) == sum(len(data) for _, _, data in blocks[-20:])
        again.commit()
        again.close()
    assert read_tree(game) == FILES


@pytest.mark.parametrize("path", ["big", "small/1/1"])
def test_a_block_whose_file_somebody_else_took_before_it_was_noted_does_not_count(
    game: Path, path: str
) -> None:
    with open_folder(game) as folder:
        transaction = begun(folder)
        number = NUMBERS[path]
        mine = [block for block in missing_blocks(transaction, FILES) if block[0] == number]
        transaction.write(mine[:-1])

        def taken_meanwhile() -> Iterator[Written]:
            yield mine[-1]
            (game / "theirs").write_bytes(FILES[path])
            os.replace(game / "theirs", game / path)
            with pytest.raises(FileChanged) as caught:
                transaction.checkpoint()
            assert caught.value.path == path

        transaction.write(taken_meanwhile())
        assert [block for block in missing_blocks(transaction, FILES) if block[0] == number] == mine
        with pytest.raises(ValueError, match="not every block"):
            transaction.commit()
        transaction.close()


def test_nothing_is_written_through_a_file_that_appeared_under_another_name(game: Path) -> None:
    """What is there when a file is to be made is looked at as if it had been there before."""
    theirs = game.parent / "theirs"
    theirs.write_bytes(b"theirs")
    with open_folder(game) as folder:
        transaction = begun(folder)
        os.link(theirs, game / "small/1/1")
        block = next(
            block
            for block in missing_blocks(transaction, FILES)
            if block[0] == NUMBERS["small/1/1"]
        )
        with pytest.raises(FileChanged):
            transaction.write([block])
        transaction.close()
    assert theirs.read_bytes() == b"theirs"


def test_a_folder_that_became_a_link_is_not_written_through(game: Path) -> None:
    outside = game.parent / "outside"
    outside.mkdir()
    with open_folder(game) as folder:
        transaction = begun(folder)
        blocks = missing_blocks(transaction, FILES)
        (game / "small/1").rmdir()
        (game / "small/1").symlink_to(outside)
        with pytest.raises(NotADirectoryError):
            transaction.write(blocks)
        transaction.close()
    assert list(outside.iterdir()) == []


class _Telling(RecordingFolder):
    """Tells of which parts the disk was asked to begin with."""

    def __init__(self, inner: Folder, begun: list[tuple[str, int, int]]) -> None:
        super().__init__(inner, [])
        self.begun = begun

    def open(self, rel: str, mode: str) -> File:
        return _TellingFile(self.inner.open(rel, mode), self, rel)  # type: ignore[arg-type]


class _TellingFile(RecordingFile):
    def start_sync(self, offset: int, size: int) -> None:
        assert isinstance(self.folder, _Telling)
        self.folder.begun.append((self.rel, offset, size))
        super().start_sync(offset, size)


def test_the_disk_begins_with_large_blocks_before_the_commit(game: Path) -> None:
    half = limits.MIB // 2
    files = {"version.ini": b"1.0\n", "big": bytes(3 * half), "whole": b"x" * half, "small": b"x"}
    started: list[tuple[str, int, int]] = []
    with DiskFileSystem().open_folder(str(game)) as folder:
        reference = reference_of(files, block_bytes=half)
        transaction = DownloadTransaction(_Telling(folder, started), reference)
        transaction.check()
        transaction.begin()
        numbers = reference.numbers
        for at in range(0, 3 * half, half):
            transaction.write([(numbers["big"], at, files["big"][at : at + half])])
        for path in ("whole", "small"):
            transaction.write([(numbers[path], 0, files[path])])
        assert started == [("big", at * half, half) for at in range(3)] + [("whole", 0, half)]
        transaction.commit()
        transaction.close()
    assert read_tree(game) == files
