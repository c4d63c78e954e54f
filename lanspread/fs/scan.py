"""Walking the games folder: which games there are, and what one game consists of. Calls block.

Links below a game's folder are never followed; the game's folder itself may be one. Nothing is
written. Source: ARCHITECTURE.md, "The library on disk".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple

import attrs
import msgspec
from blake3 import blake3

from lanspread import limits
from lanspread.fs import paths
from lanspread.fs.install.recovery import LOOKED_FOR
from lanspread.fs.installed import installed_version
from lanspread.fs.manifest import (
    VERSION_BYTES,
    check_manifest,
    manifest_hash,
    path_key,
    version_of,
)
from lanspread.fs.paths import UnsafePath, shown
from lanspread.fs.progress import Unwatched, Watch
from lanspread.model import FileEntry, Manifest, fold_id
from lanspread.seams import Entry, FileStamp, Folder, Glance, Kind

# What systems keep at the root of a disk; not worth a warning.
_SYSTEM_FOLDERS: Final = frozenset(
    ["lost+found", "system volume information", "$recycle.bin", "recycler"]
)
_NAMED: Final = 3

# A hash of what a cheap look at a game sees.
Fingerprint = bytes


class Look(NamedTuple):
    """A cheap look at a game. `leftovers`: there may be something to recover."""

    fingerprint: Fingerprint
    leftovers: bool


@attrs.frozen
class ScanWarning:
    """Something that the user should know of; `code` is stable, `remedy` says what would help."""

    code: str
    message: str
    remedy: str


@attrs.frozen
class GamesListing:
    """The IDs of the games in a games folder, sorted, and what was wrong with other names.

    `withheld` has one name of each set of folders that name the same game; `names` is every name
    there, folded, links that lead nowhere included.
    """

    ids: tuple[str, ...]
    warnings: tuple[ScanWarning, ...]
    withheld: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class ScannedGame:
    """What one walk of a game saw.

    `stamps` and `manifest.files` are the same files in the same order. `problem` says why the game
    cannot be shared; manifest and stamps are then of those files that could be. `unfinished` says
    that our own folder is there and no sentinel: there may be a download to go on with; `leftovers`
    that an operation may have been interrupted.
    `installed_version` is what the install record names, None if that is not known. `manifest_hash`
    is None where nothing can be shared; it is made here, because this is a thread and a game may
    have 250,000 files.
    """

    id: str
    version: str
    downloaded: bool
    installed: bool
    installed_version: str | None
    unfinished: bool
    manifest: Manifest
    manifest_hash: bytes | None
    stamps: tuple[FileStamp, ...]
    fingerprint: Fingerprint
    leftovers: bool
    problem: str | None
    warnings: tuple[ScanWarning, ...]


def list_games(games: Folder) -> GamesListing:
    """The games in a games folder. Raises `OSError` if it cannot be listed."""
    by_key: dict[str, list[str]] = {}
    warnings: list[ScanWarning] = []
    there = set()
    for name, kind, *_ in sorted(games.peek(_no_details), key=_name_of):
        key = fold_id(name)
        there.add(key)
        if name.startswith(".") or name.lower() in _SYSTEM_FOLDERS:
            continue
        if kind is not Kind.FOLDER and not _leads_to_folder(games, name, kind):
            continue
        try:
            paths.check_game_id(name)
        except UnsafePath as error:
            warnings.append(
                ScanWarning(
                    "bad_game_id", f"the folder {error}; it is left out", "give it another name"
                )
            )
            continue
        by_key.setdefault(key, []).append(name)
    ids = []
    withheld = []
    for names in by_key.values():
        if len(names) == 1:
            ids.append(names[0])
        else:
            withheld.append(names[0])
            listed = " and ".join(shown(name) for name in names)
            warnings.append(
                ScanWarning(
                    "game_collision",
                    f"the folders {listed} name the same game; neither is offered",
                    "rename or remove one of them",
                )
            )
    if len(ids) > limits.MAX_GAMES_PER_PEER:
        warnings.append(
            ScanWarning(
                "too_many_games",
                f"only the first {limits.MAX_GAMES_PER_PEER} games of {len(ids)} are offered",
                "use several games folders",
            )
        )
    ids = sorted(ids)[: limits.MAX_GAMES_PER_PEER]
    return GamesListing(tuple(ids), tuple(warnings), tuple(withheld), frozenset(there))


def look_at_game(games: Folder, game_id: str) -> Look:
    """A cheap look at the root of a game. Raises `OSError` if it cannot be listed."""
    with games.folder(game_id, follow=True) as folder:
        # The folder first: what changes while it is listed is then seen the next time.
        root = folder.entry()
        return _look(root, folder.peek(_tells))


def scan_game(games: Folder, game_id: str, watch: Watch | None = None) -> ScannedGame:
    """Walk one game.

    Raises `FileNotFoundError` or `NotADirectoryError` if there is no such game folder; what cannot
    be read is a `problem`, not an error. `Stopped` if `watch` says so.
    """
    walk = _Walk(game_id)
    try:
        folder = games.folder(game_id, follow=True)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        walk.problem_at("", f"cannot be read: {error.strerror or error}")
        return walk.result()
    with folder:
        walk.run(folder, watch or Unwatched())
    return walk.result()


def _leads_to_folder(games: Folder, name: str, kind: Kind) -> bool:
    if kind is not Kind.LINK:
        return False
    try:
        games.folder(name, follow=True).close()
    except OSError:
        return False
    return True


_name_of = itemgetter(0)


def _no_details(name: str) -> bool:
    return False


def _tells(name: str) -> bool:
    """Whether a change of the file at a game's root is to be seen by a cheap look."""
    return name.endswith(".eti") or name == paths.VERSION_INI or paths.is_root_archive(name)


def _look(root: Entry, glances: Sequence[Glance]) -> Look:
    """What a walk would have to change for, as far as it costs little.

    All names at the root and what they are; size, time and inode of the sentinel and the archives;
    time and inode of the folder itself, which show what was replaced. Not what is in folders, and
    nothing of `local/`, which is the user's.
    """
    rows = [
        glance if glance[0].isascii() else (os.fsencode(glance[0]), *glance[1:])
        for glance in sorted(glances, key=_name_of)
        if not paths.is_own(glance[0])
    ]
    fingerprint = blake3(msgspec.msgpack.encode((root.mtime_ns, root.inode, rows))).digest()
    return Look(fingerprint, not LOOKED_FOR.isdisjoint(map(_name_of, glances)))


def _glance(entry: Entry) -> Glance:
    """What `Folder.peek` would have told of an entry."""
    if _tells(entry.name):
        return (entry.name, entry.kind, entry.size, entry.mtime_ns, entry.inode)
    return (entry.name, entry.kind, 0, 0, 0)


class _Walk:
    """The state of one walk."""

    def __init__(self, game_id: str) -> None:
        self._id = game_id
        self._files: list[tuple[FileEntry, FileStamp]] = []
        self._version = ""
        self._downloaded = False
        self._installed = False
        self._installed_version: str | None = None
        self._has_own_folder = False
        self._look = Look(b"", leftovers=False)
        self._problem: str | None = None
        self._left_out: list[str] = []

    def problem_at(self, path: str, why: str) -> None:
        """Remember the first reason why the game cannot be shared."""
        if self._problem is None:
            self._problem = f"{shown(path)!r} {why}" if path else f"the folder {why}"

    def run(self, folder: Folder, watch: Watch) -> None:
        waiting = [""]
        while waiting and len(self._files) <= limits.MAX_FILES_PER_GAME:
            watch.step()
            rel = waiting.pop()
            try:
                root = None if rel else folder.entry()
                entries = folder.list(rel)
                if root is not None:
                    self._look = _look(root, [_glance(entry) for entry in entries])
            except OSError as error:
                self.problem_at(rel, f"cannot be read: {error.strerror or error}")
                continue
            for entry in entries:
                path = f"{rel}/{entry.name}" if rel else entry.name
                if self._is_left_out(rel, entry):
                    continue
                if entry.kind is Kind.FOLDER:
                    # Its name is checked with the files in it; an empty folder is in no manifest.
                    if path.count("/") + 1 < limits.MAX_PATH_DEPTH:
                        waiting.append(path)
                    else:
                        self.problem_at(path, "is a folder too deep")
                else:
                    self._add(path, entry)
        if len(self._files) > limits.MAX_FILES_PER_GAME:
            self.problem_at("", f"holds more than {limits.MAX_FILES_PER_GAME} files")
        if self._downloaded:
            self._read_version(folder)
        if self._installed:
            self._installed_version = installed_version(folder)

    def _is_left_out(self, rel: str, entry: Entry) -> bool:
        if not rel and entry.name == paths.LOCAL and entry.kind is Kind.FOLDER:
            self._installed = True
            return True
        if not rel and paths.is_own(entry.name):
            if entry.name == paths.OWN_FOLDER and entry.kind is Kind.FOLDER:
                self._has_own_folder = True
            return True
        if entry.kind is Kind.FILE:
            return paths.is_litter(entry.name)
        if entry.kind is Kind.FOLDER:
            return False
        self._left_out.append(f"{rel}/{entry.name}" if rel else entry.name)
        return True

    def _add(self, path: str, entry: Entry) -> None:
        try:
            paths.check_path(path)
        except UnsafePath as error:
            self.problem_at(path, error.why)
            return
        if path == paths.VERSION_INI:
            self._downloaded = True
        stamp = FileStamp(path, entry.size, entry.mtime_ns, entry.inode)
        self._files.append((FileEntry(path, entry.size), stamp))

    def _read_version(self, folder: Folder) -> None:
        try:
            with folder.open(paths.VERSION_INI, "read") as file:
                self._version = version_of(file.read_at(VERSION_BYTES, 0))
        except OSError as error:
            self.problem_at(paths.VERSION_INI, f"cannot be read: {error.strerror or error}")

    def result(self) -> ScannedGame:
        self._files.sort(key=lambda pair: path_key(pair[0].path))
        del self._files[limits.MAX_FILES_PER_GAME :]
        manifest = Manifest(tuple(entry for entry, _ in self._files))
        if self._problem is None:
            try:
                check_manifest(manifest)
            except UnsafePath as error:
                self.problem_at(error.path, error.why)
        shared = self._problem is None and bool(manifest.files)
        return ScannedGame(
            id=self._id,
            version=self._version,
            downloaded=self._downloaded,
            installed=self._installed,
            installed_version=self._installed_version,
            unfinished=self._has_own_folder and not self._downloaded,
            manifest=manifest,
            manifest_hash=manifest_hash(manifest) if shared else None,
            stamps=tuple(stamp for _, stamp in self._files),
            fingerprint=self._look.fingerprint,
            leftovers=self._look.leftovers,
            problem=self._problem,
            warnings=tuple(self._warnings()),
        )

    def _warnings(self) -> list[ScanWarning]:
        warnings = []
        if self._problem is not None:
            warnings.append(
                ScanWarning(
                    "game_local_only",
                    f"{shown(self._id)} is not shared: {self._problem}",
                    "rename, repair or remove it",
                )
            )
        if self._left_out:
            names = ", ".join(shown(name) for name in sorted(self._left_out)[:_NAMED])
            more = len(self._left_out) - _NAMED
            warnings.append(
                ScanWarning(
                    "links_left_out",
                    f"{shown(self._id)}: links and special files are not shared: {names}"
                    + (f" and {more} more" if more > 0 else ""),
                    "put the files themselves there",
                )
            )
        return warnings
