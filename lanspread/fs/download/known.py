"""Which blocks of a download are there already when it begins. Reads, changes nothing. Blocks.

In this order, the cheapest first:

1. The journal has them behind a checkpoint, and the file is still as the journal leaves it: they
   count without being read.
2. The record of the last download, or the library, knows the digests of the file as it is: they are
   compared without being read.
3. Whatever else is there is hashed and compared with what must be at the same place.

What does not verify is fetched. A file that has another name (a hard link, as a snapshot of the
folder has) counts only if it is complete and right: nothing is written through a link. Files that
nothing explains are adopted if they are exactly what the manifest wants; they are looked at before
anything else.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Final

from lanspread import limits
from lanspread.fs.download.journal import JournalHeader, ReadJournal, read_journal
from lanspread.fs.download.reference import Reference
from lanspread.fs.download.survey import NAMED, Survey
from lanspread.fs.errors import FileChanged, FolderNotEmpty
from lanspread.fs.manifest import block_digest
from lanspread.fs.paths import VERSION_INI
from lanspread.model import block_count, block_length
from lanspread.seams import Entry, File, FileStamp, Folder

# Values of `Finder.known`: what is known of a block.
MISSING, FOUND, COVERED = range(3)

# So much is hashed in one step: a hop into a thread must not show, and nobody wait long for it.
_STEP_BYTES: Final = 16 * limits.MIB
# Opening a small file costs about as much as hashing this.
_FILE_COST: Final = 64 * limits.KIB
# What two times of one disk may differ by and still mean the same moment (FAT keeps 2 s).
_SAME_MOMENT_NS: Final = 2_000_000_000


class Finder:
    """Looks for blocks. Not for two threads at once.

    `known` has one byte per block of the reference: `MISSING`, `FOUND`, or `COVERED` by a
    checkpoint. `stamps` are the files, by number, in which blocks were found, as they were then.
    `shared` are the paths, after the last step, of files that have another name somewhere and would
    have to be changed: nothing of them counts, they must make way for new ones.
    """

    def __init__(
        self,
        folder: Folder,
        reference: Reference,
        found: Survey,
        digests: Mapping[FileStamp, tuple[bytes, ...]],
        selection: Collection[str] | None,
        *,
        doubt: bool = False,
    ) -> None:
        """`digests` is what the library knows of the game's files.

        Without a `selection` all files are looked at, with one only these are hashed; with `doubt`
        only what nothing explains is.
        """
        self._folder = folder
        self._reference = reference
        self._survey = found
        self._digests = digests
        self._doubt = doubt
        self.known = bytearray(reference.starts[-1])
        self.known_bytes = 0
        self.hashed_bytes = 0
        self.stamps: dict[int, FileStamp] = {}
        self.shared: dict[str, None] = {}
        self._wanted = set(reference.wanted(selection))
        self._unexplained = frozenset(found.candidates)
        self._strange: list[str] = []
        self._candidates: deque[int] = deque()
        self._queue: deque[int] = deque()
        self._prepared = False
        self._number = -1
        self._block = 0
        self._file: File | None = None

    def step(self) -> bool:
        """Look a little further; False when all was looked at.

        Raises `FolderNotEmpty` if a file is somebody else's, `FileChanged` if one is being written
        to, `OSError` if the journal cannot be read. Then nothing is open.
        """
        try:
            return self._step()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close what is open. The folder is the caller's."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _step(self) -> bool:
        if not self._prepared:
            self._prepared = True
            self._prepare()
            return True
        cost = 0
        while cost < _STEP_BYTES:
            if self._file is None:
                if not self._next():
                    self._leave_shared()
                    return False
                cost += _FILE_COST
            cost += self._hash_block()
        return True

    # -- without reading ---------------------------------------------------------------------------

    def _prepare(self) -> None:
        reference = self._reference
        header = JournalHeader(
            reference.manifest_hash, reference.content_hash, reference.block_bytes
        )
        journal = read_journal(self._folder, header, self._fits)
        for path, entry in self._survey.present.items():
            number = reference.numbers[path]
            if path in self._unexplained:
                self._candidates.append(number)
                continue
            if self._from_journal(number, entry, journal) or self._from_digests(number, entry):
                continue
            if number in self._wanted and not self._doubt:
                self._queue.append(number)

    def _fits(self, number: int, block: int, digest: bytes) -> bool:
        starts = self._reference.starts
        if number + 1 >= len(starts) or block >= starts[number + 1] - starts[number]:
            return False
        return self._reference.digests[starts[number] + block] == digest

    def _from_journal(self, number: int, entry: Entry, journal: ReadJournal) -> bool:
        """Take what the journal has of a file; whether that is all of the file."""
        file = journal.files.get(number)
        size = self._reference.manifest.files[number].size
        if file is None or entry.size != size or entry.inode != file.inode:
            return False
        blocks = set(file.blocks)
        complete = len(blocks) == self._reference.blocks_in(number)
        if entry.mtime_ns != file.mtime_ns:
            # Our own writes behind the checkpoint may have moved its time on. Nothing else may:
            # not beyond the last word of the journal, and not of a file that was complete.
            ours = file.mtime_ns < entry.mtime_ns <= journal.mtime_ns + _SAME_MOMENT_NS
            if not ours or (complete and not file.open):
                return False
        for block in blocks:
            self._take(number, block, COVERED, entry)
        return complete

    def _from_digests(self, number: int, entry: Entry) -> bool:
        """Compare with digests that are known; whether they are known."""
        path = self._path(number)
        known = self._digests.get(_stamp(entry, path))
        record = self._survey.record
        if known is None and record is not None:
            file = record.files.get(path)
            if (
                file is not None
                and record.block_bytes == self._reference.block_bytes
                and (file.size, file.mtime_ns) == (entry.size, entry.mtime_ns)
            ):
                known = file.digests
        block_bytes = self._reference.block_bytes
        if known is None or len(known) != block_count(entry.size, block_bytes):
            return False
        start = self._reference.starts[number]
        for block in range(min(len(known), self._reference.blocks_in(number))):
            same = block_length(entry.size, block_bytes, block) == self._reference.length_of(
                number, block
            )
            if same and known[block] == self._reference.digests[start + block]:
                self._take(number, block, FOUND, entry)
        return True

    # -- reading -----------------------------------------------------------------------------------

    def _next(self) -> bool:
        """Open the next file; False if there is none."""
        while self._candidates or self._queue:
            if not self._candidates and self._strange:
                break
            self._number = (self._candidates or self._queue).popleft()
            self._block = 0
            try:
                self._file = self._folder.open(self._path(self._number), "read")
            except OSError:
                self._give_up()
                continue
            self._must_be_as_seen(self._file)
            return True
        if self._strange:
            raise FolderNotEmpty(sorted(self._strange)[:NAMED])
        return False

    def _hash_block(self) -> int:
        """Hash the next block of the open file that is not known; returns what was read."""
        file, number, reference = self._file, self._number, self._reference
        assert file is not None
        start, count = reference.starts[number], reference.blocks_in(number)
        while self._block < count and self.known[start + self._block]:
            self._block += 1
        if self._block == count:
            self._must_be_as_seen(file)
            self.close()
            return 0
        length = reference.length_of(number, self._block)
        try:
            data = file.read_at(length, self._block * reference.block_bytes)
        except OSError:
            # A bad place on the disk: it may take new bytes.
            data = b""
        if len(data) == length and block_digest(data) == reference.digests[start + self._block]:
            self._take(number, self._block, FOUND, self._survey.present[self._path(number)])
        elif self._path(number) in self._unexplained:
            self._give_up()
        self.hashed_bytes += len(data)
        self._block += 1
        return length

    def _give_up(self) -> None:
        """Nothing more of this file; one that nothing explains stays as it is."""
        self.close()
        path = self._path(self._number)
        if path in self._unexplained:
            self._strange.append(path)

    def _leave_shared(self) -> None:
        """Nothing counts of a file that cannot be changed without changing somebody else's."""
        starts = self._reference.starts
        for path, entry in self._survey.present.items():
            number = self._reference.numbers[path]
            if entry.links <= 1 or path == VERSION_INI or number not in self._wanted:
                continue
            blocks = range(starts[number], starts[number + 1])
            size = self._reference.manifest.files[number].size
            if entry.size == size and all(self.known[index] for index in blocks):
                continue
            for block, index in enumerate(blocks):
                if self.known[index]:
                    self.known_bytes -= self._reference.length_of(number, block)
                self.known[index] = MISSING
            self.stamps.pop(number, None)
            self.shared[path] = None

    def _must_be_as_seen(self, file: File) -> None:
        path = self._path(self._number)
        if _stamp(file.entry(), path) != _stamp(self._survey.present[path], path):
            raise FileChanged(path)

    # -- results -----------------------------------------------------------------------------------

    def _take(self, number: int, block: int, how: int, entry: Entry) -> None:
        path = self._path(number)
        if path == VERSION_INI:
            # It is renamed away, and comes with the commit.
            return
        index = self._reference.starts[number] + block
        if self.known[index] == MISSING and number in self._wanted:
            self.known_bytes += self._reference.length_of(number, block)
        self.known[index] = max(self.known[index], how)
        self.stamps[number] = _stamp(entry, path)

    def _path(self, number: int) -> str:
        return self._reference.manifest.files[number].path


def _stamp(entry: Entry, path: str) -> FileStamp:
    return FileStamp(path, entry.size, entry.mtime_ns, entry.inode)
