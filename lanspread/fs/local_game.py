"""What the library knows of one game on this disk. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from lanspread.fs.manifest import content_hash, manifest_hash
from lanspread.fs.scan import ScannedGame
from lanspread.model import Manifest, block_count
from lanspread.seams import FileStamp

Digests = dict[FileStamp, tuple[bytes, ...]]


@attrs.frozen(kw_only=True)
class LocalGame:
    """A game as the last walk saw it.

    `stamps` has one entry per file of `manifest`, in its order; `digests` one per block, in
    manifest order, None until all are known. `manifest_hash` is None when there are no files or
    one of them may not be shared. A game with a `problem` is local only.
    """

    id: str
    version: str
    downloaded: bool
    installed: bool
    manifest: Manifest
    manifest_hash: bytes | None
    stamps: tuple[FileStamp, ...]
    digests: tuple[bytes, ...] | None
    content_hash: bytes | None
    problem: str | None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.manifest.total_bytes

    def stamp_of(self, file_number: int) -> FileStamp:
        """What file `file_number` of the manifest must still be. Raises `IndexError`."""
        if file_number < 0:
            raise IndexError(file_number)
        return self.stamps[file_number]


def local_game(
    scanned: ScannedGame, known: Mapping[FileStamp, tuple[bytes, ...]], block_bytes: int
) -> LocalGame:
    """A game from a walk and the digests that are known of its files."""
    files_hash = None
    if scanned.problem is None and scanned.manifest.files:
        files_hash = manifest_hash(scanned.manifest)
    game = LocalGame(
        id=scanned.id,
        version=scanned.version,
        downloaded=scanned.downloaded,
        installed=scanned.installed,
        manifest=scanned.manifest,
        manifest_hash=files_hash,
        stamps=scanned.stamps,
        digests=None,
        content_hash=None,
        problem=scanned.problem,
    )
    return with_digests(game, known, block_bytes)


def missing_digests(
    game: LocalGame, known: Mapping[FileStamp, tuple[bytes, ...]], block_bytes: int
) -> tuple[FileStamp, ...]:
    """The files whose digests are not all known."""
    return tuple(
        stamp
        for stamp in game.stamps
        if len(known.get(stamp, ())) != block_count(stamp.size, block_bytes)
    )


def with_digests(
    game: LocalGame, known: Mapping[FileStamp, tuple[bytes, ...]], block_bytes: int
) -> LocalGame:
    """The game with its digests and content_hash, if they are complete."""
    if game.manifest_hash is None or missing_digests(game, known, block_bytes):
        return game
    # An empty file has no blocks, so nobody need have hashed it.
    digests = tuple(digest for stamp in game.stamps for digest in known.get(stamp, ()))
    return attrs.evolve(
        game,
        digests=digests,
        content_hash=content_hash(game.manifest_hash, block_bytes, digests),
    )
