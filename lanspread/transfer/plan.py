"""The plan of one download: which blocks are missing and who is fetching which. Pure.

Workers pull: a source that is free takes the next chunk, so a fast one does more. All methods
return at once; the shell (`lanspread.transfer.download`) does the waiting.
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
class Chunk:
    """Whole blocks that are asked for in one request."""

    number: int
    blocks: tuple[Block, ...]

    @property
    def length(self) -> int:
        return sum(block.length for block in self.blocks)

    def extents(self) -> tuple[tuple[int, int, int], ...]:
        """As they stand in the request; blocks that follow one another in a file are one extent."""
        extents: list[tuple[int, int, int]] = []
        for block in self.blocks:
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
    """How much to ask for at once: large for large games, small enough to share out small ones."""
    return max(limits.MIN_CHUNK_BYTES, min(limits.CHUNK_BYTES, total_bytes // 64))


def make_chunks(blocks: Iterable[Block], chunk_bytes: int) -> list[Chunk]:
    """Blocks gathered, in their order, into chunks of about `chunk_bytes`."""
    chunks: list[Chunk] = []
    gathered: list[Block] = []
    size = 0
    for block in blocks:
        full = size + block.length > chunk_bytes or len(gathered) >= limits.MAX_CHUNK_EXTENTS
        if gathered and full:
            chunks.append(Chunk(len(chunks), tuple(gathered)))
            gathered, size = [], 0
        gathered.append(block)
        size += block.length
    if gathered:
        chunks.append(Chunk(len(chunks), tuple(gathered)))
    return chunks


class Plan:
    """Which chunks wait, are being fetched, or are done."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._waiting: deque[Chunk] = deque(chunks)
        self._active: dict[Chunk, list[Assignment]] = {}
        self._failures: dict[tuple[Chunk, str], int] = {}
        self._left = len(chunks)
        self.total_bytes = sum(chunk.length for chunk in chunks)
        self.done_bytes = 0

    @property
    def finished(self) -> bool:
        return self._left == 0

    @property
    def active(self) -> int:
        """How many assignments are out."""
        return sum(len(assigned) for assigned in self._active.values())

    def take(self, source: str) -> Assignment | None:
        """The next chunk for a source, or None if there is none for it now.

        When nothing waits any more, the chunk that has been out for longest at one other source is
        given out a second time, so that a slow source does not hold up the end.
        """
        for _ in range(len(self._waiting)):
            chunk = self._waiting.popleft()
            if self._may(chunk, source):
                return self._assign(chunk, source)
            self._waiting.append(chunk)
        for chunk, assigned in self._active.items():
            alone = len(assigned) == 1 and assigned[0].source != source
            if alone and self._may(chunk, source):
                return self._assign(chunk, source)
        return None

    def done(self, assignment: Assignment) -> list[Assignment]:
        """The chunk is verified and written; returns the assignments that this makes useless."""
        assigned = self._active.pop(assignment.chunk, None)
        if assigned is None:
            return []
        self._left -= 1
        self.done_bytes += assignment.chunk.length
        return [other for other in assigned if other is not assignment]

    def give_back(self, assignment: Assignment, *, failed: bool) -> bool:
        """The chunk was not fetched. Whether the source may have it again.

        `failed` counts against the source; a chunk that was handed back for other reasons does not.
        """
        key = (assignment.chunk, assignment.source)
        if failed:
            self._failures[key] = self._failures.get(key, 0) + 1
        assigned = self._active.get(assignment.chunk)
        if assigned is not None and assignment in assigned:
            assigned.remove(assignment)
            if not assigned:
                del self._active[assignment.chunk]
                self._waiting.appendleft(assignment.chunk)
        return self._failures.get(key, 0) < limits.MAX_RETRY_COUNT

    def forget_failures(self, source: str) -> None:
        """A new session with the source begins with a clean slate."""
        for key in [key for key in self._failures if key[1] == source]:
            del self._failures[key]

    def _may(self, chunk: Chunk, source: str) -> bool:
        return self._failures.get((chunk, source), 0) < limits.MAX_RETRY_COUNT

    def _assign(self, chunk: Chunk, source: str) -> Assignment:
        assignment = Assignment(chunk, source)
        self._active.setdefault(chunk, []).append(assignment)
        return assignment
