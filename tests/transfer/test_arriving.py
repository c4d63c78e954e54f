"""A chunk on its way in: nothing is written before every block of it has been verified."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.download.writer import Written
from lanspread.fs.manifest import block_digest
from lanspread.transfer.arriving import ArrivingChunk
from lanspread.transfer.plan import Block, Chunk, Piece
from lanspread.transfer.source import SourceLied


class Disk:
    """Takes down what is written, and how often."""

    def __init__(self) -> None:
        self.writes: list[list[tuple[int, int, bytes]]] = []

    def write(self, blocks: Iterable[Written]) -> None:
        self.writes.append([(number, offset, bytes(data)) for number, offset, data in blocks])


def chunk_of(contents: list[bytes]) -> Chunk:
    """Each content a block of a file of its own, one block a piece."""
    blocks = [Block(n, 0, len(data), block_digest(data)) for n, data in enumerate(contents)]
    pieces = [Piece(block.file, (block,), block.length) for block in blocks]
    return Chunk(tuple(pieces), sum(block.length for block in blocks))


CONTENTS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8)


@given(CONTENTS, st.data())
def test_what_is_right_is_written_once_however_it_comes(
    contents: list[bytes], data: st.DataObject
) -> None:
    sent = b"".join(contents)
    marks = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    disk = Disk()
    arriving = ArrivingChunk(chunk_of(contents), memoryview(bytearray(len(sent))), disk.write)
    into = arriving.begin()
    at = 0
    for mark in marks:
        into[at:mark] = sent[at:mark]
        at = mark
        arriving.came(mark)
        assert not disk.writes
    into[at:] = sent[at:]
    arriving.finish()
    assert disk.writes == [[(number, 0, content) for number, content in enumerate(contents)]]


@given(CONTENTS, st.data())
def test_one_wrong_byte_is_found_and_nothing_is_written(
    contents: list[bytes], data: st.DataObject
) -> None:
    sent = bytearray(b"".join(contents))
    wrong = data.draw(st.integers(0, len(sent) - 1))
    sent[wrong] ^= data.draw(st.integers(1, 255))
    marks = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    disk = Disk()
    arriving = ArrivingChunk(chunk_of(contents), memoryview(bytearray(len(sent))), disk.write)
    into = arriving.begin()
    with pytest.raises(SourceLied):
        for mark in marks:
            into[:mark] = sent[:mark]
            arriving.came(mark)
        into[:] = sent
        arriving.finish()
    assert not disk.writes


@given(CONTENTS, st.data())
def test_who_takes_over_is_not_believed_for_what_came_before(
    contents: list[bytes], data: st.DataObject
) -> None:
    """Good bytes by a lane that breaks, then others by QUIC in the same places."""
    sent = b"".join(contents)
    came = data.draw(st.integers(0, len(sent)))
    wrong = data.draw(st.integers(0, len(sent) - 1))
    disk = Disk()
    arriving = ArrivingChunk(chunk_of(contents), memoryview(bytearray(len(sent))), disk.write)
    arriving.begin()[:came] = sent[:came]
    arriving.came(came)
    into = arriving.begin()
    into[:] = sent
    into[wrong] ^= 1
    with pytest.raises(SourceLied):
        arriving.finish()
    assert not disk.writes
