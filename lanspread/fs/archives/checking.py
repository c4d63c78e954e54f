"""What of an archive is refused: names, kinds, sizes, numbers. Pure.

Source: ARCHITECTURE.md, "Paths from outside".
"""

from __future__ import annotations

from collections.abc import Sequence

from lanspread import limits
from lanspread.fs.archives.members import (
    ArchiveBomb,
    ArchiveDamaged,
    ArchiveUnsupported,
    Member,
    MemberKind,
    Sink,
)
from lanspread.fs.paths import NamesApart, UnsafePath, check_parts, names_marker


def check_members(
    members: Sequence[Member], packed_bytes: int, archive: str = "the archive"
) -> tuple[str, ...]:
    """The paths of all members, in their order, below the folder that they are unpacked into.

    A folder's has no slash at its end. Raises `UnsafePath` for a path that must not become a name
    there, for two that could meet, and for what is neither file nor folder; `ArchiveBomb` for
    declared sizes no game has. One bad member refuses the archive.
    """
    check_sizes(sum(member.size for member in members), packed_bytes, archive)
    names = NamesApart()
    return tuple(_check_member(member, names) for member in members)


def check_sizes(unpacked_bytes: int, packed_bytes: int, archive: str) -> None:
    """Raises `ArchiveBomb` where the declared bytes are out of proportion."""
    if unpacked_bytes > limits.MAX_GAME_BYTES:
        raise ArchiveBomb(archive, f"claims to hold more than {limits.MAX_GAME_BYTES} bytes")
    if (
        unpacked_bytes > limits.ARCHIVE_BOMB_BYTES
        and unpacked_bytes > packed_bytes * limits.ARCHIVE_BOMB_RATIO
    ):
        raise ArchiveBomb(
            archive, f"would grow to more than {limits.ARCHIVE_BOMB_RATIO} times its size"
        )


def _check_member(member: Member, names: NamesApart) -> str:
    path = member.path
    if member.kind is MemberKind.FOLDER:
        path = path.removesuffix("/")
    elif member.kind is not MemberKind.FILE:
        raise UnsafePath(path, "is neither a file nor a folder")
    parts = check_parts(path)
    if names_marker(parts[0]):
        raise UnsafePath(path, "has a name that is reserved")
    if member.kind is MemberKind.FOLDER:
        names.add_folder(path, path)
    else:
        names.count_file(path)
        names.add_file(path)
    return path


class Listing:
    """Collects an archive's members within bounds, so that no list fills the memory."""

    def __init__(self, archive: str) -> None:
        self.members: list[Member] = []
        self.unpacked_bytes = 0
        self._archive = archive
        self._name_chars = 0

    def add(self, member: Member) -> None:
        """Raises `ArchiveUnsupported` for one too many."""
        self._name_chars += len(member.path)
        if (
            len(self.members) >= limits.MAX_ARCHIVE_MEMBERS
            or self._name_chars > limits.MAX_ARCHIVE_INDEX_BYTES
        ):
            raise too_many_members(self._archive)
        self.unpacked_bytes += member.size
        self.members.append(member)


def too_many_members(archive: str) -> ArchiveUnsupported:
    """The error for a list that is longer than any game's."""
    return ArchiveUnsupported(
        archive, f"holds more than {limits.MAX_ARCHIVE_MEMBERS} files and folders"
    )


class Exactly:
    """A sink in front of another: each file gets the bytes that it declared, no more, no fewer."""

    def __init__(self, archive: str, members: Sequence[Member], sink: Sink) -> None:
        self._archive = archive
        self._members = members
        self._sink = sink
        self._left = 0

    def begin(self, number: int) -> None:
        self._left = self._members[number].size
        self._sink.begin(number)

    def data(self, chunk: bytes | memoryview) -> None:
        """Raises `ArchiveDamaged` instead of passing on a byte too many."""
        self._left -= len(chunk)
        if self._left < 0:
            raise ArchiveDamaged(self._archive, "holds a file that is longer than it says")
        self._sink.data(chunk)

    def end(self) -> None:
        """Raises `ArchiveDamaged` for a file that is shorter than it said."""
        if self._left:
            raise ArchiveDamaged(self._archive, "holds a file that is shorter than it says")
        self._sink.end()
