"""What the first bytes of a RAR file say of its place in a set of volumes. Pure.

Sources: RAR 5.0 archive format (rarlab.com/technote.htm); for RAR 4, technote.txt of RAR 4.
"""

from __future__ import annotations

import enum
import re
import struct
import zlib
from collections.abc import Collection
from typing import Final

from lanspread.fs.paths import fold_path

RAR4_SIGNATURE: Final = b"Rar!\x1a\x07\x00"
RAR5_SIGNATURE: Final = b"Rar!\x1a\x07\x01\x00"
# As much of a file as `place_of` may need.
HEAD_BYTES: Final = 128

# And as much of its end as `ends_properly` may need: little follows the last block, if anything.
TAIL_BYTES: Final = 4_096

_RAR4_MAIN: Final = 0x73
_RAR4_VOLUME: Final = 0x0001
_RAR4_FIRST: Final = 0x0100
_RAR4_NEW_NAMES: Final = 0x0010
_RAR5_MAIN: Final = 1
_RAR5_EXTRA: Final = 0x0001
_RAR5_DATA: Final = 0x0002
_RAR5_NUMBERED: Final = 0x0002
# Length 3, type 5, any flags of the block, and whether another volume follows.
_RAR5_END: Final = re.compile(rb"\x03\x05[\x00-\x7f][\x00\x01]")
_PART: Final = re.compile(r"(.*\.part)(0*)([0-9]{1,9})(\.[^.]*)", re.DOTALL | re.IGNORECASE)


class Place(enum.Enum):
    """What a file is in its set."""

    FIRST = "first"  # or the only one
    LATER = "later"
    UNKNOWN = "unknown"  # what says so is encrypted, damaged, or was not invented yet


def place_of(head: bytes) -> Place:
    """By a file's first `HEAD_BYTES`; what is no RAR archive is alone."""
    if head.startswith(RAR5_SIGNATURE):
        return _place_of_rar5(head)
    if head.startswith(RAR4_SIGNATURE):
        return _place_of_rar4(head)
    return Place.FIRST


def ends_properly(head: bytes, tail: bytes) -> bool:
    """Whether the last volume has the block that says so, by its first and last bytes.

    UnRAR takes an archive that is cut off between two files for a whole one. Only of RAR 5 can this
    be told: in older ones that block was left out at will.
    """
    if not head.startswith(RAR5_SIGNATURE):
        return True
    return any(
        tail[found.start() - 4 : found.start()] == struct.pack("<I", zlib.crc32(found[0]))
        for found in _RAR5_END.finditer(tail, 4)
    )


def place_by_name(name: str, names: Collection[str]) -> Place:
    """By a file's name among the others: `x.part2.eti` is a later volume of `x.part1.eti`."""
    if (match := _PART.fullmatch(name)) is None or int(match[3]) == 1:
        return Place.FIRST
    others = [_PART.fullmatch(fold_path(other)) for other in names]
    stem = fold_path(match[1])
    firsts = [other for other in others if other and other[1] == stem and int(other[3]) == 1]
    return Place.LATER if firsts and int(match[3]) > 1 else Place.UNKNOWN


def _place_of_rar4(head: bytes) -> Place:
    try:
        kind, flags = struct.unpack_from("<BH", head, len(RAR4_SIGNATURE) + 2)
    except struct.error:
        return Place.UNKNOWN
    if kind != _RAR4_MAIN:
        return Place.UNKNOWN
    if not flags & _RAR4_VOLUME or flags & _RAR4_FIRST:
        return Place.FIRST
    # Before RAR 3 neither flag was there.
    return Place.LATER if flags & _RAR4_NEW_NAMES else Place.UNKNOWN


def _place_of_rar5(head: bytes) -> Place:
    at = len(RAR5_SIGNATURE) + 4  # behind the checksum
    try:
        _, at = _number(head, at)
        kind, at = _number(head, at)
        flags, at = _number(head, at)
        if kind != _RAR5_MAIN:
            return Place.UNKNOWN
        for flag in (_RAR5_EXTRA, _RAR5_DATA):
            if flags & flag:
                _, at = _number(head, at)
        archive_flags, at = _number(head, at)
        if not archive_flags & _RAR5_NUMBERED:
            return Place.FIRST
        number, _ = _number(head, at)
    except IndexError:
        return Place.UNKNOWN
    return Place.LATER if number else Place.FIRST


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer and where it ends: seven bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, at
