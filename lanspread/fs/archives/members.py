"""What an archive is to the rest of the program, whatever its format, and how it can fail."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

import attrs

from lanspread.fs.errors import FsError
from lanspread.fs.paths import shown

# Times that every file system can keep: after 1970, before nanoseconds overflow.
_MAX_MTIME_NS: Final = (1 << 63) - 1


class ArchiveError(FsError):
    """An archive that cannot be unpacked. `path` is its name, `remedy` says what would help."""

    def __init__(self, path: str, why: str, remedy: str = "") -> None:
        super().__init__(f"{shown(path)} {why}")
        self.path = path
        self.remedy = remedy


class ArchiveEncrypted(ArchiveError):
    """It needs a password, for its names or for its data."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "is encrypted", "pack it again without a password")


class ArchiveDamaged(ArchiveError):
    """It is cut off, changed, not the beginning of its set, or a volume of its set is missing."""


class ArchiveUnsupported(ArchiveError):
    """It may be whole, but this machine cannot unpack it."""


class ArchiveBomb(ArchiveError):
    """It would give far more bytes than any game of its size."""


class MemberKind(enum.Enum):
    """What a member is to become. Links of every sort, and copies by reference, are `LINK`."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@attrs.frozen
class Member:
    """One member as the archive describes it: nothing of it is checked.

    `path` has its parts joined by `/`; a folder's may end in one. `size` is declared, in bytes.
    """

    path: str
    kind: MemberKind
    size: int
    mtime_ns: int | None = None
    executable: bool = False


class Sink(Protocol):
    """Where the bytes of an archive's files go. What it raises stops the unpacking and comes out of
    `Archive.unpack` as it is."""

    def begin(self, number: int) -> None:
        """The file `members[number]` follows; numbers only rise."""

    def data(self, chunk: bytes | memoryview) -> None:
        """The next bytes of it. `chunk` is good only until this returns."""

    def end(self) -> None:
        """The file is complete: as many bytes as declared, its checksum right."""


class Archive(Protocol):
    """An archive that is open: its list was read to the end, its data was not."""

    @property
    def members(self) -> Sequence[Member]:
        """In the order in which they are unpacked, at most `limits.MAX_ARCHIVE_MEMBERS`."""

    @property
    def packed_bytes(self) -> int:
        """The size of all its volumes."""

    @property
    def volumes(self) -> Sequence[str]:
        """The names in the folder of all files that it consists of, in order."""

    def unpack(self, sink: Sink) -> None:
        """Give every file to `sink`, in one pass. May be called again, for another pass.

        Raises `ArchiveError`, `OSError`, and what `sink` raises; after an error the last file that
        began is incomplete. No file gets more bytes than it declares.
        """

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def plausible_mtime(mtime_ns: int) -> int | None:
    """A time from an archive if a file can have it, else None."""
    return mtime_ns if 0 < mtime_ns <= _MAX_MTIME_NS else None
