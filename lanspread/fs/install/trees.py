"""Whole trees below a game's folder: seeing what is in one, and removing one. No link is followed.

A tree that is removed carries our marker until nothing else is left of it, so that whatever
interrupts the removal, what is left is known to be ours.
"""

from __future__ import annotations

import contextlib
from typing import Final

from lanspread import limits
from lanspread.fs.errors import CannotKeep, FileChanged, Stopped
from lanspread.fs.install.names import OWNED
from lanspread.fs.progress import Watch
from lanspread.seams import Entry, Folder, Kind

# What a tree may hold for us to remember all of it: several times what a game may consist of.
MAX_ENTRIES: Final = 4 * limits.MAX_FILES_PER_GAME


def kind_of(folder: Folder, rel: str) -> Kind | None:
    """What is there, None for nothing. Raises `OSError`."""
    try:
        return folder.entry(rel).kind
    except (FileNotFoundError, NotADirectoryError):
        return None


def walk(folder: Folder, root: str, watch: Watch) -> dict[str, Entry]:
    """Everything below `root`, by the path below it, parents before what is in them.

    Raises `CannotKeep` for a folder that cannot be read, or for more than `MAX_ENTRIES`;
    `FileChanged` for a folder that is none any more.
    """
    found: dict[str, Entry] = {}
    waiting = [""]
    while waiting:
        watch.step()
        rel = waiting.pop()
        try:
            entries = folder.list(f"{root}/{rel}" if rel else root)
        except PermissionError as error:
            raise CannotKeep(rel or root, error.strerror or str(error)) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileChanged(f"{root}/{rel}" if rel else root) from error
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{rel}/{entry.name}" if rel else entry.name
            found[path] = entry
            if entry.kind is Kind.FOLDER:
                waiting.append(path)
            if len(found) > MAX_ENTRIES:
                raise CannotKeep(path, f"there are more than {MAX_ENTRIES} files")
    return found


def content_bytes(folder: Folder, root: str, watch: Watch) -> int:
    """The size of all files below `root`, as far as they can be seen; in little memory."""
    total = 0
    waiting = [root]
    while waiting:
        watch.step()
        rel = waiting.pop()
        with contextlib.suppress(OSError):
            for entry in folder.list(rel):
                if entry.kind is Kind.FOLDER:
                    waiting.append(f"{rel}/{entry.name}")
                elif entry.kind is Kind.FILE:
                    total += entry.size
    return total


def mark(folder: Folder, root: str) -> None:
    """Say durably that a folder is ours to remove. Raises `OSError`."""
    # Empty, so that a full disk has room for it and no crash can cut it off.
    with folder.open(f"{root}/{OWNED}", "create") as file:
        file.sync()
    folder.sync_folder(root)


def unmark(folder: Folder, root: str) -> None:
    """Take our marker away, durably. A file of that name that is not empty is not ours."""
    rel = f"{root}/{OWNED}"
    with contextlib.suppress(FileNotFoundError):
        entry = folder.entry(rel)
        if entry.kind is Kind.FILE and entry.size == 0:
            folder.remove_file(rel)
    folder.sync_folder(root)


def sweep(folder: Folder, root: str, watch: Watch) -> bool:
    """Remove a folder that is ours, with everything in it.

    True if it is gone. False if something held a part of it, or the watch stopped it: then the rest
    is durably marked as ours. Raises `OSError` or `Stopped` if it could not be marked either. The
    folder that it was in is not synced.
    """
    try:
        mark(folder, root)
    except FileNotFoundError:
        return True
    except OSError:
        # A full disk has no room for the marker before something is removed.
        remove_tree(folder, root, watch)
        return True
    try:
        remove_below(folder, root, watch, spare=OWNED)
        folder.sync_folder(root)
        folder.remove_file(f"{root}/{OWNED}")
    except (OSError, Stopped):
        return False
    # Without the marker and empty it is nobody's, and taken over by the next install.
    with contextlib.suppress(OSError):
        folder.remove_folder(root)
    return True


def remove_tree(folder: Folder, root: str, watch: Watch) -> None:
    """Remove a folder with everything in it. Raises as `remove_below` does."""
    remove_below(folder, root, watch)
    folder.remove_folder(root)


def remove_below(folder: Folder, root: str, watch: Watch, spare: str | None = None) -> None:
    """Remove everything in a folder but the name `spare`.

    Holds no more in memory than the names of one folder and of the folders on the way to it. Goes
    on after an error and raises the first, an `OSError`, when nothing more can be removed. Raises
    `Stopped` at once.
    """
    errors: list[OSError] = []
    # The way down: a folder and those in it that are still to be visited.
    way = [(root, _remove_files(folder, root, watch, errors, spare))]
    while way:
        rel, below = way[-1]
        if below:
            inner = f"{rel}/{below.pop()}"
            way.append((inner, _remove_files(folder, inner, watch, errors)))
            continue
        way.pop()
        if rel != root:
            try:
                folder.remove_folder(rel)
            except FileNotFoundError:
                pass
            except OSError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def _remove_files(
    folder: Folder, rel: str, watch: Watch, errors: list[OSError], spare: str | None = None
) -> list[str]:
    """Remove what is directly in a folder; return the names of the folders in it."""
    try:
        entries = folder.list(rel)
    except FileNotFoundError:
        return []
    except OSError as error:
        errors.append(error)
        return []
    folders = []
    for entry in entries:
        watch.step()
        if entry.kind is Kind.FOLDER:
            folders.append(entry.name)
        elif entry.name != spare:
            try:
                folder.remove_file(f"{rel}/{entry.name}")
            except FileNotFoundError:
                pass
            except OSError as error:
                errors.append(error)
            watch.advance(entry.size if entry.kind is Kind.FILE else 0)
    return folders
