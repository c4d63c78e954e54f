"""A chunk on its way in: verified while it comes, written when all of it is here.

What was received a moment ago is still in the processor's cache, so to hash it then costs little
more than the hashing; who brings the bytes by a thread has them hashed there.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lanspread.fs.download.writer import Written
from lanspread.fs.manifest import block_digest, block_hasher
from lanspread.transfer.plan import Chunk
from lanspread.transfer.source import SourceLied


class ArrivingChunk:
    """The blocks of one chunk in a buffer that is filled from its beginning to its end.

    `came` and `finish` block, and are for one thread at a time. `write` is called once, when every
    block is verified, with all of them: nothing else of what a peer sent reaches the disk.
    """

    def __init__(
        self, chunk: Chunk, buffer: memoryview, write: Callable[[Iterable[Written]], None]
    ) -> None:
        """`buffer` is as long as the chunk; it is handed out by `begin` alone."""
        self._chunk = chunk
        self._buffer = buffer
        self._write = write
        self.begin()

    def begin(self) -> memoryview:
        """The buffer, for somebody who fills it from its beginning.

        Nothing that was in it counts as verified any more, for it may be overwritten.
        """
        self._unverified = self._chunk.blocks()
        self._block = next(self._unverified, None)
        # Where that block begins, and how far it has been hashed if only a part of it was there.
        self._start = 0
        self._hashed = 0
        self._hasher = block_hasher()
        return self._buffer

    def came(self, filled: int) -> None:
        """The first `filled` bytes are there: verify what of them is not yet verified.

        Raises `SourceLied` at the first block that is not what it must be.
        """
        while (block := self._block) is not None and self._start + block.length <= filled:
            end = self._start + block.length
            if self._hashed > self._start:
                self._hasher.update(self._buffer[self._hashed : end])
                digest = self._hasher.digest()
                self._hasher = block_hasher()
            else:
                digest = block_digest(self._buffer[self._start : end])
            if digest != block.digest:
                raise SourceLied("it sent bytes that do not match their digest")
            self._start = self._hashed = end
            self._block = next(self._unverified, None)
        if self._block is not None and filled > self._hashed:
            self._hasher.update(self._buffer[self._hashed : filled])
            self._hashed = filled

    def finish(self) -> None:
        """All bytes are there: verify what is left, then write. Raises as `came` and as `write`."""
        self.came(len(self._buffer))
        self._write(self._placed())

    def _placed(self) -> Iterator[Written]:
        at = 0
        for block in self._chunk.blocks():
            yield block.file, block.offset, self._buffer[at : at + block.length]
            at += block.length
