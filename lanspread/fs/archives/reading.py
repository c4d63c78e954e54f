"""Files of the `Folder` seam as streams, for libraries that read streams."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING

from lanspread.seams import File

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class BeforeStart(OSError):
    """A seek to before the beginning: the stream's user went by what an archive claims.

    An `OSError`, because that is what a file gives, and zipfile tries the length of files by it.
    """


class FileStream(io.RawIOBase):
    """A seekable, read-only stream over an open file, which stays the caller's to close."""

    def __init__(self, file: File) -> None:
        super().__init__()
        self._file = file
        self._position = 0
        self.size = file.entry().size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise BeforeStart(errno.EINVAL, "before the beginning of the file")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._file.read_at(len(view), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def read(self, size: int = -1) -> bytes:
        # The size asked for may be an archive's claim: no buffer is made for more than there is.
        there = max(0, self.size - self._position)
        data = self._file.read_at(there if size < 0 else min(size, there), self._position)
        self._position += len(data)
        return data
