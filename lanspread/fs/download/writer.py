"""Writing verified blocks in place, and the checkpoints behind which they count. Blocks.

The order for each block: verified (by the caller), written, noted in the journal. A checkpoint
takes down which blocks have been noted; syncs the files that were written to since the last one,
while others are written on; then says so in the journal, and syncs that.

Threads write to different files at the same time, to one file one after the other. By its number a
file belongs to one of a few places, whose lock is held while it is looked at and written to: so
whoever holds it sees the file as our own last write left it, or knows that somebody else was there.
Files of one block have places of their own, so that thousands do not wait for a few large ones.
What is kept in memory, and the journal, have a lock of their own. It is not held while a file is
made or written, and may be taken inside a place's lock, not the other way about.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lanspread import limits
from lanspread.fs.digests import matches
from lanspread.fs.download.journal import Journal, NotedBlock, Stamped
from lanspread.fs.download.known import FOUND, MISSING
from lanspread.fs.download.reference import Reference
from lanspread.fs.errors import FileChanged
from lanspread.fs.near import NearFolders
from lanspread.fs.paths import VERSION_INI
from lanspread.seams import Entry, File, FileStamp, Folder, Kind

# So many files of several blocks are written to at once, and are held open for their next one; and
# so many of one block, which are closed at once.
_PLACES: Final = 16
# The disk is told to begin with pieces of this size, so that a commit does not wait for all of it.
_EARLY_BYTES: Final = 256 * limits.KIB

# (file number, offset, bytes)
Written = tuple[int, int, bytes | bytearray | memoryview]


class _Place:
    """Some of the files, one of them written to at a time; the last one is held open.

    Inside a `with` nobody else writes to any of them.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.number = -1
        self.file: File | None = None

    def __enter__(self) -> _Place:
        self.lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def close(self) -> None:
        file, self.file, self.number = self.file, None, -1
        if file is not None:
            file.close()


class BlockWriter:
    """The files of a download that has begun. Methods may come from any thread.

    `known` has a byte per block of the reference, as `Finder.known`; it is written to. `stamps` are
    the files that have known blocks, as they were when these were found; `folders` those in which
    names have changed already.
    """

    def __init__(
        self,
        folder: Folder,
        reference: Reference,
        journal: Journal,
        known: bytearray,
        stamps: Mapping[int, FileStamp],
        folders: Iterable[str],
    ) -> None:
        self._folder = folder
        self._reference = reference
        self._journal = journal
        self.known = known
        self._places = tuple(_Place() for _ in range(2 * _PLACES))
        self._syncing = threading.Lock()
        # Everything from here on is changed under this one.
        self._lock = threading.Lock()
        self._made: set[int] = set()
        # Those of them that could not get their size, too.
        self._touched: set[int] = set()
        # Each file as it was found, or as our last write left it: what is different, others did.
        self._after: dict[int, FileStamp] = dict(stamps)
        self._left = {number: self._missing_in(number) for number in self._after}
        # What the next checkpoint has to sync. Nobody knows when what was found was synced.
        self._dirty = {number for number in self._after if FOUND in self._blocks_of(number)}
        self._dirty_folders = set(folders)
        self._covered = journal.noted if FOUND not in known else 0
        self.unsynced_bytes = 0
        self.sync_failed = False
        self._closed = False

    def write(self, blocks: Iterable[Written]) -> None:
        """Write whole, verified blocks in place, then note them in the journal.

        Raises `FileChanged` if somebody else wrote to the file, `ValueError` for what is no block
        of the game or version.ini, `OSError`; blocks before that one are written and noted.
        """
        noted: list[NotedBlock] = []
        with NearFolders(self._folder) as near:
            try:
                for number, offset, data in blocks:
                    block = self._block_at(number, offset, len(data))
                    with self._place(number) as place:
                        self._must_be_open()
                        self._write(place, near, number, offset, data)
                    index = self._reference.starts[number] + block
                    noted.append(NotedBlock(number, block, self._reference.digests[index]))
            finally:
                if noted:
                    with self._lock:
                        self._note(noted)

    def checkpoint(self) -> None:
        """All that was noted before the call counts after a crash when this returns.

        Raises `FileChanged` if somebody else wrote to a file; the others are covered then. Raises
        `OSError` where nothing more is covered than before.
        """
        with self._syncing:
            with self._lock:
                self._must_be_open()
                dirty, self._dirty = self._dirty, set()
                folders, self._dirty_folders = self._dirty_folders, set()
                unsynced, self.unsynced_bytes = self.unsynced_bytes, 0
                covered = self._journal.noted
                stamps = {number: self._after[number] for number in dirty}
                unfinished = [number for number in self._after if self._left.get(number)]
            try:
                changed = self._changed(sorted(dirty.union(unfinished)))
                paths = [self._path(number) for number in sorted(dirty.difference(changed))]
                if covered > self._covered or paths:
                    self.sync(paths, sorted(folders))
                    for number in changed:
                        stamps.pop(number, None)
                    self._note_checkpoint(covered, stamps)
            except BaseException:
                with self._lock:
                    self._dirty |= dirty.intersection(self._after)
                    self._dirty_folders |= folders
                    self.unsynced_bytes += unsynced
                raise
            if changed:
                raise FileChanged(self._path(changed[0]))

    def sync(self, files: Sequence[str], folders: Sequence[str]) -> None:
        """These are on the disk when this returns.

        Raises `OSError`, and then at every further call: a system may drop what it
        could not write, and says so only once.
        """
        if self.sync_failed:
            raise OSError(errno.EIO, "the disk could not take what was written before")
        try:
            self._folder.sync_all(files, folders)
        except OSError:
            self.sync_failed = True
            raise

    def settle(self, numbers: Iterable[int]) -> dict[str, Entry]:
        """Give files that need no block their size, close all, return what is there.

        Raises `FileChanged` if a file is not as it was left, `ValueError` if blocks are missing.
        """
        entries = {}
        with NearFolders(self._folder) as near:
            for number in numbers:
                if MISSING in self._blocks_of(number):
                    raise ValueError("not every block was written")
                with self._place(number) as place:
                    self._must_be_open()
                    entries[self._path(number)] = self._settled(place, near, number)
        self._close_files()
        return entries

    def left(self, numbers: Iterable[int]) -> dict[int, Entry | None]:
        """Of these files those that were written to, closed, as they are now; None for one that is
        not as it was left."""
        with self._lock:
            touched = sorted(self._touched.intersection(numbers))
        own: dict[int, Entry | None] = {}
        with NearFolders(self._folder) as near:
            for number in touched:
                with self._place(number):
                    entry = self._entry(near, number)
                    after = self._after.get(number)
                    same = entry is not None and after is not None and matches(entry, after)
                    own[number] = entry if same else None
        # Some systems tell the last time of a file only when it is closed.
        self._close_files()
        with NearFolders(self._folder) as near:
            return {
                number: None if entry is None else self._entry(near, number)
                for number, entry in own.items()
            }

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            was_closed, self._closed = self._closed, True
        if not was_closed:
            self._close_files()
            with self._lock:
                self._journal.close()

    # -- writing -----------------------------------------------------------------------------------

    def _place(self, number: int) -> _Place:
        first = _PLACES if self._reference.blocks_in(number) <= 1 else 0
        return self._places[first + number % _PLACES]

    def _block_at(self, number: int, offset: int, length: int) -> int:
        """The number of the block in its file. Raises `ValueError`."""
        block, inside = divmod(offset, self._reference.block_bytes)
        if not 0 <= number < len(self._reference.manifest.files):
            raise ValueError("not a file of the game")
        if (
            inside
            or not 0 <= block < self._reference.blocks_in(number)
            or length != self._reference.length_of(number, block)
            or self._path(number) == VERSION_INI
        ):
            raise ValueError("not a place that this download writes to")
        return block

    def _write(
        self,
        place: _Place,
        near: NearFolders,
        number: int,
        offset: int,
        data: bytes | bytearray | memoryview,
    ) -> None:
        file = place.file if place.number == number else None
        if file is None:
            file = self._open(place, near, number)
        else:
            self._must_be_ours(number, file.entry())
        try:
            file.write_at(data, offset)
            stamp = self._stamp(number, file.entry())
        except BaseException:
            place.file = None
            self._wrote_part(number, file)
            raise
        with self._lock:
            self._made.add(number)
            self._after[number] = stamp
            self._dirty.add(number)
            self.unsynced_bytes += len(data)
        if len(data) >= _EARLY_BYTES:
            file.start_sync(offset, len(data))
        if len(data) == self._reference.manifest.files[number].size:
            # It has all its bytes.
            place.close()

    def _note(self, noted: list[NotedBlock]) -> None:
        self._must_be_open()
        # Since it was written somebody else may have been found to have changed its file.
        noted = [one for one in noted if one.file in self._after]
        self._journal.note(noted)
        for number, block, _ in noted:
            index = self._reference.starts[number] + block
            if self.known[index] == MISSING:
                self.known[index] = FOUND
                self._left[number] -= 1

    def _open(self, place: _Place, near: NearFolders, number: int) -> File:
        """The file, ours, held open, of its final size or to be written whole. Its time may have
        changed by that: a write is to follow, or a look."""
        place.close()
        path = self._path(number)
        file, is_new = self._opened(near, number)
        try:
            if not is_new:
                there = file.entry()
                self._must_be_ours(number, there)
                if number not in self._made and there.links > 1:
                    # Since it was looked at: what is written here would be written to another file.
                    with self._lock:
                        self._forget(number)
                    raise FileChanged(path)
        except BaseException:
            file.close()
            raise
        if number not in self._made:
            with self._lock:
                self._touched.add(number)
                self._dirty_folders.add(path.rpartition("/")[0])
                self._left.setdefault(number, self._missing_in(number))
            # A new one of one block has its size once that is written.
            if not is_new or self._reference.blocks_in(number) > 1:
                try:
                    file.truncate(self._reference.manifest.files[number].size)
                except BaseException:
                    self._wrote_part(number, file)
                    raise
                with self._lock:
                    self._made.add(number)
        place.file, place.number = file, number
        return file

    def _opened(self, near: NearFolders, number: int) -> tuple[File, bool]:
        """The file, and whether this made it: then there is nothing about it to look at."""
        path = self._path(number)
        if number in self._made:
            return near.open(path, "write"), False
        if number not in self._after:
            with contextlib.suppress(FileExistsError):
                return near.open(path, "new"), True
        return near.open(path, "create"), False

    def _wrote_part(self, number: int, file: File) -> None:
        """A write failed: what it left is ours, too."""
        with file, contextlib.suppress(OSError):
            stamp = self._stamp(number, file.entry())
            with self._lock:
                self._after[number] = stamp
                self._dirty.add(number)

    def _settled(self, place: _Place, near: NearFolders, number: int) -> Entry:
        entry = self._entry(near, number)
        wanted = self._reference.manifest.files[number].size
        if number not in self._made and (entry is None or entry.size != wanted):
            # An empty one, or one that was longer and begins with all that is wanted.
            if entry is None and wanted:
                raise FileChanged(self._path(number))
            stamp = self._stamp(number, self._open(place, near, number).entry())
            place.close()
            with self._lock:
                self._after[number] = stamp
                self._dirty.add(number)
            entry = self._entry(near, number)
        if entry is None or entry.size != wanted or entry.kind is not Kind.FILE:
            raise FileChanged(self._path(number))
        self._must_be_ours(number, entry)
        return entry

    def _note_checkpoint(self, covered: int, stamps: Mapping[int, FileStamp]) -> None:
        files = [Stamped(number, one.mtime_ns, one.inode) for number, one in stamps.items()]
        with self._lock:
            self._must_be_open()
            self._journal.checkpoint(covered, files)
        self._journal.sync()
        self._covered = covered

    # -- what others did ---------------------------------------------------------------------------

    def _changed(self, numbers: Iterable[int]) -> list[int]:
        """Those of these files that somebody else changed; nothing that was noted of them holds."""
        changed = []
        with NearFolders(self._folder) as near:
            for number in numbers:
                try:
                    with self._place(number):
                        self._must_be_open()
                        entry = self._entry(near, number)
                        if entry is None:
                            with self._lock:
                                self._forget(number)
                            changed.append(number)
                        else:
                            self._must_be_ours(number, entry)
                except FileChanged:
                    changed.append(number)
        return changed

    def _must_be_ours(self, number: int, entry: Entry) -> None:
        """Raises `FileChanged` for a file that is not as it was left."""
        after = self._after.get(number)
        if after is not None and not matches(entry, after):
            with self._lock:
                self._forget(number)
            raise FileChanged(self._path(number))

    def _forget(self, number: int) -> None:
        self._after.pop(number, None)
        self._dirty.discard(number)
        self._journal.forget(number)
        start, end = self._reference.starts[number : number + 2]
        self.known[start:end] = bytes(end - start)
        self._left[number] = end - start

    # -- small things ------------------------------------------------------------------------------

    def _must_be_open(self) -> None:
        if self._closed:
            raise ValueError("the download is closed")

    def _entry(self, near: NearFolders, number: int) -> Entry | None:
        try:
            return near.entry(self._path(number))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _path(self, number: int) -> str:
        return self._reference.manifest.files[number].path

    def _stamp(self, number: int, entry: Entry) -> FileStamp:
        return FileStamp(self._path(number), entry.size, entry.mtime_ns, entry.inode)

    def _blocks_of(self, number: int) -> bytearray:
        start, end = self._reference.starts[number : number + 2]
        return self.known[start:end]

    def _missing_in(self, number: int) -> int:
        return self._blocks_of(number).count(MISSING)

    def _close_files(self) -> None:
        for place in self._places:
            with place:
                place.close()
