"""What the two readers of RAR archives share: errors in the same words, and a look at the end."""

from __future__ import annotations

import stat
import sys
from typing import Final

from lanspread.fs.archives import rar_headers
from lanspread.fs.archives.members import ArchiveDamaged, ArchiveUnsupported, MemberKind
from lanspread.seams import Folder, Kind

REMEDY: Final = (
    "install lanspread with its extra for RAR archives: pip install 'lanspread[rar]', or the "
    "package rarfile and the program unrar"
)


def path_of(folder: Folder, name: str) -> str:
    """A path to `name` for a library. Raises `ArchiveUnsupported` where there is none."""
    path = folder.system_path(name)
    if path is None:
        raise ArchiveUnsupported(name, "is a RAR archive, and those are read from a disk only")
    return path


def split_path(path: str) -> tuple[str, str]:
    """The folder of a path in the system, its separator included, and the name in it."""
    at = max(path.rfind("/"), path.rfind("\\") if sys.platform == "win32" else -1) + 1
    return path[:at], path[at:]


def check_volume(folder: Folder, name: str, volume: str) -> None:
    """Raises `ArchiveDamaged` if a volume of the archive `name` is no regular file of `folder`."""
    if folder.entry(volume).kind is not Kind.FILE:
        raise ArchiveDamaged(name, f"needs its volume {volume}, which is no file")


def check_end(folder: Folder, name: str, last: str) -> None:
    """Raises `ArchiveDamaged` if the archive `name` was to go on where its `last` volume ends."""
    with folder.open(last, "read") as file:
        head = file.read_at(rar_headers.HEAD_BYTES, 0)
        start = max(0, file.entry().size - rar_headers.TAIL_BYTES)
        if not rar_headers.ends_properly(head, file.read_at(rar_headers.TAIL_BYTES, start)):
            raise ArchiveDamaged(name, "is cut off")


def kind_of(unix_mode: int, *, redirected: bool, folder: bool) -> MemberKind:
    """A member's kind; `unix_mode` is 0 where the archive was not made on such a system."""
    if redirected or stat.S_ISLNK(unix_mode):
        return MemberKind.LINK
    if folder:
        return MemberKind.FOLDER
    if stat.S_IFMT(unix_mode) in (0, stat.S_IFREG):
        return MemberKind.FILE
    return MemberKind.OTHER


def nothing_reads_rar(name: str) -> ArchiveUnsupported:
    """The error where neither the library nor the program is there."""
    return ArchiveUnsupported(name, "is a RAR archive, and nothing here can unpack those", REMEDY)


def copies_unsupported(name: str) -> ArchiveUnsupported:
    """The error for files that are stored as references to others."""
    return ArchiveUnsupported(
        name, "stores identical files only once", "pack it again without that option (-oi)"
    )


def holds_nothing(name: str) -> ArchiveDamaged:
    """The error for an archive without members, which no packer makes."""
    return ArchiveDamaged(name, "holds nothing, or what it holds is cut off")


def not_first(name: str) -> ArchiveDamaged:
    """The error for a set that is opened in the middle."""
    return ArchiveDamaged(name, "is not the first volume of its set")
