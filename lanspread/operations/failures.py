"""What an error on the way means to people: a stable code, and what would help. Pure."""

from __future__ import annotations

import errno

import attrs

from lanspread.errors import Code, LanspreadError
from lanspread.fs.errors import (
    FolderNotEmpty,
    FsError,
    InTheWay,
    NoSpace,
    NotHere,
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
    code, remedy, expected = Code.IO_ERROR, "see the log of this peer", True
    match error:
        case LanspreadError():
            code, remedy = error.code, error.remedy
        case FolderNotEmpty():
            code = Code.FOLDER_NOT_EMPTY
            remedy = "move these files away, or choose another games folder"
        case InTheWay():
            code, remedy = Code.FOLDER_NOT_EMPTY, "move it away and try again"
        case UnsafePath():
            code, remedy = Code.UNSAFE_PATH, "ask its owner to rename it; nothing was written"
        case NoSpace():
            code, remedy = Code.NO_SPACE, "free some space and try again"
        case NotHere():
            remedy = "check that the games folder is there and can be written"
        case GameBusy():
            code, remedy = Code.BUSY, "try again when the other operation is done"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            code, remedy = Code.NO_SPACE, "free some space and try again"
        case OSError(errno=errno.EROFS):
            code, remedy = Code.READ_ONLY, "make the games folder writable"
        case OSError(errno=errno.EACCES | errno.EPERM):
            code, remedy = Code.READ_ONLY, "give this program the right to write there"
        case OSError() | FsError():
            pass
        case _:
            code, expected = Code.INTERNAL, False
    return Failure(code, str(error) or type(error).__name__, remedy, expected)
