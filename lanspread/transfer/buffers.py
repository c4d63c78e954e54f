"""The memory of one download: a number of buffers, each as large as its largest chunk, reused."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Buffers:
    """Who takes one asks its schedule first: no more than `most` are ever in use."""

    def __init__(self, total_bytes: int, each_bytes: int) -> None:
        self._each_bytes = max(1, each_bytes)
        # Two at least: one that is filled while another is written.
        self.most = max(2, total_bytes // self._each_bytes)
        self._free: list[mmap.mmap] = []

    @contextmanager
    def take(self, length: int) -> Iterator[memoryview]:
        """A view of `length` bytes, at most what a buffer has; what is in it is anything.

        Behind the block it must not be used any more.
        """
        # The one used last is the one still in the processor's cache.
        buffer = self._free.pop() if self._free else self._new()
        try:
            with memoryview(buffer) as whole, whole[:length] as view:
                yield view
        finally:
            self._free.append(buffer)

    def close(self) -> None:
        """Give back what nobody uses. Blocks: tens of MB take the system ten milliseconds."""
        while self._free:
            # An error that somebody keeps may hold a frame with a view; it goes with that.
            with suppress(BufferError):
                self._free.pop().close()

    def _new(self) -> mmap.mmap:
        # Not a `bytearray`, which writes its zeros here and now: the memory of a few hundred MB a
        # second that is touched for the first time would be found by the event loop.
        return mmap.mmap(-1, self._each_bytes)
