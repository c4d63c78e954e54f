"""What is in a game's folder before a download touches it, and whether it may be replaced.

Reads and decides, changes nothing. Names are compared as every file system might: one that differs
only in case is in the way too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from lanspread.fs.download.records import DownloadRecord, Plan, read_plan, read_record
from lanspread.fs.errors import FolderNotEmpty, InTheWay
from lanspread.fs.paths import OWN_FOLDER, VERSION_INI, fold_path, is_root_archive
from lanspread.model import Manifest
from lanspread.seams import Entry, Folder, Kind

# So many files are named in an error.
NAMED: Final = 10


@attrs.frozen(kw_only=True)
class Survey:
    """What a download finds.

    `folders` are those that the manifest needs, parents first; `present` the manifest's files that
    are there; `candidates` those of them that nothing explains but that have the right size: they
    are adopted if their bytes are right too. `obstacle_files` and `obstacle_folders` (deepest
    first) are our own old ones where something else must be now; `stale` are files of earlier
    downloads that nobody changed, and a copied game's archives: they go away at the commit.
    """

    record: DownloadRecord | None
    plan: Plan | None
    copied: bool
    has_sentinel: bool
    folders: tuple[str, ...]
    present: Mapping[str, Entry]
    obstacle_files: tuple[str, ...]
    obstacle_folders: tuple[str, ...]
    stale: Mapping[str, Entry]
    candidates: tuple[str, ...]

    def is_planned(self, path: str) -> bool:
        """Whether an unfinished download may have made the file, with holes in it."""
        return self.plan is not None and path in self.plan.files

    def is_ours(self, path: str, entry: Entry) -> bool:
        """Whether a file that was found is one of downloads, and has not been changed since."""
        return self.is_recorded(path, entry) or (
            self.plan is not None and self.plan.explains(path, entry)
        )

    def is_recorded(self, path: str, entry: Entry) -> bool:
        """Whether a file is as the last commit left it."""
        recorded = None if self.record is None else self.record.files.get(path)
        return (
            recorded is not None
            and entry.kind is Kind.FILE
            and (recorded.size, recorded.mtime_ns) == (entry.size, entry.mtime_ns)
        )


def survey(folder: Folder, manifest: Manifest) -> Survey:
    """Look at a game's folder.

    Raises `FolderNotEmpty` for files that neither record nor plan explains and that cannot be what
    the manifest says, `InTheWay` for what can never become that, `OSError`.
    """
    return _Surveyor(folder, manifest).run()


def folders_of(manifest: Manifest) -> tuple[str, ...]:
    """Every folder below the game's that the manifest needs, parents first."""
    found: dict[str, None] = {}
    for entry in manifest.files:
        end = entry.path.rfind("/")
        if end < 0 or entry.path[:end] in found:
            continue
        parts = entry.path[:end].split("/")
        for count in range(1, len(parts) + 1):
            found["/".join(parts[:count])] = None
    return tuple(sorted(found))


class _Surveyor:
    def __init__(self, folder: Folder, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._paths = {entry.path for entry in manifest.files}
        self._folders = folders_of(manifest)
        self._listed: dict[str, dict[str, Entry]] = {}
        self._folded: dict[str, dict[str, Entry]] = {}
        self._record = read_record(folder)
        self._plan = read_plan(folder)
        self._strangers: list[str] = []
        self._candidates: list[str] = []
        self._obstacle_files: list[str] = []
        self._obstacle_folders: list[str] = []
        self._copied = False

    def run(self) -> Survey:
        sentinel = self._find(VERSION_INI)
        has_sentinel = sentinel is not None and sentinel.name == VERSION_INI
        if has_sentinel and sentinel is not None and sentinel.kind is not Kind.FILE:
            raise InTheWay(VERSION_INI, "is not a file")
        self._copied = (self._plan is not None and self._plan.copied) or (
            self._record is None and has_sentinel
        )
        own = self._find(OWN_FOLDER)
        if own is not None and own.kind is not Kind.FOLDER:
            raise InTheWay(own.name, "is a link or a file, and a folder of ours has its name")
        for rel in self._folders:
            self._see_folder(rel)
        present = {}
        for file in self._manifest.files:
            entry = self._see_file(file.path, file.size)
            if entry is not None:
                present[file.path] = entry
        archives = [name for name, entry in self._list("").items() if self._is_old_archive(entry)]
        if not self._copied:
            self._strangers += [
                name for name in archives if not self._explained(name, self._list("")[name])
            ]
        if self._strangers:
            raise FolderNotEmpty(sorted(self._strangers)[:NAMED])
        return Survey(
            record=self._record,
            plan=self._plan,
            copied=self._copied,
            has_sentinel=has_sentinel,
            folders=self._folders,
            present=present,
            obstacle_files=tuple(self._obstacle_files),
            obstacle_folders=tuple(self._obstacle_folders),
            stale=self._stale(archives),
            candidates=tuple(self._candidates),
        )

    # -- looking -----------------------------------------------------------------------------------

    def _list(self, rel: str) -> dict[str, Entry]:
        """What a folder holds; nothing if it is not there."""
        if rel not in self._listed:
            parent, _, name = rel.rpartition("/")
            entry = None if not rel else self._list(parent).get(name)
            there = not rel or (entry is not None and entry.kind is Kind.FOLDER)
            found = self._folder.list(rel) if there else []
            self._listed[rel] = {entry.name: entry for entry in found}
            self._folded[rel] = {fold_path(entry.name): entry for entry in found}
        return self._listed[rel]

    def _find(self, path: str) -> Entry | None:
        """What is at a path, or would be on a file system that folds names."""
        parent, _, name = path.rpartition("/")
        found = self._list(parent).get(name)
        return found or self._folded[parent].get(fold_path(name))

    def _explained(self, path: str, entry: Entry) -> bool:
        """Whether a file may be written to: the game's by the record, or one of a download's."""
        return (self._record is not None and path in self._record.files) or (
            self._plan is not None and self._plan.explains(path, entry)
        )

    def _is_ours(self, path: str, entry: Entry) -> bool:
        """Whether a file is as a download of ours left it."""
        if entry.kind is not Kind.FILE:
            return False
        recorded = None if self._record is None else self._record.files.get(path)
        if recorded is not None and (recorded.size, recorded.mtime_ns) == (
            entry.size,
            entry.mtime_ns,
        ):
            return True
        return self._plan is not None and self._plan.left(path, entry)

    # -- judging -----------------------------------------------------------------------------------

    def _see_folder(self, rel: str) -> None:
        entry = self._find(rel)
        if entry is None:
            return
        parent = rel.rpartition("/")[0]
        path = f"{parent}/{entry.name}" if parent else entry.name
        if entry.kind is Kind.FILE:
            if not self._is_ours(path, entry):
                raise InTheWay(path, "is a file where the game has a folder")
            self._obstacle_files.append(path)
        elif entry.kind is not Kind.FOLDER:
            raise InTheWay(path, "is a link or a special file")
        elif path != rel and not self._copied and not self._holds_only_ours(path):
            self._strangers.append(path)

    def _see_file(self, path: str, size: int) -> Entry | None:
        entry = self._find(path)
        if entry is None:
            return None
        parent = path.rpartition("/")[0]
        there = f"{parent}/{entry.name}" if parent else entry.name
        if entry.kind is Kind.FOLDER:
            if not self._holds_only_ours(there):
                raise InTheWay(there, "is a folder where the game has a file")
            self._obstacle_folders += reversed(list(self._folders_below(there)))
            self._obstacle_files += [file for file, _ in self._files_below(there)]
            return None
        if entry.kind is not Kind.FILE:
            raise InTheWay(there, "is a link or a special file")
        if not self._copied and not self._explained(there, entry):
            right_size = there == path and entry.size == size
            (self._candidates if right_size else self._strangers).append(there)
        return entry if there == path else None

    def _is_old_archive(self, entry: Entry) -> bool:
        return (
            entry.kind is Kind.FILE
            and is_root_archive(entry.name)
            and entry.name not in self._paths
        )

    def _holds_only_ours(self, rel: str) -> bool:
        return all(self._is_ours(path, entry) for path, entry in self._files_below(rel))

    def _files_below(self, rel: str) -> Iterator[tuple[str, Entry]]:
        """Everything below a folder that is not a folder itself."""
        for below in self._folders_below(rel):
            for entry in self._list(below).values():
                if entry.kind is not Kind.FOLDER:
                    yield f"{below}/{entry.name}", entry

    def _folders_below(self, rel: str) -> Iterator[str]:
        waiting = [rel]
        while waiting:
            below = waiting.pop()
            yield below
            waiting += [
                f"{below}/{entry.name}"
                for entry in self._list(below).values()
                if entry.kind is Kind.FOLDER
            ]

    # -- results -----------------------------------------------------------------------------------

    def _stale(self, archives: list[str]) -> dict[str, Entry]:
        stale = {}
        for old in (self._plan, self._record):
            for path in () if old is None else old.files:
                parent, _, name = path.rpartition("/")
                entry = None if path in self._paths else self._list(parent).get(name)
                if entry is not None and self._is_ours(path, entry):
                    stale[path] = entry
        if self._copied:
            stale.update((name, self._list("")[name]) for name in archives)
        return stale
