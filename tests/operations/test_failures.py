"""Every error that can end an operation has a code, a sentence and a remedy."""

from __future__ import annotations

import errno
import inspect

import pytest

from lanspread.errors import Code, LanspreadError
from lanspread.fs import archives, errors
from lanspread.fs.errors import FsError
from lanspread.operations.failures import failure_of
from lanspread.transfer.access import GameBusy

FS_ERRORS = [
    (errors.NotHere("gone"), Code.IO_ERROR),
    (errors.MovedAway("gone"), Code.IO_ERROR),
    (errors.FolderNotEmpty(["a"]), Code.FOLDER_NOT_EMPTY),
    (errors.NotFetched(["a"]), Code.FOLDER_NOT_EMPTY),
    (errors.LeftBehind(".local.backup", ".local.backup/save"), Code.IO_ERROR),
    (errors.InTheWay("a", "is a link"), Code.FOLDER_NOT_EMPTY),
    (errors.NoSpace(2, 1), Code.NO_SPACE),
    (errors.UnsafePath("../a", "leaves"), Code.UNSAFE_PATH),
    (errors.NotDownloaded("no"), Code.NOT_AVAILABLE),
    (errors.NotInstalled("no"), Code.NOT_AVAILABLE),
    (errors.NothingToInstall("no"), Code.NOTHING_TO_INSTALL),
    (errors.CannotKeep("save", "too long"), Code.IO_ERROR),
    (errors.Unrepaired("two of them"), Code.IO_ERROR),
    (errors.FileChanged("a"), Code.IO_ERROR),
    (errors.Stopped("stopped"), Code.IO_ERROR),
    (archives.ArchiveEncrypted("a.eti"), Code.ARCHIVE_ENCRYPTED),
    (archives.ArchiveDamaged("a.eti", "is cut off"), Code.ARCHIVE_DAMAGED),
    (archives.ArchiveUnsupported("a.eti", "is new", "get unrar"), Code.ARCHIVE_UNSUPPORTED),
    (archives.ArchiveBomb("a.eti", "is a bomb"), Code.ARCHIVE_DAMAGED),
    (GameBusy("quake"), Code.BUSY),
    (LanspreadError(Code.IN_USE, "used", "wait"), Code.IN_USE),
]
SYSTEM_ERRORS = {
    errno.ENOSPC: Code.NO_SPACE,
    errno.EDQUOT: Code.NO_SPACE,
    errno.EROFS: Code.READ_ONLY,
    errno.EACCES: Code.READ_ONLY,
    errno.EPERM: Code.READ_ONLY,
    errno.EBUSY: Code.IO_ERROR,
    errno.EIO: Code.IO_ERROR,
}


@pytest.mark.parametrize(("error", "code"), FS_ERRORS, ids=lambda value: type(value).__name__)
def test_what_the_disk_says(error: Exception, code: Code) -> None:
    failure = failure_of(error)
    assert failure.code is code
    assert failure.expected
    assert failure.message == str(error)
    assert failure.remedy


@pytest.mark.parametrize("number", SYSTEM_ERRORS)
def test_what_the_system_says(number: int) -> None:
    failure = failure_of(OSError(number, "so it says"))
    assert (failure.code, failure.expected) == (SYSTEM_ERRORS[number], True)
    assert failure.remedy


def test_a_busy_file_has_a_remedy_that_names_who_may_hold_it() -> None:
    assert "antivirus" in failure_of(OSError(errno.EBUSY, "busy")).remedy


def test_an_archive_brings_its_own_remedy() -> None:
    error = archives.ArchiveUnsupported("a.eti", "is a RAR", "install unrar")
    assert failure_of(error).remedy == "install unrar"


def test_a_fault_of_ours_is_told_from_the_rest() -> None:
    failure = failure_of(KeyError("x"))
    assert (failure.code, failure.expected) == (Code.INTERNAL, False)


def test_no_error_of_the_disk_was_forgotten() -> None:
    known = {type(error) for error, _ in FS_ERRORS}
    every = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, FsError) and kind is not FsError
    }
    # These come from the library's own calls, and end no operation by themselves.
    assert every - known <= {errors.Changed, errors.WrongVersion}


def test_what_was_copied_by_hand_is_removed_by_force() -> None:
    assert "--force" in failure_of(errors.NotFetched(["a"])).remedy
    assert "--force" not in failure_of(errors.FolderNotEmpty(["a"])).remedy
