"""Libraries between peers: what we publish, and keeping our view of one peer's library right.

Publishing is a pure function of the local games (`PublishedLibrary.refresh`); following is one task
per session that asks for the library whenever the peer's position differs from our view.
Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
import trio

from lanspread import limits
from lanspread.model import GameSummary
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.directory import Position, RemoteLibrary, remote_library
from lanspread.sync.errors import PeerMisbehaved, RequestRefused, RequestReset
from lanspread.sync.exchange import PageReader, Responder
from lanspread.sync.session import Session

# A page may hold thousands of summaries; so many are decoded before others have a turn.
_GAMES_A_TURN = 64
# How long a peer's library is left alone after it was fetched, by its size: a large one that
# changes all the time costs us a tenth of our time at most.
_REST_S_A_GAME = 0.000_5


def new_epoch() -> bytes:
    """A fresh random epoch."""
    return secrets.token_bytes(16)


@attrs.frozen
class PublishedLibrary:
    """Our library as others see it: encoded summaries by id, and where it stands."""

    epoch: bytes
    rev: int
    encoded: dict[str, bytes]
    games: dict[str, GameSummary]
    digest: bytes

    @classmethod
    def empty(cls, epoch: bytes, rev: int) -> PublishedLibrary:
        return cls(epoch, rev, {}, {}, codec.library_digest({}))

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.rev, self.digest)

    def refresh(self, summaries: Iterable[GameSummary]) -> tuple[PublishedLibrary, tuple[str, ...]]:
        """The library with these games, and the ids that differ; the same object if none does.

        The revision rises by one with any change; it is persisted before it is announced.
        """
        games = {game.id: game for game in summaries}
        changed = sorted(
            game_id
            for game_id in games.keys() | self.games.keys()
            if games.get(game_id) != self.games.get(game_id)
        )
        if not changed:
            return self, ()
        encoded = {
            game_id: self.encoded[game_id]
            if self.games.get(game_id) == game
            else codec.encode_summary(game)
            for game_id, game in games.items()
        }
        hashes = {game_id: codec.summary_hash(data) for game_id, data in encoded.items()}
        digest = codec.library_digest(hashes)
        return PublishedLibrary(self.epoch, self.rev + 1, encoded, games, digest), tuple(changed)

    def summary(self, peer_id: str) -> m.LibrarySummary:
        return m.LibrarySummary(
            peer_id=peer_id,
            library_epoch=self.epoch,
            library_rev=self.rev,
            library_digest=self.digest,
            game_count=len(self.encoded),
        )

    def snapshot_pages(self, peer_id: str) -> list[m.Message]:
        """The whole library as pages of `LibrarySnapshot`."""
        pages = list(fill_pages(list(self.encoded.values())))
        return [
            m.LibrarySnapshot(
                peer_id=peer_id,
                library_epoch=self.epoch,
                library_rev=self.rev,
                library_digest=self.digest,
                game_count=len(self.encoded),
                page=number,
                more=number + 1 < len(pages),
                games=tuple(page),
            )
            for number, page in enumerate(pages)
        ]

    def offer_pages(self) -> list[m.Message]:
        """The games that can be fetched now, as pages of `GameList`."""
        offered = [self.encoded[key] for key, game in self.games.items() if game.offered]
        pages = list(fill_pages(offered))
        return [
            m.GameList(page=number, more=number + 1 < len(pages), games=tuple(page))
            for number, page in enumerate(pages)
        ]


def fill_pages(items: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Split encoded summaries into pages that fit a message; at least one page."""
    page: list[bytes] = []
    size = 0
    for item in items:
        if page and (size + len(item) + 5 > limits.PAGE_BYTES or len(page) >= 10_000):
            yield page
            page, size = [], 0
        page.append(item)
        size += len(item) + 5
    yield page


# -- answering ------------------------------------------------------------------------------------


async def answer_get_library(
    published: PublishedLibrary, our_peer_id: str, request: m.GetLibrary, responder: Responder
) -> None:
    """Answer with the whole library: no older revision is held."""
    await responder.send_pages(published.snapshot_pages(our_peer_id))


# -- following ------------------------------------------------------------------------------------


async def fetch_library(session: Session) -> RemoteLibrary | None:
    """Ask a peer for its library and check it against the digest that came with it.

    Returns None if the peer is busy. Raises `PeerMisbehaved` if the pages contradict themselves.
    """
    # Asked for by position, the answer may be a delta, and those are not applied yet.
    request = m.GetLibrary(since=None)
    games: dict[str, GameSummary] = {}
    hashes: dict[str, bytes] = {}
    first: m.LibrarySnapshot | None = None
    count = 0
    try:
        async with session.request(request, asked_bytes=limits.MIB, paged=True) as exchange:
            pages = PageReader(exchange, m.LibrarySnapshot, lambda page: page.games)
            while (page := await pages.next()) is not None:
                first = first or page
                if page.peer_id != session.peer_id or _position(page) != _position(first):
                    raise PeerMisbehaved("pages of different libraries in one answer")
                count += len(page.games)
                if count > limits.MAX_GAMES_PER_PEER:
                    raise PeerMisbehaved("a library of too many games")
                for number, encoded in enumerate(page.games):
                    if number % _GAMES_A_TURN == 0:
                        await trio.lowlevel.checkpoint()
                    game, game_hash = _decode_game(encoded)
                    games[game.id] = game
                    hashes[game.id] = game_hash
    except (RequestRefused, RequestReset):
        return None
    assert first is not None
    if codec.library_digest(hashes) != first.library_digest:
        session.close(m.CLOSE_PROTOCOL_ERROR, "the library does not match its digest")
        raise PeerMisbehaved("the library does not match its digest")
    return remote_library(_position(first), games.values())


def _position(page: m.LibrarySnapshot | m.LibrarySummary) -> Position:
    return Position(page.library_epoch, page.library_rev, page.library_digest)


def _decode_game(encoded: bytes) -> tuple[GameSummary, bytes]:
    if len(encoded) > limits.MAX_SUMMARY_BYTES:
        raise PeerMisbehaved("a summary that is too large")
    try:
        return codec.decode_summary(encoded), codec.summary_hash(encoded)
    except codec.MessageError as error:
        raise PeerMisbehaved(str(error)) from error


class Follower:
    """Keeps the view of one session's library equal to what its peer announced last.

    `announce` is called with every position heard of; `run` fetches until the view's digest is the
    announced one. Several announcements during a fetch cost one more fetch.
    """

    def __init__(
        self, session: Session, view: Position | None, apply: Callable[[RemoteLibrary], None]
    ) -> None:
        self._session = session
        self._view = view
        self._apply = apply
        self._announced: Position | None = None
        self._news = trio.Event()

    def announce(self, position: Position) -> None:
        self._announced = position
        self._news.set()

    async def run(self) -> None:
        """Follow until cancelled. Raises the errors of a session."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            if self._announced is None or self._is_current(self._announced):
                continue
            library = await fetch_library(self._session)
            if library is None:
                await trio.sleep(limits.LIBRARY_RETRY_S)
                self._news.set()
                continue
            self._view = library.position
            self._apply(library)
            # What was announced meanwhile is judged against what has just arrived; a peer whose
            # announcements never match costs one fetch per debounce at most.
            if not self._is_current(self._announced):
                self._news.set()
            await trio.sleep(max(limits.LIBRARY_DEBOUNCE_S, _REST_S_A_GAME * len(library.games)))

    def _is_current(self, position: Position) -> bool:
        view = self._view
        if view is None:
            return False
        # Summaries and snapshots travel on different streams, so an old summary may come late.
        late = view.epoch == position.epoch and position.rev < view.rev
        return late or view.digest == position.digest
