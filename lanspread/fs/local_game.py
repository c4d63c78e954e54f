"""What the library knows of one game on this disk. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import attrs
import msgspec

from lanspread import limits
from lanspread.fs.manifest import DIGEST_BYTES, content_hash
from lanspread.fs.scan import ScannedGame
from lanspread.model import FileEntry, Manifest, block_count
from lanspread.seams import FileStamp

Digests = dict[FileStamp, tuple[bytes, ...]]

# (path, size, mtime_ns, inode, digests)
_Row = tuple[str, int, int, int, bytes]
_rows = msgspec.msgpack.Decoder(tuple[_Row, ...])


# Names of a game's own picture; the first that is there is shown.
COVERS: Final = ("cover.png", "cover.jpg", "cover.jpeg", "cover.webp")


class GameFiles:
    """The files of a game. What the index remembers of them is decoded when first asked for.

    Equal if the files are: what is known of their bytes is `content_hash`'s to tell.
    """

    __slots__ = ("_cover", "_digests", "_manifest", "_packed", "_stamps")

    def __init__(
        self,
        manifest: Manifest,
        stamps: tuple[FileStamp, ...],
        digests: tuple[bytes, ...] | None = None,
    ) -> None:
        self._manifest = manifest
        self._stamps = stamps
        self._digests = digests
        self._packed: bytes | None = None
        self._cover: FileStamp | Literal[False] | None = False

    @classmethod
    def packed(cls, data: bytes) -> GameFiles:
        """From `pack_files`; the caller knows that the bytes are unchanged."""
        files = cls(Manifest(()), ())
        files._packed = data
        return files

    @property
    def manifest(self) -> Manifest:
        self._unpack()
        return self._manifest

    @property
    def stamps(self) -> tuple[FileStamp, ...]:
        self._unpack()
        return self._stamps

    @property
    def digests(self) -> tuple[bytes, ...] | None:
        """Of every block, None unless all were known when this was made."""
        self._unpack()
        return self._digests

    @property
    def cover(self) -> FileStamp | None:
        """The game's own picture, by its name. Asking every game costs little, and is kept."""
        if self._cover is False:
            # A list of games asks all of them: those that cannot have one stay packed.
            might = self._packed is None or b"cover." in self._packed
            self._cover = _cover(self.stamps) if might else None
        return self._cover

    @property
    def known(self) -> Digests:
        """The digests of each file; of packed ones only, and perhaps not all."""
        if self._packed is None:
            return {}
        return {
            FileStamp(path, size, mtime_ns, inode): _split(digests)
            for path, size, mtime_ns, inode, digests in _rows.decode(self._packed)
            if digests or not size
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GameFiles) and self.stamps == other.stamps

    __hash__ = None  # type: ignore[assignment]

    def _unpack(self) -> None:
        if self._packed is None or self._stamps:
            return
        rows = _rows.decode(self._packed)
        self._stamps = tuple(FileStamp(*row[:4]) for row in rows)
        self._manifest = Manifest(tuple(FileEntry(row[0], row[1]) for row in rows))
        self._digests = _split(b"".join(row[4] for row in rows))


def _cover(stamps: tuple[FileStamp, ...]) -> FileStamp | None:
    found = {stamp.path: stamp for stamp in stamps if stamp.path in COVERS}
    fitting = (found[name] for name in COVERS if name in found)
    return next((one for one in fitting if 0 < one.size <= limits.MAX_COVER_BYTES), None)


def pack_files(
    stamps: tuple[FileStamp, ...], known: Mapping[FileStamp, tuple[bytes, ...]]
) -> bytes:
    """What the index keeps of a game's files."""
    return msgspec.msgpack.encode(
        [
            (one.path, one.size, one.mtime_ns, one.inode, b"".join(known.get(one, ())))
            for one in stamps
        ]
    )


def _split(digests: bytes) -> tuple[bytes, ...]:
    return tuple(digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES))


@attrs.frozen(kw_only=True)
class LocalGame:
    """A game as the last walk saw it.

    `manifest_hash` is None when there are no files or one of them may not be shared, `content_hash`
    until the digests of all blocks are known. A game with a `problem` is local only. `size` is the
    bytes of all files. `installed_version` is None if it is not installed or nobody knows which
    version is; `unfinished`: there may be a download to go on with.
    """

    id: str
    version: str
    downloaded: bool
    installed: bool
    installed_version: str | None
    unfinished: bool
    size: int
    manifest_hash: bytes | None
    content_hash: bytes | None
    problem: str | None
    files: GameFiles = attrs.field(repr=False)

    @property
    def manifest(self) -> Manifest:
        return self.files.manifest

    @property
    def stamps(self) -> tuple[FileStamp, ...]:
        """One entry per file of `manifest`, in its order."""
        return self.files.stamps

    @property
    def digests(self) -> tuple[bytes, ...] | None:
        """One entry per block, in manifest order; None until all are known."""
        return None if self.content_hash is None else self.files.digests

    def stamp_of(self, file_number: int) -> FileStamp:
        """What file `file_number` of the manifest must still be. Raises `IndexError`."""
        if file_number < 0:
            raise IndexError(file_number)
        return self.stamps[file_number]


def local_game(
    scanned: ScannedGame, known: Mapping[FileStamp, tuple[bytes, ...]], block_bytes: int
) -> LocalGame:
    """A game from a walk and the digests that are known of its files."""
    game = LocalGame(
        id=scanned.id,
        version=scanned.version,
        downloaded=scanned.downloaded,
        installed=scanned.installed,
        installed_version=scanned.installed_version,
        unfinished=scanned.unfinished,
        size=scanned.manifest.total_bytes,
        manifest_hash=scanned.manifest_hash,
        content_hash=None,
        problem=scanned.problem,
        files=GameFiles(scanned.manifest, scanned.stamps),
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
        content_hash=content_hash(game.manifest_hash, block_bytes, digests),
        files=GameFiles(game.manifest, game.stamps, digests),
    )
