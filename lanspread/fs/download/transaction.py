"""The download transaction: a game's files change in place, and no crash leaves a false sentinel.

A regular file `version.ini` at a game's root says that the game is complete. The order of writes:

1. `.lanspread/plan.json` names every file that is going to be written; synced with its folders.
2. `version.ini` is renamed to `.version.ini.discarded`.
3. The game's folder is synced. Only now does any other byte change.
4. Old files of ours where a folder is needed now (and the reverse) go; folders are made.
5. Blocks are written in place, in any order, after they were verified; a file is made, and given
   its final size, with its first block. (Making thousands of files takes the kernel seconds, and
   meanwhile others arrive.)
6. Commit: empty files are made; files of earlier downloads that the new manifest does not have go,
   if nobody changed them; every written file and every folder is synced;
   `.lanspread/download.json` is replaced.
7. `.version.ini.tmp` is written and synced.
8. `.version.ini.tmp` is renamed to `version.ini`. **This is the commit point.**
9. The game's folder is synced; `.version.ini.discarded` and the plan are removed.

A crash before 2 leaves the game as it was, and a plan that the next download replaces. A crash
between 2 and 8 leaves no sentinel: the game is not offered, the installed game in `local/` was not
touched, and the plan explains every file to the next download, which replaces them. If the rename
of 2 did not reach the disk, neither did anything after it. A crash after 8 leaves a complete game;
what 9 would have removed is explained by the record and goes with the next download. An error
behaves like a crash at the same step; a sync that fails in 6 or 7 ends the commit before 8.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from lanspread import limits
from lanspread.fs.download.records import (
    PLAN,
    RECORD,
    DownloadRecord,
    Plan,
    RecordedFile,
    encode_plan,
    encode_record,
    replace_file,
)
from lanspread.fs.download.survey import Survey, survey
from lanspread.fs.errors import FileChanged, NoSpace, UnsafePath, WrongVersion
from lanspread.fs.local_game import Digests
from lanspread.fs.manifest import (
    block_digest,
    check_manifest,
    manifest_hash,
    version_of,
)
from lanspread.fs.paths import (
    OWN_FOLDER,
    VERSION_INI,
    VERSION_INI_DISCARDED,
    VERSION_INI_TMP,
)
from lanspread.model import Manifest, block_count
from lanspread.seams import Entry, File, FileStamp, Folder, Kind

_OPEN_FILES: Final = 16
_MARGIN_BYTES: Final = limits.MIB
_MARGIN_PART: Final = 200


class DownloadTransaction:
    """One download into one game's folder. Every method blocks; they may come from any thread.

    `folder` stays the caller's and is open until after `close`. The order of calls is `check`,
    `begin`, `write` as often as needed, `commit`, `close`; without `commit`, `close` leaves the
    partial files and the plan that explains them.
    """

    def __init__(self, folder: Folder, manifest: Manifest, block_bytes: int) -> None:
        """Raises `UnsafePath` if the manifest may not be written to a disk."""
        check_manifest(manifest)
        self._numbers = {entry.path: number for number, entry in enumerate(manifest.files)}
        if VERSION_INI not in self._numbers:
            raise UnsafePath(VERSION_INI, "is not in the manifest")
        self._folder = folder
        self._manifest = manifest
        self._block_bytes = block_bytes
        self._lock = threading.Lock()
        self._survey: Survey | None = None
        self._begun = False
        self._made: set[int] = set()
        self._files: OrderedDict[int, File] = OrderedDict()
        # Each file as our last write left it: what is different at the commit, others changed.
        self._after: dict[int, FileStamp] = {}
        self._closed = False

    def check(self) -> None:
        """See whether the download may begin. Touches nothing.

        Raises `FolderNotEmpty`, `InTheWay`, `NoSpace`, `OSError`.
        """
        with self._lock:
            found = survey(self._folder, self._manifest)
            needed = found.missing_bytes + _MARGIN_BYTES + found.missing_bytes // _MARGIN_PART
            free = self._folder.free_bytes()
            if found.missing_bytes and needed > free:
                raise NoSpace(needed, free)
            self._survey = found

    def begin(self) -> None:
        """Steps 1 to 4. Raises as `check`, if that was not called before, and `OSError`."""
        if self._survey is None:
            self.check()
        with self._lock:
            assert self._survey is not None
            self._discard_sentinel(self._survey)
            self._make_folders(self._survey)
            self._begun = True

    def write(self, file_number: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write verified bytes in place. Raises `OSError`, or `ValueError` outside of a file."""
        entry = self._manifest.files[file_number]
        if offset < 0 or offset + len(data) > entry.size or entry.path == VERSION_INI:
            raise ValueError("not a place that this download writes to")
        with self._lock:
            self._must_have_begun()
            file = self._open(file_number, entry.path)
            try:
                file.write_at(data, offset)
                self._after[file_number] = _stamp(entry.path, file.entry())
            except BaseException:
                self._files.pop(file_number).close()
                raise

    def commit(self, version_ini: bytes, digests: Sequence[bytes], version: str) -> Digests:
        """Steps 6 to 9; the caller vouches that every block was verified and written.

        `digests` are all of the manifest's, in its order. Returns them by stamp, for the library.
        Raises `WrongVersion`, `FileChanged` if a file is not what was written, `ValueError` if
        `version_ini` does not fit its digests, `OSError`.
        """
        with self._lock:
            self._must_have_begun()
            assert self._survey is not None
            by_file = self._by_file(digests)
            self._check_sentinel(version_ini, by_file, version)
            self._make_empty_files()
            self._close_files()
            entries = self._written()
            folders = self._remove_stale(self._survey, entries.values())
            self._folder.sync_all(list(entries), folders)
            stamps = [_stamp(path, entry) for path, entry in entries.items()]
            with self._folder.open(VERSION_INI_TMP, "create") as file:
                file.truncate(len(version_ini))
                file.write_at(version_ini, 0)
                file.sync()
                stamps.append(_stamp(VERSION_INI, file.entry()))
            found = {stamp: by_file[stamp.path] for stamp in stamps}
            replace_file(self._folder, RECORD, encode_record(self._record(found, version)))
            self._folder.rename(VERSION_INI_TMP, VERSION_INI)
            self._folder.sync_folder()
            # Committed; what stays behind is removed by the next download.
            for rel in (VERSION_INI_DISCARDED, PLAN):
                with contextlib.suppress(OSError):
                    self._folder.remove_file(rel)
            return found

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            self._closed = True
            self._close_files()

    # -- begin -------------------------------------------------------------------------------------

    def _discard_sentinel(self, found: Survey) -> None:
        """Steps 1 to 3."""
        planned = {entry.path: entry.size for entry in self._manifest.files}
        if found.plan is not None:
            for path, size in found.plan.files.items():
                if path not in planned and self._folder.exists(path):
                    planned[path] = size
        self._folder.make_folder(OWN_FOLDER)
        replace_file(self._folder, PLAN, encode_plan(Plan(files=planned, copied=found.copied)))
        self._folder.sync_folder()
        if found.has_sentinel:
            self._folder.rename(VERSION_INI, VERSION_INI_DISCARDED)
        self._folder.sync_folder()

    def _make_folders(self, found: Survey) -> None:
        for rel in found.obstacle_files:
            self._folder.remove_file(rel)
        for rel in found.obstacle_folders:
            self._folder.remove_folder(rel)
        for rel in found.folders:
            self._folder.make_folder(rel)

    # -- write -------------------------------------------------------------------------------------

    def _must_have_begun(self) -> None:
        if self._closed or not self._begun:
            raise ValueError("the download has not begun or is closed")

    def _open(self, number: int, path: str) -> File:
        file = self._files.get(number)
        if file is not None:
            self._files.move_to_end(number)
            return file
        while len(self._files) >= _OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        if number in self._made:
            file = self._files[number] = self._folder.open(path, "write")
            return file
        file = self._files[number] = self._folder.open(path, "create")
        file.truncate(self._manifest.files[number].size)
        self._made.add(number)
        return file

    def _make_empty_files(self) -> None:
        for number, entry in enumerate(self._manifest.files):
            if entry.size == 0 and entry.path != VERSION_INI:
                self._open(number, entry.path)

    def _close_files(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    # -- commit ------------------------------------------------------------------------------------

    def _by_file(self, digests: Sequence[bytes]) -> dict[str, tuple[bytes, ...]]:
        found = {}
        at = 0
        for entry in self._manifest.files:
            count = block_count(entry.size, self._block_bytes)
            found[entry.path] = tuple(digests[at : at + count])
            at += count
        if at != len(digests):
            raise ValueError("not one digest per block")
        return found

    def _check_sentinel(
        self, version_ini: bytes, by_file: dict[str, tuple[bytes, ...]], version: str
    ) -> None:
        blocks = tuple(
            block_digest(version_ini[at : at + self._block_bytes])
            for at in range(0, len(version_ini), self._block_bytes)
        )
        if blocks != by_file[VERSION_INI]:
            raise ValueError("version.ini does not fit its digests")
        if version_of(version_ini) != version:
            raise WrongVersion(version, version_of(version_ini))

    def _written(self) -> dict[str, Entry]:
        """The files as they are now; each must have its size."""
        entries = {}
        for file in self._manifest.files:
            if file.path == VERSION_INI:
                continue
            try:
                entry = self._folder.entry(file.path)
            except (FileNotFoundError, NotADirectoryError):
                raise FileChanged(file.path) from None
            after = self._after.get(self._numbers[file.path])
            changed = after is not None and _stamp(file.path, entry) != after
            if entry.kind is not Kind.FILE or entry.size != file.size or changed:
                raise FileChanged(file.path)
            entries[file.path] = entry
        return entries

    def _remove_stale(self, found: Survey, written: Iterable[Entry]) -> list[str]:
        """Remove what earlier downloads left; return every folder to be synced."""
        keep = {(entry.device, entry.inode) for entry in written}
        lost = {""}
        for path, seen in found.stale.items():
            try:
                entry = self._folder.entry(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            # The same file under another spelling, where the file system folds names.
            if (entry.device, entry.inode) in keep or entry != seen:
                continue
            self._folder.remove_file(path)
            lost.update(_parents(path))
        needed = set(found.folders)
        for rel in sorted(lost - needed - {""}, key=lambda rel: (len(rel), rel), reverse=True):
            # One that is not empty keeps what the user put there.
            with contextlib.suppress(OSError):
                self._folder.remove_folder(rel)
                lost.discard(rel)
        return sorted(needed | lost)

    def _record(self, found: Digests, version: str) -> DownloadRecord:
        return DownloadRecord(
            version=version,
            manifest_hash=manifest_hash(self._manifest),
            block_bytes=self._block_bytes,
            files={
                stamp.path: RecordedFile(stamp.path, stamp.size, stamp.mtime_ns, digests)
                for stamp, digests in found.items()
            },
        )


def _stamp(path: str, entry: Entry) -> FileStamp:
    return FileStamp(path, entry.size, entry.mtime_ns, entry.inode)


def _parents(path: str) -> Iterable[str]:
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)
