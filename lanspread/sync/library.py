"""Our library as it is published: where it stands, and what it says of itself to whom. Pure.

Publishing is a pure function of the local games (`PublishedLibrary.refresh`). The views of others'
libraries are in `lanspread.sync.view`. Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from lanspread import limits
from lanspread.model import GameSummary
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.delta import Diff, diff
from lanspread.sync.history import History
from lanspread.sync.remote import Position

_MAX_GAMES_A_PAGE = 10_000


@attrs.frozen
class PublishedLibrary:
    """Our library as others see it: encoded summaries by id, and where it stands.

    `history` has how the revisions before led here, as far as they are held.
    """

    epoch: bytes
    rev: int
    encoded: dict[str, bytes]
    hashes: dict[str, bytes]
    games: dict[str, GameSummary]
    digest: bytes
    history: History
    # Nobody is told of a library before its revision is on the disk.
    may_be_told: bool = True

    @classmethod
    def empty(cls, epoch: bytes, rev: int) -> PublishedLibrary:
        """What there is before the first look at the games."""
        nothing = codec.library_digest({})
        return cls(epoch, rev, {}, {}, {}, nothing, History(rev), may_be_told=False)

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.rev, self.digest)

    def refresh(self, summaries: Iterable[GameSummary]) -> tuple[PublishedLibrary, tuple[str, ...]]:
        """The library with these games, and the ids that differ; the same object if none does.

        The revision rises by one with any change; it is persisted before it is announced.
        """
        games = {game.id: game for game in summaries}
        encoded = {
            game_id: self.encoded[game_id]
            if self.games.get(game_id) == game
            else codec.encode_summary(game)
            for game_id, game in games.items()
        }
        changed = sorted(
            game_id
            for game_id in encoded.keys() | self.encoded.keys()
            if encoded.get(game_id) != self.encoded.get(game_id)
        )
        if not changed:
            return self, ()
        hashes = {game_id: self.hashes.get(game_id, b"") for game_id in encoded}
        hashes.update((key, codec.summary_hash(encoded[key])) for key in changed if key in encoded)
        rev = self.rev + 1
        library = PublishedLibrary(
            self.epoch,
            rev,
            encoded,
            hashes,
            games,
            codec.library_digest(hashes),
            self.history.then(rev, ((key, key in self.encoded) for key in changed)),
        )
        return library, tuple(changed)

    def begun(
        self, summaries: Iterable[GameSummary], saved_digest: bytes | None
    ) -> tuple[PublishedLibrary, tuple[str, ...]]:
        """The first library after a start, where this one only holds what was persisted.

        With the digest that was persisted the revision stays; with any other it rises by one, and
        so where none was: what the old revision held is not known then. No older one is held.
        """
        found, changed = self.refresh(summaries)
        rev = self.rev if found.digest == saved_digest else self.rev + 1
        history = History(rev)
        return attrs.evolve(found, rev=rev, history=history, may_be_told=True), changed

    def summary(self, peer_id: str) -> m.LibrarySummary:
        return m.LibrarySummary(
            peer_id=peer_id,
            library_epoch=self.epoch,
            library_rev=self.rev,
            library_digest=self.digest,
            game_count=len(self.encoded),
        )

    def delta_since(self, peer_id: str, rev: int) -> m.LibraryDelta | None:
        """What changed after `rev`; None if that is not held, or does not fit a message."""
        changes = self._diff_since(rev)
        if changes is None or not changes.fits:
            return None
        return m.LibraryDelta(
            peer_id=peer_id,
            library_epoch=self.epoch,
            from_rev=rev,
            to_rev=self.rev,
            library_digest=self.digest,
            added=changes.added,
            updated=changes.updated,
            removed=changes.removed,
        )

    def _diff_since(self, rev: int) -> Diff | None:
        was_there = self.history.since(rev)
        if was_there is None:
            return None
        now = {key: self.encoded[key] for key in was_there if key in self.encoded}
        # What a game looked like then is not held: whatever was there counts as different.
        return diff({key: b"" for key, was in was_there.items() if was}, now)

    def snapshot_pages(self, peer_id: str) -> Iterator[m.Page]:
        """The whole library as pages of `LibrarySnapshot`, each made when it is asked for."""
        games = tuple(self.encoded.values())
        for number, (start, end) in enumerate(page_bounds(games)):
            yield m.LibrarySnapshot(
                peer_id=peer_id,
                library_epoch=self.epoch,
                library_rev=self.rev,
                library_digest=self.digest,
                game_count=len(games),
                page=number,
                more=end < len(games),
                games=games[start:end],
            )

    def offer_pages(self) -> Iterator[m.Page]:
        """The games that can be fetched now, as pages of `GameList`."""
        games = tuple(self.encoded[key] for key, game in self.games.items() if game.offered)
        for number, (start, end) in enumerate(page_bounds(games)):
            yield m.GameList(page=number, more=end < len(games), games=games[start:end])


def page_bounds(items: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Where pages of encoded summaries that fit a message start and end; at least one page."""
    start = size = 0
    for number, item in enumerate(items):
        cost = len(item) + 5
        if number > start and (
            size + cost > limits.PAGE_BYTES or number - start >= _MAX_GAMES_A_PAGE
        ):
            yield start, number
            start, size = number, 0
        size += cost
    yield start, len(items)


class Told:
    """What one session was told of our library: where its deltas start.

    Nothing waits here for a slow reader: a message is made when it can be sent, of the library as
    it is then.
    """

    def __init__(self, our_peer_id: str) -> None:
        self._our_peer_id = our_peer_id
        # Where the other side is once it has taken everything; what of it was said on the control
        # stream.
        self._base: Position | None = None
        self._announced: Position | None = None

    def announcement(self, library: PublishedLibrary) -> m.LibrarySummary | m.LibraryDelta | None:
        """What is to be said on the control stream now; None if the other side knows."""
        base, announced, now = self._base, self._announced, library.position
        self._base = self._announced = now
        if announced == now:
            return None
        delta = None
        # What was answered on another stream is announced too: that answer may have been lost.
        if base is not None and base.rev != now.rev:
            delta = library.delta_since(self._our_peer_id, base.rev)
        return delta or library.summary(self._our_peer_id)

    def answer(
        self, library: PublishedLibrary, since: m.LibraryPosition | None
    ) -> m.LibraryDelta | None:
        """The answer to a GetLibrary; None where it is a snapshot."""
        self._base = library.position
        if since is None or since.epoch != library.epoch:
            return None
        return library.delta_since(self._our_peer_id, since.rev)
