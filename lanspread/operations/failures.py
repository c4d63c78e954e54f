"""What an error on the way means to people: a stable code, and what would help. Pure."""

from __future__ import annotations

import errno

import attrs

from lanspread.errors import Code, LanspreadError
from lanspread.fs import archives
from lanspread.fs.errors import (
    CannotKeep,
    FileChanged,
    FolderNotEmpty,
    FsError,
    InTheWay,
    LeftBehind,
    MovedAway,
    NoSpace,
    NotDownloaded,
    NotFetched,
    NotHere,
    NothingToInstall,
    NotInstalled,
    Unrepaired,
    UnsafePath,
)
from lanspread.transfer.access import GameBusy


@attrs.frozen
class Failure:
    """`expected` is False for a fault of the program."""

    code: Code
    message: str
    remedy: str
    expected: bool = True


def failure_of(error: BaseException) -> Failure:
    """What to tell of an error that ended an operation."""
    message = str(error) or type(error).__name__
    match error:
        case LanspreadError():
            return Failure(error.code, message, error.remedy)
        case GameBusy():
            return Failure(Code.BUSY, message, "try again when the other operation is done")
        case archives.ArchiveError():
            return Failure(_of_archive(error), message, error.remedy or _NEW_ARCHIVE)
        case FsError() | UnsafePath():
            code, remedy = _of_folder(error)
            return Failure(code, message, remedy)
        case OSError():
            code, remedy = _of_system(error)
            return Failure(code, message, remedy)
        case _:
            return Failure(Code.INTERNAL, message, _LOG, expected=False)


_HELD = "close what uses it, or make it a file that can be removed, and try again"
_BY_HAND = (
    "they were copied there by hand: `lanspread remove --force` (on the page: Remove all files) "
    "removes them for good"
)
_LOG = "see the log of this peer"
_NEW_ARCHIVE = "fetch the game again, or get it from somebody else"


def _of_archive(error: archives.ArchiveError) -> Code:
    match error:
        case archives.ArchiveEncrypted():
            return Code.ARCHIVE_ENCRYPTED
        case archives.ArchiveUnsupported():
            return Code.ARCHIVE_UNSUPPORTED
        case _:
            return Code.ARCHIVE_DAMAGED


def _of_folder(error: FsError | UnsafePath) -> tuple[Code, str]:
    match error:
        case NotFetched():
            return Code.FOLDER_NOT_EMPTY, _BY_HAND
        case FolderNotEmpty():
            return Code.FOLDER_NOT_EMPTY, "move these files away, or choose another games folder"
        case LeftBehind():
            return Code.IO_ERROR, _HELD
        case InTheWay():
            return Code.FOLDER_NOT_EMPTY, "move it away and try again"
        case UnsafePath():
            return Code.UNSAFE_PATH, "ask its owner to rename it; nothing was written"
        case NoSpace():
            return Code.NO_SPACE, "free some space and try again"
        case NothingToInstall():
            return Code.NOTHING_TO_INSTALL, "it may be played from its folder as it is"
        case NotDownloaded():
            return Code.NOT_AVAILABLE, "get the game first"
        case NotInstalled():
            return Code.NOT_AVAILABLE, "install the game first"
        case CannotKeep():
            return Code.IO_ERROR, "move it out of the game's folder `local` and try again"
        case FileChanged():
            return Code.IO_ERROR, "close what uses the game's files and try again"
        case Unrepaired():
            return Code.IO_ERROR, "docs/recovery.md says what may be in a game's folder"
        case MovedAway():
            return Code.IO_ERROR, "put it back where it was, or get the game again"
        case NotHere():
            return Code.IO_ERROR, "check that the games folder is there and can be written"
        case _:
            return Code.IO_ERROR, _LOG


def _of_system(error: OSError) -> tuple[Code, str]:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return Code.NO_SPACE, "free some space and try again"
        case errno.EROFS:
            return Code.READ_ONLY, "make the games folder writable"
        case errno.EACCES | errno.EPERM:
            return Code.READ_ONLY, "give this program the right to write there"
        case errno.EBUSY | errno.ETXTBSY:
            return Code.IO_ERROR, "close the game; an antivirus program may hold its files as well"
        case _:
            return Code.IO_ERROR, _LOG
