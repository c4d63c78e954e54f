"""What the index remembers of a game: enough to publish it without a walk. Pure.

A row is a head, which a start needs of every game, and behind it the files, which it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from lanspread.fs.local_game import GameFiles, LocalGame, pack_files
from lanspread.fs.scan import Fingerprint, ScanWarning
from lanspread.seams import FileStamp


class StoredGame(NamedTuple):
    """A row. `problem` and `warnings` are the walk's own: what a catalog says is judged anew.

    The fingerprint counts only if `settled`: files that were young when they were seen may have
    changed without a trace. `walked` rises with every walk of any game.
    """

    id: str
    fingerprint: Fingerprint
    settled: bool
    version: str
    downloaded: bool
    installed: bool
    installed_version: str | None
    unfinished: bool
    size: int
    manifest_hash: bytes | None
    content_hash: bytes | None
    problem: str | None
    warnings: tuple[tuple[str, str, str], ...]
    walked: int
    packed_files: bytes

    def files(self) -> GameFiles:
        return GameFiles.packed(self.packed_files)

    def game(self) -> LocalGame:
        return LocalGame(
            id=self.id,
            version=self.version,
            downloaded=self.downloaded,
            installed=self.installed,
            installed_version=self.installed_version,
            unfinished=self.unfinished,
            size=self.size,
            manifest_hash=self.manifest_hash,
            content_hash=self.content_hash,
            problem=self.problem,
            files=self.files(),
        )

    def scan_warnings(self) -> tuple[ScanWarning, ...]:
        return tuple(ScanWarning(*warning) for warning in self.warnings)


_decoder = msgspec.msgpack.Decoder(StoredGame)


def encode_game(
    game: LocalGame,
    known: Mapping[FileStamp, tuple[bytes, ...]],
    *,
    fingerprint: Fingerprint,
    settled: bool,
    problem: str | None,
    warnings: tuple[ScanWarning, ...],
    walked: int,
) -> bytes:
    """A game's row."""
    return msgspec.msgpack.encode(
        StoredGame(
            id=game.id,
            fingerprint=fingerprint,
            settled=settled,
            version=game.version,
            downloaded=game.downloaded,
            installed=game.installed,
            installed_version=game.installed_version,
            unfinished=game.unfinished,
            size=game.size,
            manifest_hash=game.manifest_hash,
            content_hash=game.content_hash,
            problem=problem,
            warnings=tuple((one.code, one.message, one.remedy) for one in warnings),
            walked=walked,
            packed_files=pack_files(game.stamps, known),
        )
    )


def decode_game(row: bytes) -> StoredGame | None:
    """A row of `encode_game`; None if it is not one, of another version of us perhaps."""
    try:
        return _decoder.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
