"""Manifests and digests of our games as pages of answers. Pure.

Source: docs/protocol.md, "Requests".
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from lanspread import limits
from lanspread.fs.local_game import LocalGame
from lanspread.fs.manifest import path_key
from lanspread.model import Manifest, block_count
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.exchange import ReadyPage
from lanspread.transport.framing import frame

# A file whose digests are longer than this is asked for with GetBlockDigests instead.
_ROW_DIGEST_BYTES = 64 * limits.KIB
# Far fewer than fit: a page is made, encoded and, on the other side, decoded in one go by an event
# loop, and what keeps that for longer than some milliseconds is late for everybody else.
MAX_ROWS_A_PAGE = 1_024
# First pages that are kept, each below a message's MiB.
_READY_PAGES = 16

_Key = tuple[str, bytes, bytes, int]


class FirstPages:
    """Encoded first pages of the manifests that were asked for last.

    A request costs its sender a hundred bytes; making a page costs us thousands of rows.
    """

    def __init__(self) -> None:
        self._ready: OrderedDict[_Key, ReadyPage] = OrderedDict()

    def ahead_of(self, game: LocalGame, block_bytes: int) -> Iterator[m.Page | ReadyPage]:
        """The pages of a game's manifest, the first one from here if it was made before."""
        pages = manifest_pages(game, block_bytes)
        if game.manifest_hash is None or game.content_hash is None:
            yield from pages
            return
        key = (game.id, game.manifest_hash, game.content_hash, block_bytes)
        ready = self._ready.get(key)
        if ready is not None:
            self._ready.move_to_end(key)
            yield ready
            next(pages)
        else:
            first = next(pages)
            ready = self._ready[key] = ReadyPage(frame(codec.encode(first)), first.more)
            if len(self._ready) > _READY_PAGES:
                self._ready.popitem(last=False)
            yield ready
        yield from pages


def manifest_pages(game: LocalGame, block_bytes: int) -> Iterator[m.GameManifest]:
    """A game's manifest, with the digests that are known, as pages of `GameManifest`.

    A page is made when it is asked for: all of them, for a large game, would be tens of MiB.
    """
    assert game.manifest_hash is not None
    count = len(game.manifest.files)
    for number, (start, end, block) in enumerate(_row_bounds(game, block_bytes)):
        yield m.GameManifest(
            id=game.id,
            eti_version=game.version,
            manifest_hash=game.manifest_hash,
            content_hash=game.content_hash,
            block_size=block_bytes,
            file_count=count,
            page=number,
            more=end < count,
            files=tuple(_rows(game, block_bytes, start, end, block)),
        )


def _rows(
    game: LocalGame, block_bytes: int, start: int, end: int, block: int
) -> Iterator[m.FileRow]:
    """The rows of files `start` to `end`; `block` is the number of their first block."""
    digests = game.digests
    for entry in game.manifest.files[start:end]:
        count = block_count(entry.size, block_bytes)
        known: bytes | None = None
        if digests is not None and count * 32 <= _ROW_DIGEST_BYTES:
            known = b"".join(digests[block : block + count])
        block += count
        yield entry.path, entry.size, known


def _row_bounds(game: LocalGame, block_bytes: int) -> Iterator[tuple[int, int, int]]:
    """(first file, behind the last, first block) of each page; at least one page."""
    start = first_block = block = size = 0
    hashed = game.digests is not None
    for number, entry in enumerate(game.manifest.files):
        count = block_count(entry.size, block_bytes)
        known = 32 * count if hashed else 0
        cost = len(entry.path.encode()) + (known if known <= _ROW_DIGEST_BYTES else 0) + 16
        if number > start and (
            size + cost > limits.PAGE_BYTES or number - start >= MAX_ROWS_A_PAGE
        ):
            yield start, number, first_block
            start, first_block, size = number, block, 0
        size += cost
        block += count
    yield start, len(game.manifest.files), first_block


def digest_pages(
    manifest_hash: bytes, block_bytes: int, digests: Sequence[bytes]
) -> Iterator[m.Page]:
    """All digests of a game as pages of `BlockDigests`."""
    per_page = limits.PAGE_BYTES // 32
    count = max(1, -(-len(digests) // per_page))
    for number in range(count):
        yield m.BlockDigests(
            manifest_hash=manifest_hash,
            block_size=block_bytes,
            page=number,
            more=number + 1 < count,
            digests=b"".join(digests[number * per_page : (number + 1) * per_page]),
        )


def number_of(manifest: Manifest, path: str) -> int | None:
    """The number of a file in a manifest; None if it is not there."""
    files = manifest.files
    found = bisect_left(files, path_key(path), key=lambda entry: path_key(entry.path))
    return found if found < len(files) and files[found].path == path else None
