"""`.lanspread/journal`: which blocks of a download are on the disk, so that no crash forgets them.

Append only. A record is kind, length of its body, body, and a checksum that also covers the
checksum of the record before: what is torn, put elsewhere or left over from before ends the part
that is believed. Four kinds:

- the header: of which content this is the journal;
- blocks: (file number, block number, digest) of blocks that were verified and written in place;
- a checkpoint: the data of so many of the blocks above it had been synced when it was written, and
  the files had these inodes and times;
- forget: what is said above of a file's blocks does not hold any more.

A block counts without being read only if a checkpoint covers it (see `known`). A journal that
cannot be read is as good as none. Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import attrs
from blake3 import blake3

from lanspread import limits
from lanspread.fs.download.records import replace_file
from lanspread.fs.manifest import DIGEST_BYTES
from lanspread.fs.paths import OWN_FOLDER
from lanspread.seams import File, Folder

JOURNAL: Final = f"{OWN_FOLDER}/journal"

_FRAME: Final = struct.Struct("<BI")
_HEADER: Final = struct.Struct("<32s32sI")
_BLOCK: Final = struct.Struct(f"<II{DIGEST_BYTES}s")
_COVERED: Final = struct.Struct("<Q")
_STAMP: Final = struct.Struct("<IqQ")
_FILE: Final = struct.Struct("<I")
_SUM_BYTES: Final = 16
_SEED: Final = b"lanspread journal 1"

_IS_HEADER, _IS_BLOCKS, _IS_CHECKPOINT, _IS_FORGET = range(4)
_BLOCKS_A_RECORD: Final = 4_096
_MAX_BODY_BYTES: Final = limits.MAX_FILES_PER_GAME * _STAMP.size + _COVERED.size
# Every block of the largest game in a record of its own, and some written twice.
_MAX_BYTES: Final = 128 * limits.MIB


class JournalHeader(NamedTuple):
    """Of which content the blocks are: file numbers mean nothing without it."""

    manifest_hash: bytes
    content_hash: bytes
    block_bytes: int


class NotedBlock(NamedTuple):
    """A block that was verified and written."""

    file: int
    block: int
    digest: bytes


class Stamped(NamedTuple):
    """A file as it was when its data had been written, at a checkpoint."""

    file: int
    mtime_ns: int
    inode: int


@attrs.define
class JournaledFile:
    """What a journal says of one file: its blocks behind a checkpoint, and how it was then.

    `open`: more blocks were written since, so its time has moved on.
    """

    mtime_ns: int
    inode: int
    blocks: list[int]
    open: bool


# (file number, block number, digest): whether that is the digest which the block must have.
Fits = Callable[[int, int, bytes], bool]


class Encoder:
    """Makes records, each bound to all before it."""

    def __init__(self) -> None:
        # The checksum of the last record; put back, what was made since has not been.
        self.sum = _SEED

    def header(self, header: JournalHeader) -> bytes:
        return self._record(_IS_HEADER, _HEADER.pack(*header))

    def blocks(self, blocks: Sequence[NotedBlock]) -> bytes:
        return b"".join(
            self._record(
                _IS_BLOCKS,
                b"".join(_BLOCK.pack(*block) for block in blocks[at : at + _BLOCKS_A_RECORD]),
            )
            for at in range(0, len(blocks), _BLOCKS_A_RECORD)
        )

    def checkpoint(self, covered: int, stamps: Iterable[Stamped]) -> bytes:
        """`covered` counts the blocks from the beginning of the journal."""
        body = b"".join([_COVERED.pack(covered), *(_STAMP.pack(*stamp) for stamp in stamps)])
        return self._record(_IS_CHECKPOINT, body)

    def forget(self, file: int) -> bytes:
        return self._record(_IS_FORGET, _FILE.pack(file))

    def _record(self, kind: int, body: bytes) -> bytes:
        head = _FRAME.pack(kind, len(body))
        self.sum = _checksum(self.sum, head, body)
        return head + body + self.sum


def decode(data: bytes, header: JournalHeader, fits: Fits) -> dict[int, JournaledFile]:
    """What a journal of this content says of each file; nothing if it is not one. Never raises."""
    records = list(_records(data))
    if not records or records[0] != (_IS_HEADER, _HEADER.pack(*header)):
        return {}
    covered = noted = 0
    for kind, body in records[1:]:
        if kind == _IS_BLOCKS:
            noted += len(body) // _BLOCK.size
        elif kind == _IS_CHECKPOINT:
            covered = max(covered, min(noted, _COVERED.unpack_from(body)[0]))
    return _believed(records[1:], covered, fits)


def _believed(
    records: Iterable[tuple[int, bytes]], covered: int, fits: Fits
) -> dict[int, JournaledFile]:
    stamps: dict[int, Stamped] = {}
    behind: dict[int, list[int]] = {}
    moved_on: set[int] = set()
    at = 0
    for kind, body in records:
        if kind == _IS_BLOCKS:
            for number, block, digest in _BLOCK.iter_unpack(body):
                if at >= covered:
                    moved_on.add(number)
                elif fits(number, block, digest):
                    behind.setdefault(number, []).append(block)
                at += 1
        elif kind == _IS_CHECKPOINT:
            stamps.update((stamp.file, stamp) for stamp in _stamps(body))
        elif kind == _IS_FORGET:
            (number,) = _FILE.unpack(body)
            behind.pop(number, None)
            stamps.pop(number, None)
    return {
        number: JournaledFile(stamp.mtime_ns, stamp.inode, behind[number], number in moved_on)
        for number, stamp in stamps.items()
        if number in behind
    }


def _stamps(body: bytes) -> Iterator[Stamped]:
    return (Stamped(*row) for row in _STAMP.iter_unpack(body[_COVERED.size :]))


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of the records up to the first that is not whole or not in its place."""
    known, at = _SEED, 0
    while at + _FRAME.size <= len(data):
        kind, length = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        if not _is_shaped(kind, length) or end + _SUM_BYTES > len(data):
            return
        body = data[at + _FRAME.size : end]
        known = _checksum(known, data[at : at + _FRAME.size], body)
        if known != data[end : end + _SUM_BYTES]:
            return
        yield kind, body
        at = end + _SUM_BYTES


def _is_shaped(kind: int, length: int) -> bool:
    if length > _MAX_BODY_BYTES:
        return False
    match kind:
        case 0:
            return length == _HEADER.size
        case 1:
            return length % _BLOCK.size == 0
        case 2:
            return length >= _COVERED.size and (length - _COVERED.size) % _STAMP.size == 0
        case 3:
            return length == _FILE.size
        case _:
            return False


def _checksum(before: bytes, head: bytes, body: bytes) -> bytes:
    return blake3(before + head + body).digest(_SUM_BYTES)


class ReadJournal(NamedTuple):
    """A journal as it was found. `mtime_ns` is when its last record was written."""

    files: dict[int, JournaledFile]
    mtime_ns: int


def read_journal(folder: Folder, header: JournalHeader, fits: Fits) -> ReadJournal:
    """The journal in a game's folder; an empty one where there is none of this content.

    Raises `OSError` if it is there and cannot be read.
    """
    try:
        with folder.open(JOURNAL, "read") as file:
            entry = file.entry()
            data = file.read_at(entry.size, 0) if entry.size <= _MAX_BYTES else b""
    except (FileNotFoundError, NotADirectoryError):
        return ReadJournal({}, 0)
    return ReadJournal(decode(data, header, fits), entry.mtime_ns)


class Journal:
    """The journal of a running download. Calls block, and are not for two threads at once.

    After an error all that was appended before is there, and the next record follows that.
    """

    def __init__(self, file: File, encoder: Encoder, size: int) -> None:
        self._file = file
        self._encoder = encoder
        self._size = size
        # How many blocks have been noted.
        self.noted = 0

    @classmethod
    def replace(
        cls,
        folder: Folder,
        header: JournalHeader,
        covered: Sequence[NotedBlock],
        stamps: Sequence[Stamped],
        more: Sequence[NotedBlock],
    ) -> Journal:
        """Put a new journal in place of whatever is there; it is on the disk when this returns.

        It begins with `covered` behind a checkpoint and with `more` noted. `.lanspread/` is there.
        """
        encoder = Encoder()
        data = encoder.header(header) + encoder.blocks(covered)
        if covered:
            data += encoder.checkpoint(len(covered), stamps)
        data += encoder.blocks(more)
        replace_file(folder, JOURNAL, data)
        journal = cls(folder.open(JOURNAL, "write"), encoder, len(data))
        journal.noted = len(covered) + len(more)
        return journal

    def note(self, blocks: Sequence[NotedBlock]) -> None:
        """These blocks were verified and written. Raises `OSError`."""
        self._append(lambda: self._encoder.blocks(blocks))
        self.noted += len(blocks)

    def checkpoint(self, covered: int, stamps: Sequence[Stamped]) -> None:
        """The data of the first `covered` blocks has been synced. Raises `OSError`."""
        self._append(lambda: self._encoder.checkpoint(covered, stamps))

    def forget(self, file: int) -> None:
        """Nothing of what was noted of a file holds any more. Raises `OSError`."""
        self._append(lambda: self._encoder.forget(file))

    def sync(self) -> None:
        """All records are on the disk when this returns. Raises `OSError`."""
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _append(self, make: Callable[[], bytes]) -> None:
        before = self._encoder.sum
        data = make()
        try:
            self._file.write_at(data, self._size)
        except BaseException:
            # Part of it may be there: it is written over, and until then it is no whole record.
            self._encoder.sum = before
            raise
        self._size += len(data)
