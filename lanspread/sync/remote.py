"""A peer's library as it is held here: what is shown, and what its digest needs. Pure.

The digest is taken over the bytes of every summary exactly as sent, so the hash of each is kept by
its exact id, of those too that cannot be games here. A change of one game copies maps and touches
nothing else: of a library of 20,000 games nothing is decoded or checked again.
Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from lanspread import limits
from lanspread.fs.paths import UnsafePath, check_game_id
from lanspread.model import GameSummary, clean_version, fold_id
from lanspread.sync import codec


@attrs.frozen
class Position:
    """Where a library stands."""

    epoch: bytes
    rev: int
    digest: bytes


@attrs.frozen
class RemoteGame:
    """One game as a peer sent it. `key` is its folded id, None if it cannot be a game here."""

    id: str
    hash: bytes
    key: str | None
    game: GameSummary


@attrs.frozen
class RemoteLibrary:
    """A peer's library as it was last applied.

    `hashes` has the summary hash of every game by its exact id; `games` what is shown, by folded
    id; `shadowed` the games whose folded id is another's, ascending by id.
    """

    position: Position
    hashes: Mapping[str, bytes]
    games: Mapping[str, GameSummary]
    shadowed: Mapping[str, tuple[GameSummary, ...]] = attrs.Factory(dict)

    @property
    def left_out(self) -> int:
        """How many of its games are not shown: no id for a folder, or another's when folded."""
        return len(self.hashes) - len(self.games)


class Contradiction(Exception):
    """A change that does not fit the library that it is to be applied to."""


class Draft:
    """A library while it changes. `touched` are the folded ids of what was put or dropped."""

    def __init__(self, library: RemoteLibrary | None = None) -> None:
        self.hashes: dict[str, bytes] = dict(library.hashes) if library is not None else {}
        self._games: dict[str, GameSummary] = dict(library.games) if library is not None else {}
        self._shadowed: dict[str, tuple[GameSummary, ...]] = (
            dict(library.shadowed) if library is not None else {}
        )
        self.touched: set[str] = set()

    def add(self, game: RemoteGame) -> None:
        """Raises `Contradiction` if it is there, or if there are too many."""
        if game.id in self.hashes:
            raise Contradiction("a game is added that is there")
        if len(self.hashes) >= limits.MAX_GAMES_PER_PEER:
            raise Contradiction("more games than a library may have")
        self._put(game)

    def update(self, game: RemoteGame) -> None:
        """Raises `Contradiction` if it is not there."""
        if game.id not in self.hashes:
            raise Contradiction("a game is updated that is not there")
        self._put(game)

    def remove(self, game_id: str) -> None:
        """Raises `Contradiction` if it is not there."""
        if self.hashes.pop(game_id, None) is None:
            raise Contradiction("a game is removed that is not there")
        key = fold_id(game_id)
        others = tuple(game for game in self._of(key) if game.id != game_id)
        self._set(key, others)

    def _put(self, game: RemoteGame) -> None:
        self.hashes[game.id] = game.hash
        if game.key is None:
            return
        others = [other for other in self._of(game.key) if other.id != game.id]
        self._set(game.key, tuple(sorted((*others, game.game), key=lambda each: each.id)))

    def _of(self, key: str) -> tuple[GameSummary, ...]:
        first = self._games.get(key)
        return () if first is None else (first, *self._shadowed.get(key, ()))

    def _set(self, key: str, games: tuple[GameSummary, ...]) -> None:
        self.touched.add(key)
        if games:
            self._games[key] = games[0]
        else:
            self._games.pop(key, None)
        if len(games) > 1:
            self._shadowed[key] = games[1:]
        else:
            self._shadowed.pop(key, None)

    def digest(self) -> bytes:
        """About 6 ms for 20,000 games."""
        return codec.library_digest(self.hashes)

    def finish(self, position: Position) -> RemoteLibrary:
        """The library; the draft is not to be used any more."""
        return RemoteLibrary(position, self.hashes, self._games, self._shadowed)


def changed_games(
    before: RemoteLibrary | None, after: RemoteLibrary, touched: Iterable[str] | None = None
) -> tuple[str, ...]:
    """The ids of the shown games that differ, ascending; `touched` says where to look."""
    old: Mapping[str, GameSummary] = before.games if before is not None else {}
    keys = old.keys() | after.games.keys() if touched is None else touched
    found: set[str] = set()
    for key in keys:
        was, now = old.get(key), after.games.get(key)
        if was != now:
            found.update(game.id for game in (was, now) if game is not None)
    return tuple(sorted(found))


def decode_game(encoded_untrusted: bytes) -> RemoteGame:
    """A summary as received, its texts made fit for showing. Raises `codec.MessageError`."""
    if len(encoded_untrusted) > limits.MAX_SUMMARY_BYTES:
        raise codec.MessageError("a summary that is too large")
    summary = codec.decode_summary(encoded_untrusted)
    key: str | None = None
    try:
        check_game_id(summary.id)
        key = fold_id(summary.id)
    except UnsafePath:
        pass
    return RemoteGame(summary.id, codec.summary_hash(encoded_untrusted), key, _shown(summary))


def _shown(game: GameSummary) -> GameSummary:
    name, version = clean_name(game.name) or game.id, clean_version(clean_name(game.eti_version))
    if (name, version) == (game.name, game.eti_version):
        return game
    return attrs.evolve(game, name=name, eti_version=version)


def clean_name(name_untrusted: str) -> str:
    """A name fit for terminals and pages: printable, one line, bounded."""
    kept = name_untrusted
    if not kept.isprintable():
        kept = "".join(char for char in kept if char.isprintable())
    return kept.strip()[: limits.MAX_NAME_CHARS]
