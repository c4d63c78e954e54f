"""Updating `local/` to the downloaded version. The order of writes is in docs/recovery.md.

Calls block; every error before the commit point leaves its traces to `recover`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

import attrs
from blake3 import blake3

from lanspread import limits
from lanspread.fs.errors import CannotKeep, FileChanged, NotInstalled
from lanspread.fs.install.carry_over import CarryOver, not_keepable, plan_carry_over
from lanspread.fs.install.intent import IntentKind, write_intent
from lanspread.fs.install.names import BACKUP, INSTALLING, LOCAL, OWNED
from lanspread.fs.install.record import InstallRecord, check_record, read_install_record
from lanspread.fs.install.recovery import finish
from lanspread.fs.install.staging import (
    Installed,
    check_space,
    downloaded_version,
    find_local,
    make_ready,
    make_staging,
    seal_staging,
    set_aside,
    unmark_local,
)
from lanspread.fs.install.trees import kind_of, walk
from lanspread.fs.install.unpack import Opener, open_source
from lanspread.fs.progress import UNWATCHED, StopOnly, Watch
from lanspread.model import version_key
from lanspread.seams import Entry, Folder, Kind

# How a disk says that it does not take this file or this name, whatever is free on it.
_NOT_TAKEN: Final = {
    errno.EACCES,
    errno.EEXIST,
    errno.EFBIG,
    errno.EINVAL,
    errno.ELOOP,
    errno.EMLINK,
    errno.ENAMETOOLONG,
    errno.EPERM,
}


@attrs.frozen
class Found:
    """What is in a game's folder: the downloaded version, `local`, and what the last install put
    there."""

    version: str
    local: Entry | None
    record: InstallRecord | None

    @property
    def is_installed(self) -> bool:
        return self.local is not None

    @property
    def is_current(self) -> bool:
        """Whether `local/` is, by its record, of the downloaded version."""
        recorded = self.record if self.is_installed else None
        return recorded is not None and version_key(recorded.version) == version_key(self.version)


def look(folder: Folder) -> Found:
    """Raises `NotDownloaded`, `InTheWay` if `local` is no folder, `OSError`."""
    version = downloaded_version(folder)
    return Found(version, find_local(folder), read_install_record(folder))


def update(folder: Folder, open_archive: Opener, watch: Watch = UNWATCHED) -> Installed:
    """Replace `local/` by the downloaded version, with everything in it that is the user's.

    Nothing is done if the install record says that it is of that version.

    Raises `NotInstalled`, `NotDownloaded`, `NothingToInstall`, `FolderNotEmpty`, `LeftBehind`,
    `InTheWay`, `Unrepaired`, `NoSpace`, `UnsafePath`, `ArchiveError`, `CannotKeep` for a file of
    the user's, `FileChanged` if the user's files change meanwhile, `Stopped`, `OSError`.
    """
    make_ready(folder, watch)
    found = look(folder)
    version, record = found.version, found.record
    if found.local is None:
        raise NotInstalled("the game is not installed")
    if found.is_current:
        return Installed(version=version, changed=False)
    check_record(folder)
    with open_source(folder, open_archive) as source:
        sizes = _sizes_compared(_walk_theirs(folder, watch), record, source.layout.sizes)
        watch.expect(source.layout.unpacked_bytes + sizes)
        check_space(folder, source.needed_bytes)
        unmark_local(folder)
        write_intent(folder, IntentKind.UPDATING, version)
        make_staging(folder)
        new = source.unpack(folder, INSTALLING, watch)
    theirs = _walk_theirs(folder, watch)
    hasher = _Hasher(folder, watch)
    plan = plan_carry_over(
        theirs, record, new, source.layout.folders, hasher.digest_of, folds=_folds(folder)
    )
    _carry_over(folder, plan, watch)
    replaced = [keep.target for keep in plan.keeps if keep.replaces]
    # What a link leads to is not ours to sync.
    kept = [keep.target for keep in plan.keeps if theirs[keep.source].kind is Kind.FILE]
    new_record = InstallRecord(version, new, frozenset(source.layout.folders))
    seal_staging(folder, new_record, replaced=replaced, kept=kept, kept_folders=list(plan.folders))
    watch.step()
    set_aside(folder, found.local)
    # From here on nobody opens a file of it by its name, so nothing changes unseen.
    _check_unchanged(folder, theirs, watch)
    watch.step()
    # The commit point. What follows syncs it first.
    folder.rename(INSTALLING, LOCAL)
    left = finish(folder, StopOnly(watch))
    return Installed(version=version, kept=plan.kept, left=tuple(left))


def _walk_theirs(folder: Folder, watch: Watch, root: str = LOCAL) -> dict[str, Entry]:
    found = walk(folder, root, watch)
    marker = found.pop(OWNED, None)
    # Ours is an empty file. A name that we need for ourselves can keep nothing for the user.
    if marker is not None and (marker.kind is not Kind.FILE or marker.size):
        raise CannotKeep(OWNED, "its name is reserved")
    for path, entry in found.items():
        if entry.kind is Kind.OTHER:
            raise not_keepable(path)
    return found


def _sizes_compared(
    theirs: Mapping[str, Entry],
    record: InstallRecord | None,
    new_sizes: Mapping[str, int],
) -> int:
    """About how many bytes must be read to tell the user's files from ours."""
    total = 0
    for path, entry in theirs.items():
        recorded = None if record is None else record.files.get(path)
        size = new_sizes.get(path) if recorded is None else recorded.size
        if entry.kind is Kind.FILE and entry.size == size:
            total += entry.size
    return total


def _folds(folder: Folder) -> bool:
    """Whether the disk takes names that differ in case for the same."""
    return kind_of(folder, f"{INSTALLING}/{OWNED.upper()}") is not None


class _Hasher:
    """BLAKE3 of files in `local/`, each read once."""

    def __init__(self, folder: Folder, watch: Watch) -> None:
        self._folder = folder
        self._watch = watch
        self._known: dict[str, bytes] = {}

    def digest_of(self, path: str) -> bytes:
        if path not in self._known:
            try:
                self._known[path] = self._hash(path)
            except OSError as error:
                raise _not_kept(path, error) from error
        return self._known[path]

    def _hash(self, path: str) -> bytes:
        digest = blake3()
        at = 0
        with self._folder.open(f"{LOCAL}/{path}", "read") as file:
            while data := file.read_at(limits.MIB, at):
                digest.update(data)
                at += len(data)
                self._watch.step()
                self._watch.advance(len(data))
        return digest.digest()


def _carry_over(folder: Folder, plan: CarryOver, watch: Watch) -> None:
    for rel, theirs in plan.folders.items():
        try:
            folder.make_folder(f"{INSTALLING}/{rel}", like=f"{LOCAL}/{theirs}")
        except OSError as error:
            raise _not_kept(theirs, error) from error
    for keep in plan.keeps:
        watch.step()
        try:
            if keep.replaces:
                folder.remove_file(f"{INSTALLING}/{keep.target}")
            folder.link_or_copy(f"{LOCAL}/{keep.source}", f"{INSTALLING}/{keep.target}")
        except OSError as error:
            raise _not_kept(keep.source, error) from error


def _not_kept(path: str, error: OSError) -> Exception:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return FileChanged(f"{LOCAL}/{path}")
    if error.errno in _NOT_TAKEN:
        return CannotKeep(path, error.strerror or str(error))
    return error


def _check_unchanged(folder: Folder, theirs: Mapping[str, Entry], watch: Watch) -> None:
    """Raises `FileChanged` if the old `local/` is not what was planned by."""
    now = _walk_theirs(folder, watch, BACKUP)
    for path in sorted(now.keys() | theirs.keys()):
        if path not in now or path not in theirs or _look(now[path]) != _look(theirs[path]):
            raise FileChanged(f"{LOCAL}/{path}")


def _look(entry: Entry) -> tuple[object, ...]:
    # A folder's time changes with what is in it, which is compared by itself.
    return (entry.kind,) if entry.kind is Kind.FOLDER else (entry.kind, entry.size, entry.mtime_ns)
