"""RAR archives by the package `rarfile` and the system's program `unrar`, where the library is not.

rarfile reads the headers itself; the bytes of a file it takes from a pipe, so nothing is written by
anybody else. Each file is a new run of the program, which unpacks a solid archive again from its
beginning: right, but slow.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import rarfile

from lanspread import limits
from lanspread.fs.archives import rar_common
from lanspread.fs.archives.checking import Exactly, Listing
from lanspread.fs.archives.members import (
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveError,
    Member,
    MemberKind,
    Sink,
    plausible_mtime,
)
from lanspread.fs.closing import Closing
from lanspread.seams import Folder

_OWN_FILES: Final = "/proc/self/"


class RarProgramArchive(Closing):
    """`Archive` over a RAR file and its further volumes. The folder must stay open."""

    def __init__(self, folder: Folder, name: str) -> None:
        """Reads the list. Raises `ArchiveError` and `OSError`."""
        self._name = name
        self._listing = Listing(name)
        path = rar_common.path_of(folder, name)
        if path.startswith(_OWN_FILES):
            # The program has files of its own.
            path = f"/proc/{os.getpid()}/{path.removeprefix(_OWN_FILES)}"
        try:
            rarfile.tool_setup(
                unrar=True, unar=False, bsdtar=False, sevenzip=False, sevenzip2=False, force=True
            )
            # Else it writes parts of archives to temporary files.
            rarfile.USE_EXTRACT_HACK = 0
            self._rar = rarfile.RarFile(path, errors="strict", info_callback=self._on_header)
        except Exception as error:
            raise _wrong(name, error) from error
        if self._rar.needs_password():
            raise ArchiveEncrypted(name)
        self.volumes: Sequence[str] = tuple(
            rar_common.split_path(volume)[1] for volume in self._rar.volumelist()
        )
        for volume in self.volumes:
            rar_common.check_volume(folder, name, volume)
        rar_common.check_end(folder, name, self.volumes[-1])
        self._infos = list(self._rar.infolist())
        if not self._infos:
            raise rar_common.holds_nothing(name)
        self.members: Sequence[Member] = tuple(_member(info, name) for info in self._infos)
        self.packed_bytes = sum(folder.entry(volume).size for volume in self.volumes)

    def unpack(self, sink: Sink) -> None:
        exactly = Exactly(self._name, self.members, sink)
        for number, (info, member) in enumerate(zip(self._infos, self.members, strict=True)):
            if member.kind is MemberKind.FILE:
                exactly.begin(number)
                self._unpack_one(info, exactly)
                exactly.end()

    def close(self) -> None:
        self._rar.close()

    def _unpack_one(self, info: Any, sink: Exactly) -> None:
        try:
            source = self._rar.open(info)
        except Exception as error:
            raise _wrong(self._name, error) from error
        with source:
            while True:
                try:
                    chunk = source.read(limits.UNPACK_CHUNK_BYTES)
                except Exception as error:
                    raise _wrong(self._name, error) from error
                if not chunk:
                    return
                sink.data(chunk)

    def _on_header(self, info: Any) -> None:
        """Called for every header while the list is read, to stop one without an end."""
        if info.filename is not None:
            self._listing.add(Member(info.filename, MemberKind.OTHER, 0))


def _member(info: Any, name: str) -> Member:
    mode = (info.mode or 0) & 0xFFFF if info.host_os == rarfile.RAR_OS_UNIX else 0
    if info.file_redir is not None and info.file_redir[0] == rarfile.RAR5_XREDIR_FILE_COPY:
        raise rar_common.copies_unsupported(name)
    redirected = info.file_redir is not None
    kind = rar_common.kind_of(mode, redirected=redirected, folder=info.is_dir())
    size = int(info.file_size) if kind is MemberKind.FILE else 0
    if kind is MemberKind.FILE and not size and info.CRC:
        raise ArchiveDamaged(name, "is damaged")  # rarfile looks at no sum where nothing is read.
    return Member(str(info.filename), kind, size, _mtime_ns(info), bool(mode & stat.S_IXUSR))


def _mtime_ns(info: Any) -> int | None:
    try:
        when = info.mtime or datetime(*info.date_time)  # The second is local time, zone unknown.
        return plausible_mtime(int(when.timestamp()) * 1_000_000_000)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _wrong(name: str, error: Exception) -> ArchiveError:
    """What rarfile raised for an archive: its own errors, and whatever a parser of hostile bytes
    in Python raises, which nobody lists."""
    if isinstance(error, ArchiveError):
        return error
    if isinstance(error, rarfile.RarCannotExec):
        return rar_common.nothing_reads_rar(name)
    if isinstance(error, (rarfile.PasswordRequired, rarfile.RarWrongPassword)):
        return ArchiveEncrypted(name)
    if isinstance(error, rarfile.NeedFirstVolume):
        return rar_common.not_first(name)
    return ArchiveDamaged(name, "is damaged, cut off, or a volume of it is missing")
