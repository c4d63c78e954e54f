"""Reading the extents of a chunk from the files of a game, so that they can be sent. Blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lanspread.fs.digests import matches, open_stamped
from lanspread.fs.errors import FileChanged
from lanspread.fs.near import NearFolders
from lanspread.seams import File, FileStamp, Folder


class ExtentReader:
    """The bytes of `extents`, one after the other, as one stream.

    An extent is (file number, offset, length); `stamps` is indexed by file number and says what
    each file must still be, before its first byte is read and after its last. Not for two threads
    at once. The folder is opened by the first read, so that this, too, happens where reading does.
    """

    def __init__(
        self,
        open_folder: Callable[[], Folder],
        stamps: Sequence[FileStamp],
        extents: Sequence[tuple[int, int, int]],
    ) -> None:
        """Raises `ValueError` for an extent that is outside its file."""
        left = 0
        for number, offset, length in extents:
            if not 0 <= number < len(stamps):
                raise ValueError("an extent names a file that is not there")
            if offset < 0 or length < 0 or offset + length > stamps[number].size:
                raise ValueError("an extent is outside its file")
            left += length
        self._open_folder = open_folder
        self._folder: Folder | None = None
        self._near: NearFolders | None = None
        self._stamps = stamps
        self._extents = extents
        self._next = 0
        self._done_bytes = 0
        self._left_bytes = left
        self._file: File | None = None
        self._number = -1

    def read_into(self, buffer: memoryview) -> int:
        """Fill a writable buffer of bytes, from as many files as it takes; returns how many.

        Fewer than it holds only at the end, 0 when all was read. Raises `FileChanged`; what was
        read before in the same file is then worthless. Raises `OSError` if a file cannot be read,
        and what opening the folder raises.
        """
        try:
            return self._fill(buffer)
        except BaseException:
            self.close()
            raise

    def read(self, max_bytes: int) -> bytes | bytearray:
        """As `read_into`, into a buffer of its own: up to `max_bytes`, none when all was read."""
        data = bytearray(min(max_bytes, self._left_bytes))
        self.read_into(memoryview(data))
        return data

    def close(self) -> None:
        """Close what is open; nothing is when all was read."""
        self._close_file()
        if self._near is not None:
            self._near.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.close()

    def _fill(self, buffer: memoryview) -> int:
        have = 0
        while self._next < len(self._extents) and (have < len(buffer) or not self._left_bytes):
            number, offset, length = self._extents[self._next]
            file = self._open(number)
            size = min(len(buffer) - have, length - self._done_bytes)
            if size:
                piece = buffer[have : have + size]
                if file.read_into(piece, offset + self._done_bytes) != size:
                    raise FileChanged(self._stamps[number].path)
            have += size
            self._done_bytes += size
            self._left_bytes -= size
            if self._done_bytes == length:
                self._next += 1
                self._done_bytes = 0
                self._leave(number)
        return have

    def _open(self, number: int) -> File:
        if self._file is None or self._number != number:
            self._close_file()
            if self._near is None or self._folder is None:
                self._folder = self._open_folder()
                self._near = NearFolders(self._folder)
            self._file = open_stamped(self._near, self._stamps[number])
            self._number = number
        return self._file

    def _leave(self, number: int) -> None:
        """After an extent: check and close its file unless the next one goes on with it."""
        if self._next < len(self._extents) and self._extents[self._next][0] == number:
            return
        assert self._file is not None
        if not matches(self._file.entry(), self._stamps[number]):
            raise FileChanged(self._stamps[number].path)
        self._close_file()
        if self._next == len(self._extents):
            self.close()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
