"""What install and update share: how they begin, and the staging folder that one rename commits."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Sequence
from typing import Final

import attrs

from lanspread import limits
from lanspread.fs.errors import (
    FileChanged,
    FolderNotEmpty,
    InTheWay,
    LeftBehind,
    NoSpace,
    NotDownloaded,
    Unrepaired,
)
from lanspread.fs.install.names import BACKUP, INSTALLING, LOCAL, NEW_RECORD, OWNED
from lanspread.fs.install.record import InstallRecord, drop_record, write_new_record
from lanspread.fs.install.recovery import recover
from lanspread.fs.install.trees import kind_of, mark, unmark
from lanspread.fs.manifest import VERSION_BYTES, version_of
from lanspread.fs.paths import VERSION_INI
from lanspread.fs.progress import Watch
from lanspread.seams import Entry, Folder, Kind

# What is left free beside what unpacking takes: for folders, and for what others write meanwhile.
_MARGIN_BYTES: Final = limits.MIB
_MARGIN_PART: Final = 200


@attrs.frozen(kw_only=True)
class Installed:
    """A game's `local/` is of `version`.

    `changed` is False if it was before. `kept` are the user's files that an update took along, as
    they are called in `local/` now, sorted. `left` are names of ours that could not be removed yet.
    """

    version: str
    changed: bool = True
    kept: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def repaired(folder: Folder, watch: Watch) -> None:
    """Nothing interrupted is in a game's folder. Raises `Unrepaired`, `OSError`."""
    found = recover(folder, watch)
    if found.blocked is not None:
        raise Unrepaired(found.blocked)


def make_ready(folder: Folder, watch: Watch) -> None:
    """Make a game's folder ready for an operation on `local/`.

    Raises `Unrepaired`, `FolderNotEmpty` if a name that we need holds something that is not ours,
    `LeftBehind` if it is ours and could not be removed, `OSError`.
    """
    repaired(folder, watch)
    for name in (INSTALLING, BACKUP):
        kind = kind_of(folder, name)
        if kind is Kind.FOLDER:
            try:
                # An empty one is nobody's.
                folder.remove_folder(name)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if kind_of(folder, f"{name}/{OWNED}") is Kind.FILE:
                    raise LeftBehind(name, _first_in(folder, name)) from error
                raise FolderNotEmpty([name]) from error
        elif kind is not None:
            raise FolderNotEmpty([name])
    # One that an interrupted install left; the next must not take it for its own.
    drop_record(folder, NEW_RECORD)


def _first_in(folder: Folder, name: str) -> str:
    """A file in a folder of ours, or the folder on the way to one that cannot be looked into."""
    rel = name
    while True:
        try:
            entries = [entry for entry in folder.list(rel) if (rel, entry.name) != (name, OWNED)]
        except OSError:
            return rel
        if not entries:
            return rel
        first = min(entries, key=lambda entry: entry.name)
        rel = f"{rel}/{first.name}"
        if first.kind is not Kind.FOLDER:
            return rel


def downloaded_version(folder: Folder) -> str:
    """The version of a game whose files are all here. Raises `NotDownloaded`, `OSError`."""
    if kind_of(folder, VERSION_INI) is not Kind.FILE:
        raise NotDownloaded("the game is not downloaded")
    with folder.open(VERSION_INI, "read") as file:
        return version_of(file.read_at(VERSION_BYTES, 0))


def find_local(folder: Folder) -> Entry | None:
    """The folder `local` of a game that is installed, else None.

    Raises `InTheWay` if `local` is no folder, `OSError`.
    """
    try:
        entry = folder.entry(LOCAL)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if entry.kind is not Kind.FOLDER:
        raise InTheWay(LOCAL, "is a link or a file and not a folder")
    return entry


def unmark_local(folder: Folder) -> None:
    """Take a marker out of `local`: in the backup it would say that the change is committed.

    Raises `FileChanged` if somebody took `local` away meanwhile, `OSError`.
    """
    try:
        unmark(folder, LOCAL)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileChanged(LOCAL) from error


def set_aside(folder: Folder, planned: Entry) -> None:
    """`local`, which was `planned` when the operation began, is the backup, on the disk when this
    returns.

    Raises `FileChanged`, and then nothing is renamed, if somebody put something else there
    meanwhile, another folder too, or took it away; `OSError`.
    """
    try:
        there = folder.entry(LOCAL)
    except FileNotFoundError as error:
        raise FileChanged(LOCAL) from error
    if not _same(there, planned):
        raise FileChanged(LOCAL)
    folder.rename(LOCAL, BACKUP)
    # A rename takes whatever is there by then.
    if _same(folder.entry(BACKUP), planned):
        folder.sync_folder()
        return
    folder.rename(BACKUP, LOCAL)
    folder.sync_folder()
    raise FileChanged(LOCAL)


def _same(one: Entry, other: Entry) -> bool:
    return (one.kind, one.device, one.inode) == (other.kind, other.device, other.inode)


def make_staging(folder: Folder) -> None:
    """Make the staging folder, marked as ours; on the disk when this returns."""
    folder.make_folder(INSTALLING)
    mark(folder, INSTALLING)
    folder.sync_folder()


def seal_staging(
    folder: Folder,
    record: InstallRecord,
    *,
    replaced: Collection[str] = (),
    kept: Sequence[str] = (),
    kept_folders: Sequence[str] = (),
) -> None:
    """Everything in the staging folder and its record are on the disk, and the marker is gone.

    `kept` are files of the user's, and `kept_folders` folders, beside those of the record; in the
    place of the record's files `replaced` is something of the user's.
    """
    files = sorted(record.files.keys() - set(replaced))
    folders = [*sorted(record.folders), *kept_folders]
    folder.sync_all(
        [f"{INSTALLING}/{rel}" for rel in files],
        [INSTALLING, *(f"{INSTALLING}/{rel}" for rel in folders)],
    )
    for rel in kept:
        # One that cannot be opened got a second name and is no copy: as safe as it was before.
        with contextlib.suppress(PermissionError):
            folder.sync_all([f"{INSTALLING}/{rel}"], [])
    write_new_record(folder, record)
    unmark(folder, INSTALLING)


def check_space(folder: Folder, needed_bytes: int) -> None:
    """Raises `NoSpace` if so much and a margin are not free."""
    needed = needed_bytes + _MARGIN_BYTES + needed_bytes // _MARGIN_PART
    free = folder.free_bytes()
    if needed > free:
        raise NoSpace(needed, free)
