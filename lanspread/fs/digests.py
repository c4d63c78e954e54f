"""Hashing files block by block, a bounded piece per call. Calls block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lanspread.fs.errors import FileChanged
from lanspread.fs.manifest import block_digest
from lanspread.fs.near import NearFolders
from lanspread.model import block_count, block_length
from lanspread.seams import Entry, File, FileStamp, Folder

# Many small files are one piece of work: a hop into a thread costs more than hashing one of them.
_FILES_PER_STEP: Final = 256


def matches(entry: Entry, stamp: FileStamp) -> bool:
    """Whether a file is still the one that a walk saw."""
    return (
        entry.size == stamp.size and entry.mtime_ns == stamp.mtime_ns and entry.inode == stamp.inode
    )


def open_stamped(folder: Folder | NearFolders, stamp: FileStamp) -> File:
    """Open a file for reading if it is still what the walk saw.

    Raises `FileChanged` if it is not or is gone, `OSError` if it cannot be read.
    """
    try:
        file = folder.open(stamp.path, "read")
    except (FileNotFoundError, NotADirectoryError):
        raise FileChanged(stamp.path) from None
    try:
        if not matches(file.entry(), stamp):
            raise FileChanged(stamp.path)
    except BaseException:
        file.close()
        raise
    return file


class BlockHasher:
    """The digests of some files of a game, in their order.

    A file whose first digests are known is gone on with behind them. It owns at most one open file
    and holds at most one block in memory. Not for two threads at once, `partial` excepted.
    """

    def __init__(
        self,
        folder: Folder,
        files: Mapping[FileStamp, tuple[bytes, ...]],
        block_bytes: int,
    ) -> None:
        self._folder = folder
        self._files = iter(tuple(files.items()))
        self._block_bytes = block_bytes
        self._stamp: FileStamp | None = None
        self._file: File | None = None
        # Replaced with its file, never emptied: another thread may be reading it.
        self._begun: tuple[FileStamp, list[bytes]] | None = None

    def step(self) -> dict[FileStamp, tuple[bytes, ...]] | None:
        """Hash about one block; return the files that became complete, None when all are.

        Raises `FileChanged`, or `OSError` for a file that cannot be read; then it is closed.
        """
        try:
            return self._step()
        except BaseException:
            self._close_file()
            raise

    def close(self) -> None:
        """Close what is open. The folder is the caller's."""
        self._close_file()

    def partial(self) -> dict[FileStamp, tuple[bytes, ...]]:
        """The first digests of the file that is being hashed."""
        begun = self._begun
        return {} if begun is None or not begun[1] else {begun[0]: tuple(begun[1])}

    @property
    def path(self) -> str:
        """The file that is being hashed, for messages."""
        return "" if self._stamp is None else self._stamp.path

    def _step(self) -> dict[FileStamp, tuple[bytes, ...]] | None:
        complete: dict[FileStamp, tuple[bytes, ...]] = {}
        hashed = 0
        while hashed < self._block_bytes and len(complete) < _FILES_PER_STEP:
            if self._file is None:
                stamp, known = next(self._files, (None, ()))
                if stamp is None:
                    return complete or None
                self._stamp = stamp
                self._file = open_stamped(self._folder, stamp)
                # More than there are blocks are not of this file.
                fits = len(known) <= block_count(stamp.size, self._block_bytes)
                self._begun = (stamp, list(known) if fits else [])
            assert self._begun is not None
            stamp, digests = self._begun
            hashed += self._next_block(self._file, stamp, digests)
            if len(digests) * self._block_bytes >= stamp.size:
                if not matches(self._file.entry(), stamp):
                    raise FileChanged(stamp.path)
                complete[stamp] = tuple(digests)
                self._close_file()
        return complete

    def _next_block(self, file: File, stamp: FileStamp, digests: list[bytes]) -> int:
        number = len(digests)
        offset = number * self._block_bytes
        if offset >= stamp.size:
            return 0
        length = block_length(stamp.size, self._block_bytes, number)
        data = file.read_at(length, offset)
        if len(data) != length:
            raise FileChanged(stamp.path)
        digests.append(block_digest(data))
        return length

    def _close_file(self) -> None:
        file, self._file = self._file, None
        self._begun = None
        if file is not None:
            file.close()


def hash_files(
    folder: Folder, stamps: Iterable[FileStamp], block_bytes: int
) -> dict[FileStamp, tuple[bytes, ...]]:
    """The digests of files, all at once. Raises as `BlockHasher.step` does."""
    hasher = BlockHasher(folder, dict.fromkeys(stamps, ()), block_bytes)
    found: dict[FileStamp, tuple[bytes, ...]] = {}
    while (step := hasher.step()) is not None:
        found.update(step)
    return found
