"""Reading the extents of a chunk from the files of a game, so that they can be sent. Blocks."""

from __future__ import annotations

from collections.abc import Sequence

from lanspread.fs.digests import matches, open_stamped
from lanspread.fs.errors import FileChanged
from lanspread.seams import File, FileStamp, Folder


class ExtentReader:
    """The bytes of `extents`, one after the other, as one stream.

    An extent is (file number, offset, length); `stamps` is indexed by file number and says what
    each file must still be, before its first byte is read and after its last. Not for two threads
    at once. The folder is the caller's.
    """

    def __init__(
        self,
        folder: Folder,
        stamps: Sequence[FileStamp],
        extents: Sequence[tuple[int, int, int]],
    ) -> None:
        """Raises `ValueError` for an extent that is outside its file."""
        for number, offset, length in extents:
            if not 0 <= number < len(stamps):
                raise ValueError("an extent names a file that is not there")
            if offset < 0 or length < 0 or offset + length > stamps[number].size:
                raise ValueError("an extent is outside its file")
        self._folder = folder
        self._stamps = stamps
        self._extents = extents
        self._next = 0
        self._done_bytes = 0
        self._file: File | None = None
        self._number = -1

    def read(self, max_bytes: int) -> bytes:
        """Up to `max_bytes`, from as many files as it takes; `b""` when all was read.

        Raises `FileChanged`; what was read before in the same file is then worthless. Raises
        `OSError` if a file cannot be read.
        """
        try:
            pieces = self._pieces(max_bytes)
        except BaseException:
            self.close()
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close the file that is open."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _pieces(self, room: int) -> list[bytes]:
        pieces: list[bytes] = []
        while room > 0 and self._next < len(self._extents):
            number, offset, length = self._extents[self._next]
            file = self._open(number)
            size = min(room, length - self._done_bytes)
            data = file.read_at(size, offset + self._done_bytes) if size else b""
            if len(data) != size:
                raise FileChanged(self._stamps[number].path)
            if data:
                pieces.append(data)
            room -= size
            self._done_bytes += size
            if self._done_bytes == length:
                self._next += 1
                self._done_bytes = 0
                self._leave(number)
        return pieces

    def _open(self, number: int) -> File:
        if self._file is None or self._number != number:
            self.close()
            self._file = open_stamped(self._folder, self._stamps[number])
            self._number = number
        return self._file

    def _leave(self, number: int) -> None:
        """After an extent: check and close its file unless the next one goes on with it."""
        if self._next < len(self._extents) and self._extents[self._next][0] == number:
            return
        assert self._file is not None
        if not matches(self._file.entry(), self._stamps[number]):
            raise FileChanged(self._stamps[number].path)
        self.close()
