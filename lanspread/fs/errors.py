"""What can go wrong on the disk, as one small tree. The package's callers turn these into codes."""

from __future__ import annotations

from collections.abc import Sequence

from lanspread.fs.paths import UnsafePath, shown

__all__ = [
    "CannotKeep",
    "Changed",
    "FileChanged",
    "FolderNotEmpty",
    "FsError",
    "InTheWay",
    "LeftBehind",
    "MovedAway",
    "NoSpace",
    "NotDownloaded",
    "NotFetched",
    "NotHere",
    "NotInstalled",
    "NothingToInstall",
    "Stopped",
    "UnsafePath",
    "Unrepaired",
    "WrongVersion",
]


class FsError(Exception):
    """Base of this package's errors, but for `UnsafePath` (a ValueError) and plain `OSError`."""


class NotHere(FsError):
    """The game, or the games folder, is not there or cannot be read."""


class MovedAway(NotHere):
    """The folder of the game that is worked on has no longer its name in the games folder."""


class Changed(FsError):
    """The game is no longer what the caller asked about; its present state is in the library."""


class FileChanged(Changed):
    """A file is not what the last walk saw: changed, gone or unreadable at that size."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{shown(path)} changed")
        self.path = path


class FolderNotEmpty(FsError):
    """The game's folder holds files that no download of ours put there; nothing was touched.

    `names` are the first of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            "the folder holds files of its own: " + ", ".join(shown(name) for name in self.names)
        )


class NotFetched(FolderNotEmpty):
    """What is to be removed was copied there by hand, so that only force removes it."""


class LeftBehind(FsError):
    """The folder `name` is ours, from an earlier operation, and could not be removed yet.

    `path` is something in it that is still there.
    """

    def __init__(self, name: str, path: str) -> None:
        super().__init__(
            f"{shown(name)} is left of an earlier operation and cannot be removed: "
            f"{shown(path)} is still there"
        )
        self.name = name
        self.path = path


class InTheWay(FsError):
    """Something at `path` cannot become what the manifest says: a link, a device, a folder."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{shown(path)} {why}")
        self.path = path


class NoSpace(FsError):
    """The disk has `free` bytes and `needed` are needed."""

    def __init__(self, needed: int, free: int) -> None:
        super().__init__(f"{needed} bytes are needed and {free} are free")
        self.needed = needed
        self.free = free


class WrongVersion(FsError):
    """The fetched version.ini does not carry the version that was announced."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"version.ini says {shown(found)!r} and {shown(expected)!r} was announced")
        self.expected = expected
        self.found = found


class NotDownloaded(FsError):
    """The game has no version.ini: its files are not all here, so there is nothing to work with."""


class NotInstalled(FsError):
    """The game has no folder `local`."""


class NothingToInstall(FsError):
    """The game's files hold no archive."""


class CannotKeep(FsError):
    """Something of the user's in `local/` could not be taken along; nothing was changed.

    `path` is below `local/`.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{shown(path)} cannot be kept: {why}")
        self.path = path
        self.why = why


class Unrepaired(FsError):
    """What an earlier interruption left in the game's folder could not be put right; see `why`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Stopped(FsError):
    """The work was asked to stop before it was done; recovery or the next try sees to the rest."""
