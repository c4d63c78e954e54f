"""Archives as games bring them: opened by content, listed, checked, unpacked into a sink."""

from lanspread.fs.archives.checking import check_members
from lanspread.fs.archives.members import (
    Archive,
    ArchiveBomb,
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveError,
    ArchiveUnsupported,
    Member,
    MemberKind,
    Sink,
)
from lanspread.fs.archives.opening import open_archive, open_archives, sort_volumes

__all__ = [
    "Archive",
    "ArchiveBomb",
    "ArchiveDamaged",
    "ArchiveEncrypted",
    "ArchiveError",
    "ArchiveUnsupported",
    "Member",
    "MemberKind",
    "Sink",
    "check_members",
    "open_archive",
    "open_archives",
    "sort_volumes",
]
