"""The journal: what is read back is what was noted, and nothing that was spoiled is believed."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.download.journal import (
    JOURNAL,
    Encoder,
    Journal,
    JournalHeader,
    NotedBlock,
    Stamped,
    decode,
    read_journal,
)
from lanspread.testing import FaultyFileSystem, MemoryFileSystem

HEADER = JournalHeader(b"m" * 32, b"c" * 32, 1024)
OTHER = JournalHeader(b"m" * 32, b"d" * 32, 1024)


def digest_of(file: int, block: int) -> bytes:
    return file.to_bytes(4, "big") + block.to_bytes(28, "big")


def note(file: int, block: int) -> NotedBlock:
    return NotedBlock(file, block, digest_of(file, block))


def right(file: int, block: int, digest: bytes) -> bool:
    return digest == digest_of(file, block)


Truth = dict[int, frozenset[int]]

# What a writer does: notes blocks, makes a checkpoint of all before, or forgets a file.
STEPS = st.lists(
    st.one_of(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=4),
        st.just("checkpoint"),
        st.integers(0, 3),
    ),
    max_size=15,
)


def written(steps: list[object]) -> tuple[list[bytes], list[Truth]]:
    """The records, and after each what it is true to believe: blocks behind a checkpoint."""
    encoder = Encoder()
    records, truths = [encoder.header(HEADER)], [Truth()]
    noted: dict[int, set[int]] = {}
    covered: dict[int, set[int]] = {}
    count = 0
    for step in steps:
        if isinstance(step, list):
            records.append(encoder.blocks([note(*block) for block in step]))
            for file, block in step:
                noted.setdefault(file, set()).add(block)
            count += len(step)
        elif step == "checkpoint":
            stamps = [Stamped(file, 100 + count, 7) for file in noted]
            records.append(encoder.checkpoint(count, stamps))
            covered = {file: set(blocks) for file, blocks in noted.items()}
        else:
            assert isinstance(step, int)
            records.append(encoder.forget(step))
            noted.pop(step, None)
            covered.pop(step, None)
        truths.append({file: frozenset(blocks) for file, blocks in covered.items()})
    return records, truths


def believed(data: bytes, header: JournalHeader = HEADER) -> Truth:
    return {number: frozenset(one.blocks) for number, one in decode(data, header, right).items()}


@given(STEPS)
def test_what_is_behind_a_checkpoint_comes_back(steps: list[object]) -> None:
    records, truths = written(steps)
    data = b""
    for record, truth in zip(records, truths, strict=True):
        data += record
        assert believed(data) == truth
        assert believed(data, OTHER) == {}


@given(STEPS, st.data())
def test_a_torn_tail_says_what_stands_before_it(steps: list[object], data: st.DataObject) -> None:
    records, truths = written(steps)
    whole = b"".join(records)
    cut = data.draw(st.integers(0, len(whole)))
    garbage = data.draw(st.binary(max_size=80))
    before = [len(b"".join(records[: count + 1])) <= cut for count in range(len(records))]
    expected = truths[before.count(True) - 1] if any(before) else {}
    assert believed(whole[:cut] + bytes(len(garbage))) == expected
    if garbage != whole[cut : cut + len(garbage)]:
        assert believed(whole[:cut] + garbage) in (expected, *truths)


@given(STEPS, st.data())
def test_a_flipped_bit_ends_it(steps: list[object], data: st.DataObject) -> None:
    records, truths = written(steps)
    whole = bytearray(b"".join(records))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    intact = 0
    while len(b"".join(records[: intact + 1])) <= at:
        intact += 1
    assert believed(bytes(whole)) == (truths[intact - 1] if intact else {})


@given(STEPS, st.randoms(use_true_random=False))
def test_records_in_another_order_end_it(steps: list[object], chance: object) -> None:
    records, truths = written(steps)
    shuffled = list(records)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    same = 0
    while same < len(records) and shuffled[same] == records[same]:
        same += 1
    assert believed(b"".join(shuffled)) == (truths[same - 1] if same else {})


@given(st.binary(max_size=300))
def test_any_bytes_are_a_journal_or_nothing(data: bytes) -> None:
    assert believed(data) == {}


def test_a_record_of_another_journal_is_not_of_this_one() -> None:
    """Left over behind the end of a shorter one."""
    ours, theirs = Encoder(), Encoder()
    data = ours.header(HEADER) + ours.blocks([note(0, 0)])
    old = theirs.header(HEADER) + theirs.blocks([note(1, 1)])
    stale = theirs.checkpoint(1, [Stamped(0, 0, 0), Stamped(1, 0, 0)])
    assert len(old) == len(data)
    assert believed(old + stale) == {1: {1}}
    assert believed(data + stale) == {}


def test_a_digest_that_does_not_fit_is_no_knowledge() -> None:
    encoder = Encoder()
    data = encoder.header(HEADER) + encoder.blocks([note(0, 0), NotedBlock(0, 1, bytes(32))])
    data += encoder.checkpoint(2, [Stamped(0, 5, 6)])
    (file,) = decode(data, HEADER, right).values()
    assert (file.blocks, file.mtime_ns, file.inode, file.open) == ([0], 5, 6, False)


def test_a_checkpoint_that_covers_more_than_there_is_covers_what_there_is() -> None:
    encoder = Encoder()
    data = encoder.header(HEADER) + encoder.blocks([note(0, 0)])
    data += encoder.checkpoint(2**63, [Stamped(0, 0, 0)]) + encoder.blocks([note(0, 1)])
    assert believed(data) == {0: {0}}


def test_blocks_behind_the_checkpoint_leave_a_file_open() -> None:
    """Also those that were noted while the files were being synced."""
    encoder = Encoder()
    data = encoder.header(HEADER) + encoder.blocks([note(0, 0), note(1, 0)])
    data += encoder.blocks([note(1, 1)])
    data += encoder.checkpoint(2, [Stamped(0, 0, 0), Stamped(1, 0, 0)])
    found = decode(data, HEADER, right)
    assert {number: one.open for number, one in found.items()} == {0: False, 1: True}


def test_many_blocks_take_little() -> None:
    encoder = Encoder()
    blocks = [NotedBlock(0, number, digest_of(0, number)) for number in range(50_000)]
    data = encoder.header(HEADER) + encoder.blocks(blocks)
    data += encoder.checkpoint(len(blocks), [Stamped(0, 0, 0)])
    assert len(data) < 42 * len(blocks)
    assert len(decode(data, HEADER, right)[0].blocks) == len(blocks)


# -- on the disk -----------------------------------------------------------------------------------


def folder_of(files: MemoryFileSystem) -> MemoryFileSystem:
    files.make_folders("/g/.lanspread")
    return files


def test_a_journal_on_the_disk() -> None:
    files = folder_of(MemoryFileSystem())
    with files.open_folder("/g") as folder:
        assert read_journal(folder, HEADER, right).files == {}
        journal = Journal.replace(folder, HEADER, [note(0, 0)], [Stamped(0, 1, 2)], [note(0, 1)])
        assert journal.noted == 2
        assert set(read_journal(folder, HEADER, right).files[0].blocks) == {0}
        journal.note([note(1, 0)])
        journal.checkpoint(3, [Stamped(0, 3, 2), Stamped(1, 3, 2)])
        journal.sync()
        journal.forget(0)
        journal.close()
        assert set(read_journal(folder, HEADER, right).files) == {1}
        # Another takes its place as a whole.
        Journal.replace(folder, OTHER, [], [], []).close()
        assert read_journal(folder, HEADER, right).files == {}


def test_a_record_that_could_not_be_written_does_not_hide_the_next() -> None:
    files = folder_of(MemoryFileSystem())
    faulty = FaultyFileSystem(files)
    with faulty.open_folder("/g") as folder:
        journal = Journal.replace(folder, HEADER, [], [], [])
        journal.note([note(0, 0)])
        faulty.fail(errno.ENOSPC, since=faulty.steps, once=True)
        with pytest.raises(OSError, match=r"."):
            journal.note([note(0, 1), note(0, 2)])
        journal.note([note(0, 3)])
        journal.checkpoint(journal.noted, [Stamped(0, 0, 0)])
        journal.close()
        assert set(read_journal(folder, HEADER, right).files[0].blocks) == {0, 3}


def test_a_journal_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    files = folder_of(MemoryFileSystem())
    with files.open_folder("/g") as folder:
        Journal.replace(folder, HEADER, [note(0, 0)], [Stamped(0, 1, 2)], []).close()
        size = folder.entry(JOURNAL).size
        monkeypatch.setattr("lanspread.fs.download.journal._MAX_BYTES", size)
        assert read_journal(folder, HEADER, right).files
        monkeypatch.setattr("lanspread.fs.download.journal._MAX_BYTES", size - 1)
        assert not read_journal(folder, HEADER, right).files
