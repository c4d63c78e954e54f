"""Pure values: what a game, its files and a library are.

Nothing here awaits, reads a clock or touches a disk. Source: ARCHITECTURE.md, "The library".
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterator

import attrs

from lanspread import limits


class Availability(enum.StrEnum):
    """Whether a game here can be fetched from here."""

    READY = "ready"
    DOWNLOADING = "downloading"  # an operation is active
    LOCAL_ONLY = "local_only"


@attrs.frozen
class FileEntry:
    """A file of a game: its path below the game's folder, parts joined by `/`, and its size."""

    path: str
    size: int


@attrs.frozen
class Manifest:
    """The files of a game, ascending by the UTF-8 bytes of their paths."""

    files: tuple[FileEntry, ...]

    @property
    def total_bytes(self) -> int:
        return sum(entry.size for entry in self.files)


@attrs.frozen(kw_only=True)
class GameSummary:
    """What a peer announces of one game; the unit of library exchange."""

    id: str
    name: str
    eti_version: str
    size: int
    downloaded: bool
    installed: bool
    manifest_hash: bytes | None
    content_hash: bytes | None
    availability: Availability

    @property
    def offered(self) -> bool:
        """Whether it can be fetched from the peer that announced it."""
        return self.downloaded and self.availability is Availability.READY


@attrs.frozen(kw_only=True)
class CatalogEntry:
    """What a catalog says of a game. `version` is the expected one; another is not offered."""

    id: str
    name: str
    description: str | None = None
    year: int | None = None
    genre: str | None = None
    players: str | None = None
    publisher: str | None = None
    version: str | None = None
    cover: str | None = None


def block_count(size: int, block_bytes: int) -> int:
    """How many blocks a file has; an empty file has none."""
    return -(-size // block_bytes)


def block_length(size: int, block_bytes: int, number: int) -> int:
    """Bytes in block `number` (from 0) of a file of `size` bytes."""
    return min(block_bytes, size - number * block_bytes)


def blocks_of(manifest: Manifest, block_bytes: int) -> Iterator[tuple[int, int, int]]:
    """(file number, offset, length) of every block, in manifest order."""
    for number, entry in enumerate(manifest.files):
        for offset in range(0, entry.size, block_bytes):
            yield number, offset, min(block_bytes, entry.size - offset)


def fold_id(game_id: str) -> str:
    """The form in which game IDs are compared: NFC and case-folded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", game_id).casefold())


_RUN = re.compile(r"(\d+)")

VersionKey = tuple[tuple[int, int, str], ...]


def version_key(version: str) -> VersionKey:
    """A key by which versions sort: digits as integers, the rest by code point, empty lowest.

    A run of digits is below other text at the same place, as its code points would be.
    """
    parts: list[tuple[int, int, str]] = []
    for part in _RUN.split(clean_version(version)):
        if not part:
            continue
        if _is_number(part):
            # Bounded by MAX_VERSION_CHARS, so the conversion is cheap whatever a peer sent.
            parts.append((0, int(part), ""))
        else:
            parts.append((1, 0, part))
    return tuple(parts)


def _is_number(part: str) -> bool:
    return _RUN.fullmatch(part) is not None


def clean_version(text: str) -> str:
    """A version as compared and shown: no byte-order mark, no white space around, bounded."""
    return text.lstrip("\ufeff").strip()[: limits.MAX_VERSION_CHARS]
