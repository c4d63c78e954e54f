"""Tar archives, plain or compressed by gzip, bzip2 or xz.

The headers' blocks are read by the standard library, the walk over them is ours: `tarfile` reads
whatever a header claims into memory, calls itself for every extended header, and its patterns take
quadratic time on some of them.
"""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from lanspread import limits
from lanspread.fs.archives.checking import Exactly, Listing, check_sizes
from lanspread.fs.archives.decompressing import ForwardReader
from lanspread.fs.archives.members import (
    ArchiveDamaged,
    ArchiveUnsupported,
    Member,
    MemberKind,
    Sink,
    plausible_mtime,
)
from lanspread.fs.archives.reading import FileStream
from lanspread.fs.closing import Closing
from lanspread.fs.progress import UNWATCHED, Watch
from lanspread.seams import File

_BLOCK: Final = tarfile.BLOCKSIZE
_FILES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LINKS: Final = (tarfile.SYMTYPE, tarfile.LNKTYPE)
_PAX: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
# Types whose data describe something else than a file: what follows, or the whole archive.
_EXTRA: Final = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"V")
_PAX_LENGTH: Final = re.compile(rb"([0-9]{1,9}) ")
# What GNU tar and bsdtar write for files with holes: the size of the member is not the file's.
_SPARSE_KEY: Final = b"GNU.sparse."
_DECIMAL: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9})[0-9]*)?")


class TarArchive(Closing):
    """`Archive` over a tar file; the file is closed with it."""

    def __init__(self, file: File, name: str, watch: Watch = UNWATCHED) -> None:
        """Reads the list, of a compressed one by decompressing it all. Raises `ArchiveError`,
        `OSError` and, when `watch` says so, `Stopped`; then `file` is not closed."""
        self._file = file
        self._name = name
        self._watch = watch
        self.volumes: Sequence[str] = (name,)
        self.packed_bytes = file.entry().size
        listing = Listing(name)
        reader = self._reader()
        for member in _walk(reader, name):
            watch.step()
            listing.add(member)
            # At once: passing over what a bomb holds is what it wants.
            check_sizes(listing.unpacked_bytes, self.packed_bytes, name)
            reader.skip(_padded(member.size))
        self.members: Sequence[Member] = listing.members

    def unpack(self, sink: Sink) -> None:
        exactly = Exactly(self._name, self.members, sink)
        reader = self._reader()
        walk = _walk(reader, self._name)
        for number, (member, listed) in enumerate(itertools.zip_longest(walk, self.members)):
            if member is None or member != listed:
                raise ArchiveDamaged(self._name, "changed while it was unpacked")
            if member.kind is MemberKind.FILE:
                exactly.begin(number)
                _unpack_one(reader, member, exactly)
                exactly.end()
            reader.skip(_padded(member.size) - member.size)

    def close(self) -> None:
        self._file.close()

    def _reader(self) -> ForwardReader:
        return ForwardReader(FileStream(self._file), self._name, self._watch)


def is_tar(block: bytes) -> bool:
    """Whether a file's first, decompressed 512 bytes are a tar's header."""
    try:
        return bool(tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").name)
    except (tarfile.HeaderError, ValueError):
        return False


@attrs.define
class _Extended:
    """What extended headers say of the next member."""

    path: str | None = None
    size: int | None = None
    mtime_ns: int | None = None


def _walk(reader: ForwardReader, name: str) -> Iterator[Member]:
    """The members; whoever takes one takes its data, padded, from the reader before the next."""
    extended = _Extended()
    header_bytes = 0
    while (info := _header(reader, name)) is not None:
        if info.type in _EXTRA:
            header_bytes += _BLOCK + info.size
            if header_bytes > limits.MAX_TAR_HEADER_BYTES:
                raise ArchiveUnsupported(name, "describes a file at extraordinary length")
            data = reader.read(_padded(info.size))
            if len(data) < _padded(info.size):
                raise reader.cut_off()
            _extend(extended, info.type, data[: info.size], name)
            continue
        member = _member(info, extended, name)
        if member is not None:
            yield member
        extended = _Extended()
        header_bytes = 0
    reader.finish()


def _header(reader: ForwardReader, name: str) -> tarfile.TarInfo | None:
    """The next header; None at the end, which is a block of zeros."""
    block = reader.read(_BLOCK)
    if not block:
        raise reader.cut_off()
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # unknown to the stubs
        return None
    except (tarfile.HeaderError, ValueError) as error:
        raise ArchiveDamaged(name, "is damaged or cut off") from error
    if info.size < 0:
        raise ArchiveDamaged(name, "is damaged")
    return info


def _member(info: tarfile.TarInfo, extended: _Extended, name: str) -> Member | None:
    """The member, or None for the folder itself that `tar .` begins with."""
    if info.type == tarfile.GNUTYPE_SPARSE:
        raise _sparse(name)
    path = info.name if extended.path is None else extended.path
    kind = MemberKind.OTHER
    if info.type in _FILES:
        kind = MemberKind.FOLDER if path.endswith("/") else MemberKind.FILE
    elif info.type == tarfile.DIRTYPE:
        kind = MemberKind.FOLDER
    elif info.type in _LINKS:
        kind = MemberKind.LINK
    size = info.size if extended.size is None else extended.size
    if kind is not MemberKind.FILE and size:
        if info.type != tarfile.LNKTYPE:
            raise ArchiveDamaged(name, "gives bytes to what is no file")
        size = 0  # POSIX lets a second name of a file tell the file's size again.
    path = path.removeprefix("./")  # What `tar .` puts before every path.
    if kind is MemberKind.FOLDER and path in ("", "."):
        return None
    mtime_ns = plausible_mtime(int(info.mtime) * 1_000_000_000)
    if extended.mtime_ns is not None:
        mtime_ns = extended.mtime_ns
    return Member(path, kind, size, mtime_ns, bool(info.mode & 0o100))


def _extend(extended: _Extended, kind: bytes, data: bytes, name: str) -> None:
    if kind == tarfile.GNUTYPE_LONGNAME:
        extended.path = _text(data.split(b"\0", 1)[0])
    elif kind in _PAX:
        for key, value in _pax_records(data, name):
            if key.startswith(_SPARSE_KEY):
                raise _sparse(name)
            if key in _PAX_KEYS:
                _PAX_KEYS[key](extended, value, name)


def _pax_records(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """`LENGTH KEY=VALUE\\n` one after the other, LENGTH counting all of it. Source: POSIX pax."""
    at = 0
    while at < len(data):
        length = _PAX_LENGTH.match(data, at)
        if length is None:
            raise ArchiveDamaged(name, "is damaged")
        record = data[length.end() : at + int(length[1])]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or at + int(length[1]) > len(data):
            raise ArchiveDamaged(name, "is damaged")
        yield key, value[:-1]
        at += int(length[1])


def _set_path(extended: _Extended, value: bytes, name: str) -> None:
    extended.path = _text(value)


def _set_size(extended: _Extended, value: bytes, name: str) -> None:
    if not re.fullmatch(rb"[0-9]{1,18}", value):
        raise ArchiveDamaged(name, "is damaged")
    extended.size = int(value)


def _set_mtime(extended: _Extended, value: bytes, name: str) -> None:
    if match := _DECIMAL.fullmatch(_text(value)):
        nanoseconds = int((match[2] or "").ljust(9, "0"))
        extended.mtime_ns = plausible_mtime(int(match[1]) * 1_000_000_000 + nanoseconds)


_PAX_KEYS: Final[dict[bytes, Callable[[_Extended, bytes, str], None]]] = {
    b"path": _set_path,
    b"size": _set_size,
    b"mtime": _set_mtime,
}


def _unpack_one(reader: ForwardReader, member: Member, sink: Exactly) -> None:
    left = member.size
    while left:
        chunk = reader.read(min(left, limits.UNPACK_CHUNK_BYTES))
        if not chunk:
            raise reader.cut_off()
        sink.data(chunk)
        left -= len(chunk)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _text(data: bytes) -> str:
    # What is not UTF-8 becomes lone surrogates, which no path may have.
    return data.decode("utf-8", "surrogateescape")


def _sparse(name: str) -> ArchiveUnsupported:
    return ArchiveUnsupported(
        name, "holds files with holes in them", "pack it again without tar's --sparse"
    )
