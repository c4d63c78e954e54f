"""A file's bytes from front to back, decompressed if its first bytes say so, in bounded memory."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from lanspread import limits
from lanspread.fs.archives.members import ArchiveDamaged, ArchiveUnsupported
from lanspread.fs.archives.reading import FileStream
from lanspread.fs.progress import UNWATCHED, Watch

# Little at a time: what follows the end of one compressed stream is copied for the next.
_READ_BYTES: Final = 64 * limits.KIB
# Archives are filled up to whole records of a tape; nobody's are this long.
_MAX_AFTER_END: Final = 8 * limits.MIB


class _Decompressor(Protocol):
    """What bz2 and lzma have; `_Gzip` gives zlib the same."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor, which keeps unread input apart, in the shape of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _new_xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.MAX_ARCHIVE_DICTIONARY_BYTES)


COMPRESSIONS: Final[dict[bytes, Callable[[], _Decompressor]]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": _new_xz,
}


def compression_of(head: bytes) -> Callable[[], _Decompressor] | None:
    """How a file with these first bytes is compressed; None if not."""
    for signature, new in COMPRESSIONS.items():
        if head.startswith(signature):
            return new
    return None


class ForwardReader:
    """Reads a stream once. Raises `ArchiveError` with `name` for what cannot be decompressed, and
    `Stopped` when `watch` says so, however little comes of what is read."""

    def __init__(self, stream: FileStream, name: str, watch: Watch = UNWATCHED) -> None:
        self._stream = stream
        self._name = name
        self._watch = watch
        self._new = compression_of(stream.read(6))
        stream.seek(0)
        self._decompressor = None if self._new is None else self._new()
        # Whether the decompressor's stream has ended, and what it left was looked at.
        self._ended = False
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        if self._decompressor is None:
            return self._stream.read(size)
        pieces = [self._ahead[:size]]
        self._ahead = self._ahead[size:]
        have = len(pieces[0])
        while have < size and (piece := self._decompress(max(size - have, _READ_BYTES))):
            pieces.append(piece[: size - have])
            self._ahead = piece[size - have :]
            have += len(pieces[-1])
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes. Raises `ArchiveDamaged` if there are fewer."""
        if self._decompressor is None:
            if self._stream.tell() + size > self._stream.size:
                raise self.cut_off()
            self._stream.seek(self._stream.tell() + size)
            return
        while size:
            data = self.read(min(size, limits.UNPACK_CHUNK_BYTES))
            if not data:
                raise self.cut_off()
            size -= len(data)

    def finish(self) -> None:
        """Read to the end, which is what checks the sums of a compressed file."""
        if self._decompressor is not None and len(self.read(_MAX_AFTER_END)) == _MAX_AFTER_END:
            raise ArchiveDamaged(self._name, "goes on after its end")

    def cut_off(self) -> ArchiveDamaged:
        """The error for a file that ends too early."""
        return ArchiveDamaged(self._name, "is cut off")

    def _decompress(self, size: int) -> bytes:
        """At most `size` bytes, at least one; none at the end."""
        assert self._new is not None
        assert self._decompressor is not None
        while True:
            self._watch.step()
            if self._decompressor.eof:
                # What it did not use it goes on to show: that is looked at once.
                unused = b"" if self._ended else self._decompressor.unused_data
                self._ended = True
                # Several streams one after the other are one file; zeros fill up a tape.
                left = (unused or self._stream.read(_READ_BYTES)).lstrip(b"\0")
                if not left and self._stream.tell() >= self._stream.size:
                    return b""
                if not left:
                    continue
                self._decompressor, self._ended = self._new(), False
                data = left
            elif self._decompressor.needs_input:
                data = self._stream.read(_READ_BYTES)
                if not data:
                    raise self.cut_off()
            else:
                data = b""
            if piece := self._call(data, size):
                return piece

    def _call(self, data: bytes, size: int) -> bytes:
        assert self._decompressor is not None
        try:
            return self._decompressor.decompress(data, size)
        except lzma.LZMAError as error:
            if "memory" in str(error).lower():
                raise ArchiveUnsupported(
                    self._name, "needs more memory than is allowed for unpacking"
                ) from error
            raise ArchiveDamaged(self._name, "is damaged") from error
        except (OSError, EOFError, zlib.error) as error:  # OSError is what bz2 says of bad data.
            raise ArchiveDamaged(self._name, "is damaged") from error
