"""Zip archives, by the standard library."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from lanspread import limits
from lanspread.fs.archives.checking import Exactly, Listing, too_many_members
from lanspread.fs.archives.members import (
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveError,
    ArchiveUnsupported,
    Member,
    MemberKind,
    Sink,
    plausible_mtime,
)
from lanspread.fs.archives.reading import BeforeStart, FileStream
from lanspread.fs.closing import Closing
from lanspread.seams import File

SIGNATURES: Final = (b"PK\x03\x04", b"PK\x05\x06")
_INDEX_ENTRY: Final = b"PK\x01\x02"
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000  # data; strong; the directory itself
_UNIX: Final = 3
# The standard library bounds what one read gives for these two only.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises for what is wrong with an archive, seen by fuzzing it and in its source.
_WRONG: Final = (
    BeforeStart,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
    struct.error,
)


class ZipArchive(Closing):
    """`Archive` over a zip file; the file is closed with it."""

    def __init__(self, file: File, name: str) -> None:
        """Reads the list. Raises `ArchiveError` and `OSError`, and then `file` is not closed."""
        self._file = file
        self._name = name
        self.volumes: Sequence[str] = (name,)
        stream = _BoundedIndex(file, name)
        self.packed_bytes = stream.size
        try:
            self._zip = zipfile.ZipFile(stream)
        except _WRONG as error:
            raise _wrong(name, error) from error
        stream.reading_index = False
        listing = Listing(name)
        for info in self._zip.filelist:
            _check_info(info, name)
            listing.add(_member(info))
        self.members: Sequence[Member] = listing.members

    def unpack(self, sink: Sink) -> None:
        exactly = Exactly(self._name, self.members, sink)
        for number, (info, member) in enumerate(zip(self._zip.filelist, self.members, strict=True)):
            if member.kind is MemberKind.FILE:
                exactly.begin(number)
                self._unpack_one(info, exactly)
                exactly.end()

    def close(self) -> None:
        self._zip.close()
        self._file.close()

    def _unpack_one(self, info: zipfile.ZipInfo, sink: Exactly) -> None:
        try:
            source = self._zip.open(info)
        except _WRONG as error:
            raise _wrong(self._name, error) from error
        with source:
            while True:
                try:
                    chunk = source.read(limits.UNPACK_CHUNK_BYTES)
                except _WRONG as error:
                    raise _wrong(self._name, error) from error
                if not chunk:
                    return
                sink.data(chunk)


class _BoundedIndex(FileStream):
    """While the list is read, refuses one that would fill the memory: zipfile takes any.

    It reads the list in one piece, and each entry of it begins with the same four bytes.
    """

    def __init__(self, file: File, name: str) -> None:
        super().__init__(file)
        self._name = name
        self.reading_index = True

    def read(self, size: int = -1) -> bytes:
        if not self.reading_index:
            return super().read(size)
        if min(size, self.size) > limits.MAX_ARCHIVE_INDEX_BYTES:
            raise too_many_members(self._name)
        data = super().read(size)
        if data.count(_INDEX_ENTRY) > limits.MAX_ARCHIVE_MEMBERS:
            raise too_many_members(self._name)
        return data


def _check_info(info: zipfile.ZipInfo, name: str) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveEncrypted(name)
    if info.compress_type not in _METHODS:
        raise ArchiveUnsupported(
            name,
            "uses a compression that is not supported in zip archives",
            "pack it again with the usual one (deflate)",
        )


def _member(info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    if stat.S_ISLNK(mode):
        kind = MemberKind.LINK
    elif info.orig_filename.endswith("/") or stat.S_ISDIR(mode):
        kind = MemberKind.FOLDER
    elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
        kind = MemberKind.FILE
    else:
        kind = MemberKind.OTHER
    size = info.file_size if kind is MemberKind.FILE else 0
    # Not `filename`: that one ends before a NUL and has the system's separators replaced.
    path = info.orig_filename
    return Member(path, kind, size, _mtime_ns(info), bool(mode & stat.S_IXUSR))


def _mtime_ns(info: zipfile.ZipInfo) -> int | None:
    try:
        when = datetime(*info.date_time)  # The local time of whoever packed it; zone unknown.
        return plausible_mtime(int(when.timestamp()) * 1_000_000_000)
    except (ValueError, OverflowError, OSError):
        return None


def _wrong(name: str, error: Exception) -> ArchiveError:
    if isinstance(error, NotImplementedError):
        return ArchiveUnsupported(name, "uses a feature of zip archives that is not supported")
    return ArchiveDamaged(name, "is damaged")
