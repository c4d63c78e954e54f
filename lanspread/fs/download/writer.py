"""Writing verified blocks in place, and the checkpoints behind which they count. Blocks.

The order for each block: verified (by the caller), written, noted in the journal. A checkpoint
takes down which blocks have been noted; syncs the files that were written to since the last one,
while others are written on; then says so in the journal, and syncs that.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lanspread.fs.download.journal import Journal, NotedBlock, Stamped
from lanspread.fs.download.known import FOUND, MISSING
from lanspread.fs.download.reference import Reference
from lanspread.fs.errors import FileChanged
from lanspread.fs.paths import VERSION_INI
from lanspread.seams import Entry, File, FileStamp, Folder, Kind

_OPEN_FILES: Final = 16

# (file number, offset, bytes)
Written = tuple[int, int, bytes | bytearray | memoryview]


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
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._files: OrderedDict[int, File] = OrderedDict()
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
        try:
            for number, offset, data in blocks:
                block = self._block_at(number, offset, len(data))
                with self._lock:
                    self._write(number, offset, data)
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
                changed = [n for n in sorted(dirty.union(unfinished)) if self._check(n)]
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
        with self._lock:
            self._must_be_open()
            entries = {}
            for number in numbers:
                if MISSING in self._blocks_of(number):
                    raise ValueError("not every block was written")
                entries[self._path(number)] = self._settled(number)
            self._close_files()
            return entries

    def left(self, numbers: Iterable[int]) -> dict[int, Entry | None]:
        """Of these files those that were written to, closed, as they are now; None for one that is
        not as it was left."""
        with self._lock:
            own: dict[int, Entry | None] = {}
            for number in sorted(self._touched.intersection(numbers)):
                entry = self._entry(number)
                after = self._after.get(number)
                same = entry is not None and self._stamp(number, entry) == after
                own[number] = entry if same else None
            # Some systems tell the last time of a file only when it is closed.
            self._close_files()
            return {
                number: None if entry is None else self._entry(number)
                for number, entry in own.items()
            }

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close_files()
                self._journal.close()

    # -- writing -----------------------------------------------------------------------------------

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

    def _write(self, number: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._must_be_open()
        file = self._open(number)
        try:
            self._must_be_ours(number, file.entry())
            file.write_at(data, offset)
            self._after[number] = self._stamp(number, file.entry())
        except FileChanged:
            raise
        except BaseException:
            self._wrote_part(number, self._files.pop(number))
            raise
        self._dirty.add(number)
        self.unsynced_bytes += len(data)

    def _note(self, noted: list[NotedBlock]) -> None:
        self._must_be_open()
        self._journal.note(noted)
        for number, block, _ in noted:
            index = self._reference.starts[number] + block
            if self.known[index] == MISSING:
                self.known[index] = FOUND
                self._left[number] -= 1

    def _open(self, number: int) -> File:
        """The file, made and of its final size; its time may have changed by that."""
        file = self._files.get(number)
        if file is not None:
            self._files.move_to_end(number)
            return file
        while len(self._files) >= _OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        path = self._path(number)
        if number in self._made:
            file = self._files[number] = self._folder.open(path, "write")
            return file
        file = self._folder.open(path, "create")
        try:
            there = file.entry()
            self._must_be_ours(number, there)
            if there.links > 1:
                # Since it was looked at: what is written here would be written to another file.
                self._forget(number)
                raise FileChanged(path)
        except BaseException:
            file.close()
            raise
        self._touched.add(number)
        self._dirty.add(number)
        self._dirty_folders.add(path.rpartition("/")[0])
        self._left.setdefault(number, self._missing_in(number))
        try:
            file.truncate(self._reference.manifest.files[number].size)
            self._after[number] = self._stamp(number, file.entry())
        except BaseException:
            self._wrote_part(number, file)
            raise
        self._files[number] = file
        self._made.add(number)
        return file

    def _wrote_part(self, number: int, file: File) -> None:
        """A write failed: what it left is ours, too."""
        with file, contextlib.suppress(OSError):
            self._after[number] = self._stamp(number, file.entry())

    def _settled(self, number: int) -> Entry:
        entry = self._entry(number)
        wanted = self._reference.manifest.files[number].size
        if number not in self._made and (entry is None or entry.size != wanted):
            # An empty one, or one that was longer and begins with all that is wanted.
            if entry is None and wanted:
                raise FileChanged(self._path(number))
            self._open(number)
            entry = self._entry(number)
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

    def _check(self, number: int) -> bool:
        """Whether somebody else changed a file; then nothing that was noted of it holds."""
        with self._lock:
            try:
                self._must_be_open()
                entry = self._entry(number)
                if entry is None:
                    self._forget(number)
                    return True
                self._must_be_ours(number, entry)
            except FileChanged:
                return True
            return False

    def _must_be_ours(self, number: int, entry: Entry) -> None:
        """Raises `FileChanged` for a file that is not as it was left."""
        after = self._after.get(number)
        if after is not None and self._stamp(number, entry) != after:
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

    def _entry(self, number: int) -> Entry | None:
        try:
            return self._folder.entry(self._path(number))
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
        while self._files:
            self._files.popitem()[1].close()
