"""The plan of one download: which blocks are missing and who is fetching which. Pure.

Pieces are what is handed out and handed back: a block, or small ones that follow one another. Which
source gets how many of them when is the business of `lanspread.transfer.schedule`.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import attrs

from lanspread import limits
from lanspread.fs.download.reference import Reference


@attrs.frozen
class Block:
    """A block of a file, with the digest that it must have."""

    file: int
    offset: int
    length: int
    digest: bytes


@attrs.frozen(eq=False)
class Piece:
    """Whole blocks that stay together. `number` is its place in the order of the files."""

    number: int
    blocks: tuple[Block, ...]
    length: int


@attrs.frozen(eq=False)
class Chunk:
    """Pieces that are asked for in one request, in ascending order."""

    pieces: tuple[Piece, ...]
    length: int

    def blocks(self) -> Iterator[Block]:
        """All of them, as their bytes stand in the answer."""
        return (block for piece in self.pieces for block in piece.blocks)

    def extents(self) -> tuple[tuple[int, int, int], ...]:
        """As they stand in the request; blocks that follow one another in a file are one extent."""
        extents: list[tuple[int, int, int]] = []
        for block in self.blocks():
            if extents:
                number, offset, length = extents[-1]
                if number == block.file and offset + length == block.offset:
                    extents[-1] = (number, offset, length + block.length)
                    continue
            extents.append((block.file, block.offset, block.length))
        return tuple(extents)


@attrs.frozen(eq=False)
class Assignment:
    """A chunk that a source is fetching. Its identity is what counts."""

    chunk: Chunk
    source: str


def blocks_to_fetch(
    reference: Reference, numbers: Iterable[int], known: Sequence[int]
) -> Iterator[Block]:
    """The blocks of these files that are missing: where `known`, one for each block, is 0."""
    for number in numbers:
        start = reference.starts[number]
        for block in range(reference.blocks_in(number)):
            if not known[start + block]:
                length = reference.length_of(number, block)
                offset = block * reference.block_bytes
                yield Block(number, offset, length, reference.digests[start + block])


def chunk_bytes_for(total_bytes: int) -> int:
    """The most to ask for at once: large for large games, small enough to share out small ones."""
    return max(limits.MIN_CHUNK_BYTES, min(limits.CHUNK_BYTES, total_bytes // 64))


def make_pieces(blocks: Iterable[Block], piece_bytes: int) -> list[Piece]:
    """Blocks gathered, in their order, into pieces of at most `piece_bytes`, or of one block."""
    pieces: list[Piece] = []
    gathered: list[Block] = []
    size = 0
    for block in blocks:
        full = size + block.length > piece_bytes or len(gathered) >= limits.MAX_CHUNK_EXTENTS
        if gathered and full:
            pieces.append(Piece(len(pieces), tuple(gathered), size))
            gathered, size = [], 0
        gathered.append(block)
        size += block.length
    if gathered:
        pieces.append(Piece(len(pieces), tuple(gathered), size))
    return pieces


class Plan:
    """Which pieces wait, are being fetched, or are done. All methods return at once."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._waiting: deque[Piece] = deque(pieces)
        # Who is fetching a piece that is not done: one, or at the end several.
        self._active: dict[Piece, list[Assignment]] = {}
        self._out: dict[Assignment, None] = {}
        self._failures: dict[tuple[Piece, str], int] = {}
        self._left = len(pieces)
        self.total_bytes = sum(piece.length for piece in pieces)
        self.waiting_bytes = self.total_bytes
        self.done_bytes = 0

    @property
    def finished(self) -> bool:
        return self._left == 0

    @property
    def next_bytes(self) -> int:
        """The length of the piece that waits first; 0 if none does."""
        return self._waiting[0].length if self._waiting else 0

    @property
    def active(self) -> int:
        """How many assignments are out."""
        return len(self._out)

    def take(self, source: str, most_bytes: int) -> Assignment | None:
        """The next pieces that a source may have, in one chunk; None if there are none.

        At least one; further ones as long as they fit.
        """
        taken: list[Piece] = []
        passed: list[Piece] = []
        size = blocks = 0
        while self._waiting:
            piece = self._waiting[0]
            size += piece.length
            blocks += len(piece.blocks)
            if taken and (size > most_bytes or blocks > limits.MAX_CHUNK_EXTENTS):
                break
            self._waiting.popleft()
            if self._may(piece, source):
                taken.append(piece)
            else:
                size -= piece.length
                blocks -= len(piece.blocks)
                passed.append(piece)
        self._waiting.extendleft(reversed(passed))
        if not taken:
            return None
        # What was handed back may stand in another order than the files.
        taken.sort(key=lambda piece: piece.number)
        assignment = self._assign(taken, source)
        self.waiting_bytes -= assignment.chunk.length
        return assignment

    def elsewhere(self, source: str) -> Iterator[Assignment]:
        """What only others are fetching, and this source may fetch as well."""
        for assignment in self._out:
            if all(
                piece in self._active and self._may(piece, source)
                for piece in assignment.chunk.pieces
            ) and all(rival.source != source for rival in self.rivals(assignment)):
                yield assignment

    def rivals(self, assignment: Assignment) -> set[Assignment]:
        """All that fetch a part of the same, itself among them."""
        return {rival for piece in assignment.chunk.pieces for rival in self._active.get(piece, ())}

    def double(self, assignment: Assignment, source: str) -> Assignment:
        """Have one of `elsewhere` fetched by this source too; whoever is first is used."""
        return self._assign(assignment.chunk.pieces, source)

    def done(self, assignment: Assignment) -> list[Assignment]:
        """The chunk is verified and written; returns the assignments that this makes useless."""
        self._out.pop(assignment, None)
        others: dict[Assignment, None] = {}
        for piece in assignment.chunk.pieces:
            assigned = self._active.pop(piece, None)
            if assigned is not None:
                self._left -= 1
                self.done_bytes += piece.length
                others.update((other, None) for other in assigned if other is not assignment)
        useless = [
            other
            for other in others
            if not any(piece in self._active for piece in other.chunk.pieces)
        ]
        for other in useless:
            self._out.pop(other, None)
        return useless

    def give_back(self, assignment: Assignment, *, failed: bool) -> bool:
        """The chunk was not fetched. Whether the source may have all of it again.

        `failed` counts against the source; a chunk that was handed back for other reasons does not.
        """
        self._out.pop(assignment, None)
        source = assignment.source
        for piece in reversed(assignment.chunk.pieces):
            if failed:
                self._failures[piece, source] = self._failures.get((piece, source), 0) + 1
            assigned = self._active.get(piece)
            if assigned is not None and assignment in assigned:
                assigned.remove(assignment)
                if not assigned:
                    del self._active[piece]
                    self._waiting.appendleft(piece)
                    self.waiting_bytes += piece.length
        return all(self._may(piece, source) for piece in assignment.chunk.pieces)

    def forget_failures(self, source: str) -> None:
        """The source begins with a clean slate."""
        for key in [key for key in self._failures if key[1] == source]:
            del self._failures[key]

    def _may(self, piece: Piece, source: str) -> bool:
        return self._failures.get((piece, source), 0) < limits.MAX_RETRY_COUNT

    def _assign(self, pieces: Sequence[Piece], source: str) -> Assignment:
        chunk = Chunk(tuple(pieces), sum(piece.length for piece in pieces))
        assignment = Assignment(chunk, source)
        self._out[assignment] = None
        for piece in pieces:
            self._active.setdefault(piece, []).append(assignment)
        return assignment
