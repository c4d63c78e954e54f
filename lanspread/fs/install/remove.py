"""Removing a game's downloaded files; never `local/`, never what is not from a download of ours.

The order of writes is in docs/recovery.md. Calls block.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from lanspread.fs.download.journal import JOURNAL
from lanspread.fs.download.records import PLAN, RECORD, DownloadRecord, Plan, read_plan, read_record
from lanspread.fs.errors import InTheWay, NotFetched
from lanspread.fs.install.names import INTENT_SCRATCH, LOCAL, NEW_RECORD
from lanspread.fs.install.names import RECORD as INSTALL_RECORD
from lanspread.fs.install.staging import repaired
from lanspread.fs.install.trees import kind_of
from lanspread.fs.paths import (
    OWN_FOLDER,
    VERSION_INI,
    VERSION_INI_DISCARDED,
    VERSION_INI_TMP,
    fold_path,
    is_litter,
    is_own,
)
from lanspread.fs.progress import UNWATCHED, Watch
from lanspread.seams import Entry, Folder, Kind

_NAMED: Final = 10


@attrs.frozen(kw_only=True)
class Removed:
    """`removed_bytes` are gone. `kept` are files of the download that somebody changed, sorted."""

    removed_bytes: int
    kept: tuple[str, ...] = ()


def remove(folder: Folder, *, forced: bool = False, watch: Watch = UNWATCHED) -> Removed:
    """Remove what downloads put into a game's folder, those that were not finished included.

    What was changed since is the user's and is kept; `forced` removes it too. Of a game that was
    copied here nothing is known, so only `forced` removes it: every file that could be shared.
    The game's folder itself stays, empty or not.

    Raises `NotFetched` for files that no download explains (nothing is touched), `InTheWay` if
    version.ini is no file, `Unrepaired`, `Stopped`, `OSError` if a file cannot be removed (all
    others are). After its first step the game is not downloaded any more, and the record explains
    what is left, so it can be repeated.
    """
    repaired(folder, watch)
    record, plan = read_record(folder), read_plan(folder)
    sentinel = kind_of(folder, VERSION_INI)
    if sentinel is not None and sentinel is not Kind.FILE:
        raise InTheWay(VERSION_INI, "is not a file")
    if record is None and plan is None:
        found = _shareable(folder, watch)
        if found and not forced:
            raise NotFetched(sorted(found)[:_NAMED])
        kept: list[str] = []
    else:
        found, kept = _explained(folder, record, plan, forced)
    watch.expect(sum(entry.size for entry in found.values()))
    watch.step()
    if sentinel is not None:
        folder.rename(VERSION_INI, VERSION_INI_DISCARDED)  # The commit point.
    folder.sync_folder()
    found.pop(VERSION_INI, None)
    _remove_files(folder, found, watch)
    _remove_folders(folder, found)
    _remove_own(folder)
    size = sum(entry.size for entry in found.values())
    return Removed(removed_bytes=size, kept=tuple(sorted(kept)))


def _explained(
    folder: Folder, record: DownloadRecord | None, plan: Plan | None, forced: bool
) -> tuple[dict[str, Entry], list[str]]:
    """The files of downloads that are to go, and those that are kept."""
    found: dict[str, Entry] = {}
    kept = []
    recorded = {} if record is None else record.files
    planned = {} if plan is None else plan.files
    for path in sorted({*recorded, *planned} - {VERSION_INI}):
        try:
            entry = folder.entry(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            continue  # Behind a link: whatever is there, no download of ours put it there.
        as_recorded = path in recorded and (
            (recorded[path].size, recorded[path].mtime_ns) == (entry.size, entry.mtime_ns)
        )
        as_planned = plan is not None and plan.left(path, entry)
        if entry.kind is Kind.FILE and (as_recorded or as_planned or forced):
            found[path] = entry
        else:
            kept.append(path)
    return found, kept


def _shareable(folder: Folder, watch: Watch) -> dict[str, Entry]:
    """Every file that a manifest of the game would have."""
    found: dict[str, Entry] = {}
    waiting = [""]
    while waiting:
        watch.step()
        rel = waiting.pop()
        for entry in folder.list(rel):
            path = f"{rel}/{entry.name}" if rel else entry.name
            if not rel and (is_own(entry.name) or fold_path(entry.name) == LOCAL):
                continue
            if entry.kind is Kind.FOLDER:
                waiting.append(path)
            elif entry.kind is Kind.FILE and not is_litter(entry.name):
                found[path] = entry
    return found


def _remove_files(folder: Folder, found: Mapping[str, Entry], watch: Watch) -> None:
    """Remove all that can be removed; then raise the first `OSError` that there was."""
    errors: list[OSError] = []
    for path, entry in found.items():
        watch.step()
        try:
            # Somebody may have put something else there since.
            if folder.entry(path) == entry:
                folder.remove_file(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            errors.append(error)
        watch.advance(entry.size)
    if errors:
        raise errors[0]


def _remove_folders(folder: Folder, paths: Iterable[str]) -> None:
    """Remove the folders that the files were in, if they are empty now; the rest is synced."""
    emptied: set[str] = set()
    for path in paths:
        above = path.rpartition("/")[0]
        while above and above not in emptied:
            emptied.add(above)
            above = above.rpartition("/")[0]
    lost = {""}
    # The deepest first: a path is longer than those above it.
    for rel in sorted(emptied, key=len, reverse=True):
        try:
            folder.remove_folder(rel)
            lost.discard(rel)
            lost.add(rel.rpartition("/")[0])
        except FileNotFoundError:
            continue
        except OSError:
            lost.add(rel)
    for rel in sorted(lost):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            folder.sync_folder(rel)


def _remove_own(folder: Folder) -> None:
    """What downloads remember goes last, the plan after the journal and the record last of all:
    they explain what is left."""
    scratch = [f"{rel}.tmp" for rel in (PLAN, RECORD, JOURNAL, NEW_RECORD)]
    rels = [*scratch, JOURNAL, PLAN]
    if kind_of(folder, LOCAL) is None:
        rels += [INSTALL_RECORD, NEW_RECORD]
    for rel in (VERSION_INI_TMP, VERSION_INI_DISCARDED, INTENT_SCRATCH, *rels):
        _discard(folder, rel)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder.sync_folder(OWN_FOLDER)
    _discard(folder, RECORD)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder.sync_folder(OWN_FOLDER)
    # Not empty: the install record is in it.
    with contextlib.suppress(OSError):
        folder.remove_folder(OWN_FOLDER)
    folder.sync_folder()


def _discard(folder: Folder, rel: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder.remove_file(rel)
