"""RAR archives of every version, solid, in volumes, by the UnRAR library."""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from typing import Final

from lanspread import limits
from lanspread.fs.archives import rar_common
from lanspread.fs.archives.checking import Exactly, Listing
from lanspread.fs.archives.members import (
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveUnsupported,
    Member,
    MemberKind,
    Sink,
    plausible_mtime,
)
from lanspread.fs.archives.unrar import Header, Mode, OpenRar, Redirection
from lanspread.fs.closing import Closing
from lanspread.seams import Folder

# The second and later volumes in the old scheme: UnRAR makes `x.e00` of `x.eti`.
_OLD_STYLE: Final = re.compile(r"(.*\.)[^.]([0-9]{2})", re.DOTALL)


class RarArchive(Closing):
    """`Archive` over a RAR file and its further volumes. The folder must stay open."""

    def __init__(self, folder: Folder, name: str) -> None:
        """Reads the list. Raises `ArchiveError` and `OSError`."""
        self._folder = folder
        self._name = name
        events = _Listening(folder, name)
        listing = Listing(name)
        with _open(folder, name, Mode.LIST, events) as rar:
            while (header := rar.next_header()) is not None:
                if not header.continued:
                    listing.add(_member(header, name))
                elif len(events.volumes) == 1:
                    raise rar_common.not_first(name)
                rar.skip()
        if not listing.members:
            raise rar_common.holds_nothing(name)
        self.members: Sequence[Member] = listing.members
        self.volumes: Sequence[str] = tuple(events.volumes)
        rar_common.check_end(folder, name, self.volumes[-1])
        self.packed_bytes = sum(folder.entry(volume).size for volume in self.volumes)

    def unpack(self, sink: Sink) -> None:
        events = _Unpacking(self._folder, self._name, Exactly(self._name, self.members, sink))
        with _open(self._folder, self._name, Mode.UNPACK, events) as rar:
            for number, member in enumerate(self.members):
                header = rar.next_header()
                if header is None or _member(header, self._name) != member:
                    raise ArchiveDamaged(self._name, "changed while it was unpacked")
                if member.kind is MemberKind.FILE:
                    events.begin(number)
                    rar.read()
                    events.end()
                else:
                    rar.skip()

    def close(self) -> None:
        """Nothing is held."""


class _Listening:
    """Follows UnRAR from volume to volume; none but regular files of the folder are used."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = name
        self.volumes = [name]

    def volume(self, name: str) -> None:
        rar_common.check_volume(self._folder, self._name, name)
        self.volumes.append(name)

    def missing(self, name: str) -> str | None:
        """Archives that were renamed from `x.rar` to `x.eti` may have kept their `x.r00`."""
        old_style = _OLD_STYLE.fullmatch(name)
        if old_style is not None:
            other = f"{old_style[1]}r{old_style[2]}"
            if other != name and self._folder.exists(other):
                rar_common.check_volume(self._folder, self._name, other)
                return other
        raise ArchiveDamaged(self._name, f"needs its volume {name}, which is missing")

    def data(self, chunk: memoryview) -> None:
        """Listing unpacks nothing."""


class _Unpacking(_Listening):
    """Hands the bytes of one file after the other on."""

    def __init__(self, folder: Folder, name: str, sink: Exactly) -> None:
        super().__init__(folder, name)
        self._sink = sink
        self._in_file = False

    def begin(self, number: int) -> None:
        self._sink.begin(number)
        self._in_file = True

    def end(self) -> None:
        self._in_file = False
        self._sink.end()

    def data(self, chunk: memoryview) -> None:
        if self._in_file:
            self._sink.data(chunk)


def _open(folder: Folder, name: str, mode: Mode, events: _Listening) -> OpenRar:
    return OpenRar(rar_common.path_of(folder, name), name, mode, events)


def _member(header: Header, name: str) -> Member:
    """Raises `ArchiveError` for what no check of names and sizes would find."""
    if header.encrypted:
        raise ArchiveEncrypted(name)
    if header.redirection == Redirection.COPY:
        raise rar_common.copies_unsupported(name)
    if header.dictionary_bytes > limits.MAX_ARCHIVE_DICTIONARY_BYTES:
        raise ArchiveUnsupported(
            name,
            f"needs {header.dictionary_bytes} bytes of memory to be unpacked",
            f"pack it again with a dictionary of {limits.MAX_ARCHIVE_DICTIONARY_BYTES} or less",
        )
    mode = (header.unix_mode or 0) & 0xFFFF
    redirected = header.redirection != Redirection.NONE
    kind = rar_common.kind_of(mode, redirected=redirected, folder=header.folder)
    size = header.size if kind is MemberKind.FILE else 0
    mtime_ns = plausible_mtime(header.mtime_ns)
    return Member(header.name, kind, size, mtime_ns, bool(mode & stat.S_IXUSR))
