"""The pictures that a catalog names, as they lay on the disk when somebody looked last.

A list of games asks for thousands of them on the event loop, so it is answered from what is known;
`look` and `check`, which block, find out what is true now. Source: docs/api.md, "Covers".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lanspread import limits
from lanspread.fs.catalog import Catalog
from lanspread.fs.errors import FsError
from lanspread.fs.paths import UnsafePath, check_path
from lanspread.model import fold_id
from lanspread.seams import Entry, FileStamp, FileSystem, Folder, Kind

_NONE: Final = (0, 0, 0)


class CatalogPictures:
    """Which there are, and in which state: size, time and inode of each.

    `look` and `check` may run in threads beside one another; the rest returns at once.
    """

    def __init__(self, catalog: Catalog, files: FileSystem) -> None:
        self._folder = catalog.folder
        self._files = files
        self._paths: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        for entry in catalog.entries():
            if entry.cover and _leads_below(entry.cover):
                self._paths[fold_id(entry.id)] = entry.cover
                self._ids[fold_id(entry.id)] = entry.id
        self._seen: dict[str, FileStamp] = {}
        self._changed: set[str] = set()

    def __bool__(self) -> bool:
        """Whether the catalog names any."""
        return bool(self._paths)

    def stamp(self, game_id: str) -> FileStamp | None:
        """A game's picture as it was seen last, None if there was none that can be shown."""
        return self._seen.get(fold_id(game_id))

    def look(self) -> None:
        """See all of them anew. Blocks: a listing of each folder that holds some."""
        found = self._find() if self._paths and self._folder is not None else {}
        for game, path in self._paths.items():
            self._note(game, found.get(path))

    def check(self, game_id: str, entry: Entry | None) -> bool:
        """Whether an open picture (None: it cannot be opened) is the one that was seen last.

        If not, it is from now on.
        """
        game = fold_id(game_id)
        return not self._note(game, _stamp(self._paths[game], entry))

    def take_changed(self) -> frozenset[str]:
        """The IDs of games whose picture is another than when this was asked last."""
        changed = set()
        while self._changed:
            changed.add(self._ids[self._changed.pop()])
        return frozenset(changed)

    def _note(self, game: str, stamp: FileStamp | None) -> bool:
        """Whether it is another than before."""
        if stamp == self._seen.get(game):
            return False
        if stamp is None:
            self._seen.pop(game, None)
        else:
            self._seen[game] = stamp
        self._changed.add(game)
        return True

    def _find(self) -> dict[str, FileStamp]:
        by_folder: dict[str, set[str]] = {}
        for path in self._paths.values():
            parent, _, name = path.rpartition("/")
            by_folder.setdefault(parent, set()).add(name)
        found: dict[str, FileStamp] = {}
        try:
            with self._files.open_folder(self._folder or ".") as root:
                for parent, names in by_folder.items():
                    found.update(_peeked(root, parent, names))
        except (OSError, FsError):
            pass  # What cannot be seen is not there; what was seen before that is.
        return found


def _peeked(root: Folder, parent: str, names: set[str]) -> Iterable[tuple[str, FileStamp]]:
    prefix = f"{parent}/" if parent else ""
    try:
        with root.folder(parent) as folder:
            glances = folder.peek(names.__contains__)
    except (OSError, FsError):
        return
    for name, kind, size, mtime_ns, inode in glances:
        if name in names and kind is Kind.FILE and 0 < size <= limits.MAX_COVER_BYTES:
            yield prefix + name, FileStamp(prefix + name, size, mtime_ns, inode)


def _stamp(path: str, entry: Entry | None) -> FileStamp | None:
    if entry is None or not 0 < entry.size <= limits.MAX_COVER_BYTES:
        return None
    return FileStamp(path, entry.size, entry.mtime_ns, entry.inode)


def _leads_below(path: str) -> bool:
    """Not out of the catalog's folder, and not to a website."""
    try:
        check_path(path)
    except UnsafePath:
        return False
    return True
