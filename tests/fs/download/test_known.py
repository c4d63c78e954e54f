"""What is known of a download when it begins: what is believed unread, what is looked at."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.errors import FileChanged, FolderNotEmpty
from lanspread.fs.paths import VERSION_INI
from lanspread.testing import FaultyFileSystem, MemoryFileSystem
from tests.fs.support import (
    BLOCK,
    RecordingFolder,
    download,
    hash_tree,
    manifest_of_files,
    missing_blocks,
    open_folder,
    read_tree,
    reference_of,
    transaction_for,
    write_blocks,
    write_tree,
)

GAME = {
    "big.eti": bytes((at * 7 + at // 251) % 256 for at in range(10 * BLOCK)),
    "one": b"1" * 700,
    "two": b"2" * 700,
    "version.ini": b"1.0\n",
}
NEXT = {**GAME, "two": b"3" * 900, "version.ini": b"2.0\n"}
ALL = sum(map(len, GAME.values())) - 4


@pytest.fixture
def game(tmp_path: Path) -> Path:
    path = tmp_path / "games" / "g"
    path.mkdir(parents=True)
    return path


def unfinished(game: Path, count: int, *, checkpoint: bool = True) -> None:
    """A download that ended after some blocks: `two`, `one`, then those of big.eti from behind."""
    with open_folder(game) as folder:
        transaction = transaction_for(folder, GAME)
        transaction.begin()
        transaction.write(missing_blocks(transaction, GAME)[:count])
        if checkpoint:
            transaction.checkpoint()
        transaction.close()


def files_read(log: list[tuple[str, ...]]) -> set[str]:
    """What of the game was opened for reading."""
    return {call[1] for call in log if call[0] == "open-read" and not call[1].startswith(".")}


def go_on(game: Path, files: dict[str, bytes] = GAME) -> tuple[int, set[str]]:
    """Finish; returns the bytes that were fetched and the files that were read."""
    log: list[tuple[str, ...]] = []
    with RecordingFolder(open_folder(game), log) as folder:
        transaction = transaction_for(folder, files)
        transaction.check()
        seen = files_read(log)
        transaction.begin()
        fetched = write_blocks(transaction, files)
        transaction.commit()
        transaction.close()
    assert read_tree(game) == files
    return fetched, seen


# -- behind a checkpoint ---------------------------------------------------------------------------


def test_what_is_behind_a_checkpoint_counts_unread(game: Path) -> None:
    unfinished(game, 6)
    fetched, seen = go_on(game)
    assert fetched == ALL - 2 * 700 - 4 * BLOCK
    # A file that is not complete is looked at, but for the blocks behind the checkpoint.
    assert seen == {"big.eti"}


def test_blocks_behind_a_checkpoint_are_not_read(game: Path) -> None:
    unfinished(game, 6)
    log: list[tuple[str, ...]] = []
    with RecordingFolder(open_folder(game), log) as folder:
        transaction = transaction_for(folder, GAME)
        transaction.check()
        transaction.close()
    # Ten blocks, four of them behind it.
    assert log.count(("read", "big.eti")) == 6
    assert not [call for call in log if call[1:] in (("one",), ("two",)) and call[0] == "read"]


def test_what_is_not_behind_a_checkpoint_is_hashed_and_not_fetched(game: Path) -> None:
    unfinished(game, 6, checkpoint=False)
    fetched, seen = go_on(game)
    assert fetched == ALL - 2 * 700 - 4 * BLOCK
    assert seen == {"big.eti", "one", "two"}


def rewrite(path: Path) -> None:
    path.write_bytes(b"9" * 700)


def replace(path: Path) -> None:
    """Another file, of the same size and time."""
    stat = path.stat()
    other = path.with_name("other")
    rewrite(other)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("spoil", [rewrite, replace, os.unlink])
def test_a_file_that_is_not_as_it_was_left_is_not_believed(
    game: Path, spoil: Callable[[Path], object]
) -> None:
    unfinished(game, 6)
    spoil(game / "one")
    fetched, _ = go_on(game)
    assert fetched == ALL - 700 - 4 * BLOCK


def test_a_copied_folder_is_hashed_and_nothing_of_it_fetched(game: Path) -> None:
    """Its journal vouches for other files, even if they look the same."""
    unfinished(game, 6)
    copy = game.parent / "copy"
    shutil.copytree(game, copy)
    fetched, seen = go_on(copy)
    assert fetched == ALL - 2 * 700 - 4 * BLOCK
    assert seen == {"big.eti", "one", "two"}


def test_a_file_changed_while_it_is_fetched_is_forgotten(game: Path) -> None:
    with open_folder(game) as folder:
        transaction = transaction_for(folder, GAME)
        transaction.begin()
        blocks = missing_blocks(transaction, GAME)
        transaction.write(blocks[:6])
        transaction.checkpoint()
        (game / "big.eti").write_bytes(bytes(10 * BLOCK))
        with pytest.raises(FileChanged, match=r"big\.eti"):
            transaction.write(blocks[6:7])
        with pytest.raises(ValueError, match="not every block"):
            transaction.commit()
        # Whatever is written of it from now on does not make the old blocks true again.
        transaction.write(blocks[7:8])
        transaction.checkpoint()
        transaction.close()
    fetched, _ = go_on(game)
    assert fetched == 9 * BLOCK


def test_a_change_is_seen_by_the_checkpoint_too(game: Path) -> None:
    with open_folder(game) as folder:
        transaction = transaction_for(folder, GAME)
        transaction.begin()
        transaction.write(missing_blocks(transaction, GAME)[:6])
        transaction.checkpoint()
        with (game / "big.eti").open("r+b") as file:
            file.write(b"mine")
        with pytest.raises(FileChanged):
            transaction.checkpoint()
        transaction.close()
    fetched, _ = go_on(game)
    assert fetched == ALL - 2 * 700 - 4 * BLOCK


def test_after_a_sync_that_failed_nothing_is_called_synced() -> None:
    """The system says it once; then it may have dropped the bytes and still shows them."""
    files = MemoryFileSystem()
    files.make_folders("/g")
    faulty = FaultyFileSystem(files)
    with faulty.open_folder("/g") as folder:
        transaction = transaction_for(folder, GAME)
        transaction.begin()
        blocks = missing_blocks(transaction, GAME)
        transaction.write(blocks[:2])
        transaction.checkpoint()
        transaction.write(blocks[2:])
        faulty.fail(errno.EIO, since=faulty.steps, once=True)
        with pytest.raises(OSError, match=r"."):
            transaction.checkpoint()
        assert transaction.sync_failed
        for again in (transaction.checkpoint, transaction.commit):
            with pytest.raises(OSError, match="could not take"):
                again()
        transaction.close()
        doubting = DownloadTransaction(folder, reference_of(GAME), doubt=True)
        doubting.check()
        assert missing_blocks(doubting, GAME) == blocks[2:]
        doubting.begin()
        doubting.write(blocks[2:])
        doubting.commit()
        doubting.close()


# -- digests that are known ------------------------------------------------------------------------


def test_an_update_reads_nothing_that_the_record_knows(game: Path) -> None:
    with open_folder(game) as folder:
        download(folder, GAME)
    fetched, seen = go_on(game, NEXT)
    assert (fetched, seen) == (900, set())


def test_a_copied_game_is_hashed_unless_the_library_knows_it(game: Path) -> None:
    write_tree(game, GAME)
    for known in (True, False):
        log: list[tuple[str, ...]] = []
        with RecordingFolder(open_folder(game), log) as folder:
            digests = hash_tree(folder.inner, manifest_of_files(GAME)) if known else None
            transaction = DownloadTransaction(folder, reference_of(NEXT), digests=digests)
            transaction.check()
            assert files_read(log) == (set() if known else {"big.eti", "one", "two"})
            assert sum(len(data) for _, _, data in missing_blocks(transaction, NEXT)) == 900
            transaction.close()


@pytest.mark.parametrize("size", [3 * BLOCK, 3 * BLOCK + 5, 7 * BLOCK, 7 * BLOCK + 1])
def test_a_file_of_another_size_keeps_the_blocks_that_are_the_same(game: Path, size: int) -> None:
    old = {"big.eti": GAME["big.eti"][: 5 * BLOCK + 100], "version.ini": b"1.0\n"}
    new = {"big.eti": GAME["big.eti"][:size], "version.ini": b"2.0\n"}
    same = min(size, len(old["big.eti"])) // BLOCK * BLOCK
    for by_hand in (False, True):
        path = game.parent / f"{by_hand}"
        if by_hand:
            write_tree(path, old)
        else:
            path.mkdir()
            with open_folder(path) as folder:
                download(folder, old)
        assert go_on(path, new)[0] in (size - same, 0 if by_hand and size < 5 * BLOCK else -1)


# -- files that nothing explains -------------------------------------------------------------------


def test_a_file_that_is_right_is_adopted(game: Path) -> None:
    write_tree(game, {"big.eti": GAME["big.eti"], "one": GAME["one"]})
    assert go_on(game)[0] == 700


def test_all_files_that_are_wrong_are_named_and_nothing_touched(game: Path) -> None:
    there = {"big.eti": bytes(10 * BLOCK), "one": b"x" * 700, "two": GAME["two"]}
    write_tree(game, there)
    with open_folder(game) as folder:
        transaction = transaction_for(folder, GAME)
        with pytest.raises(FolderNotEmpty) as caught:
            transaction.check()
    assert caught.value.names == ("big.eti", "one")
    assert read_tree(game) == there
    assert not (game / ".lanspread").exists()


# -- any journal -----------------------------------------------------------------------------------


def memory_game() -> tuple[MemoryFileSystem, bytes]:
    files = MemoryFileSystem()
    files.make_folders("/g")
    with files.open_folder("/g") as folder:
        transaction = transaction_for(folder, GAME)
        transaction.begin()
        blocks = missing_blocks(transaction, GAME)
        transaction.write(blocks[:3])
        transaction.checkpoint()
        transaction.write(blocks[3:6])
        transaction.checkpoint()
        transaction.write(blocks[6:8])
        transaction.close()
    return files, files.read_tree("/g")[".lanspread/journal"]


_FILES, _JOURNAL = memory_game()
_START = _FILES.snapshot()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["cut", "flip", "swap", "drop"]), st.floats(0, 1), st.floats(0, 1)
        ),
        max_size=4,
    )
)
def test_whatever_the_journal_says_the_game_is_right(
    changes: list[tuple[str, float, float]],
) -> None:
    """With the journal spoiled in any way, all that is known is so."""
    data = bytearray(_JOURNAL)
    for how, where, other in changes:
        at, to = int(where * len(data)), int(other * len(data))
        match how:
            case "cut":
                del data[at:]
            case "flip" if at < len(data):
                data[at] ^= 1 + int(other * 254)
            case "swap":
                low, high = sorted((at, to))
                data = data[:low] + data[high:] + data[low:high]
            case "drop":
                low, high = sorted((at, to))
                del data[low:high]
    files = MemoryFileSystem()
    files.restore(_START)
    files.find("/g/.lanspread/journal").content[:] = data  # type: ignore[attr-defined]
    reference = reference_of(GAME)
    with files.open_folder("/g") as folder:
        transaction = transaction_for(folder, GAME)
        transaction.check()
        there = files.read_tree("/g")
        for number, entry in enumerate(reference.manifest.files):
            if entry.path == VERSION_INI:
                continue
            for block in range(reference.blocks_in(number)):
                at = block * BLOCK
                same = (
                    there.get(entry.path, b"")[at : at + BLOCK] == GAME[entry.path][at : at + BLOCK]
                )
                assert bool(transaction.known[reference.starts[number] + block]) == same
        transaction.close()
