"""Hashing files block by block, a bounded piece per call. Calls block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lanspread.fs.errors import FileChanged
from lanspread.fs.manifest import block_digest
from lanspread.model import block_length
from lanspread.seams import Entry, File, FileStamp, Folder

# Many small files are one piece of work: a hop into a thread costs more than hashing one of them.
_FILES_PER_STEP: Final = 256


def matches(entry: Entry, stamp: FileStamp) -> bool:
    """Whether a file is still the one that a walk saw."""
    return (
        entry.size == stamp.size and entry.mtime_ns == stamp.mtime_ns and entry.inode == stamp.inode
    )


def open_stamped(folder: Folder, stamp: FileStamp) -> File:
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

    It owns at most one open file and holds at most one block in memory. Not for two threads at
    once.
    """

    def __init__(self, folder: Folder, stamps: Iterable[FileStamp], block_bytes: int) -> None:
        self._folder = folder
        self._stamps = iter(tuple(stamps))
        self._block_bytes = block_bytes
        self._stamp: FileStamp | None = None
        self._file: File | None = None
        self._digests: list[bytes] = []

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

    @property
    def path(self) -> str:
        """The file that is being hashed, for messages."""
        return "" if self._stamp is None else self._stamp.path

    def _step(self) -> dict[FileStamp, tuple[bytes, ...]] | None:
        complete: dict[FileStamp, tuple[bytes, ...]] = {}
        hashed = 0
        while hashed < self._block_bytes and len(complete) < _FILES_PER_STEP:
            if self._file is None:
                stamp = next(self._stamps, None)
                if stamp is None:
                    return complete or None
                self._stamp = stamp
                self._file = open_stamped(self._folder, stamp)
                self._digests = []
            assert self._stamp is not None
            hashed += self._next_block(self._file, self._stamp)
            if len(self._digests) * self._block_bytes >= self._stamp.size:
                if not matches(self._file.entry(), self._stamp):
                    raise FileChanged(self._stamp.path)
                complete[self._stamp] = tuple(self._digests)
                self._close_file()
        return complete

    def _next_block(self, file: File, stamp: FileStamp) -> int:
        number = len(self._digests)
        offset = number * self._block_bytes
        if offset >= stamp.size:
            return 0
        length = block_length(stamp.size, self._block_bytes, number)
        data = file.read_at(length, offset)
        if len(data) != length:
            raise FileChanged(stamp.path)
        self._digests.append(block_digest(data))
        return length

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def hash_files(
    folder: Folder, stamps: Iterable[FileStamp], block_bytes: int
) -> dict[FileStamp, tuple[bytes, ...]]:
    """The digests of files, all at once. Raises as `BlockHasher.step` does."""
    hasher = BlockHasher(folder, stamps, block_bytes)
    found: dict[FileStamp, tuple[bytes, ...]] = {}
    while (step := hasher.step()) is not None:
        found.update(step)
    return found
