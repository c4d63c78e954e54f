"""Libraries between peers: what we publish, and keeping our view of one peer's library right.

Publishing is a pure function of the local games (`PublishedLibrary.refresh`); following is one task
per session that asks for the library whenever the peer's position differs from our view.
Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

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

_MAX_GAMES_A_PAGE = 10_000
# A page may hold thousands of summaries; so many are decoded before others have a turn.
_GAMES_A_TURN = 64
# How long a peer's library is left alone after it was fetched, by its size: a large one that
# changes all the time costs us a tenth of our time at most.
_REST_S_A_GAME = 0.000_5


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


# -- answering ------------------------------------------------------------------------------------


async def answer_get_library(
    published: PublishedLibrary, our_peer_id: str, request: m.GetLibrary, responder: Responder
) -> None:
    """Answer with the whole library: no older revision is held."""
    await responder.send_pages(published.snapshot_pages(our_peer_id))


# -- following ------------------------------------------------------------------------------------


async def fetch_library(session: Session) -> RemoteLibrary | None:
    """Ask a peer for its library and check it against the digest that came with it.

    Returns None if the peer is busy, or lets a page be waited for too long. Raises
    `PeerMisbehaved` if the pages contradict themselves.
    """
    collected: _Collected | None = None
    try:
        with trio.move_on_after(limits.REQUEST_SILENCE_S) as patience:
            collected = await _collect(session, patience)
    except (RequestRefused, RequestReset):
        return None
    if collected is None:
        return None
    if codec.library_digest(collected.hashes) != collected.position.digest:
        session.close(m.CLOSE_PROTOCOL_ERROR, "the library does not match its digest")
        raise PeerMisbehaved("the library does not match its digest")
    return remote_library(collected.position, collected.games.values())


@attrs.define
class _Collected:
    """A library while its pages come in."""

    position: Position
    game_count: int
    found: int = 0
    games: dict[str, GameSummary] = attrs.Factory(dict)
    hashes: dict[str, bytes] = attrs.Factory(dict)


async def _collect(session: Session, patience: trio.CancelScope) -> _Collected | None:
    """All pages of an answer, each within the time that `patience` had at first."""
    # Asked for by position, the answer may be a delta, and those are not applied yet.
    request = m.GetLibrary(since=None)
    library: _Collected | None = None
    async with session.request(request, asked_bytes=limits.MIB, paged=True) as exchange:
        pages = PageReader(exchange, m.LibrarySnapshot, lambda page: page.games)
        while (page := await pages.next()) is not None:
            position = _position(page)
            library = library or _Collected(position, page.game_count)
            if page.peer_id != session.peer_id or position != library.position:
                raise PeerMisbehaved("pages of different libraries in one answer")
            library.found += len(page.games)
            if library.found > library.game_count:
                raise PeerMisbehaved("a library of too many games")
            await _take_games(library, page.games)
            patience.deadline = trio.current_time() + limits.REQUEST_SILENCE_S
        if library is not None and library.found != library.game_count:
            raise PeerMisbehaved("a library of fewer games than it says")
    return library


async def _take_games(library: _Collected, encoded_untrusted: Sequence[bytes]) -> None:
    for number, encoded in enumerate(encoded_untrusted):
        if number % _GAMES_A_TURN == 0:
            await trio.lowlevel.checkpoint()
        game, game_hash = _decode_game(encoded)
        library.games[game.id] = game
        library.hashes[game.id] = game_hash


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
    announced one. Several announcements during a fetch cost one more fetch. `view` is what an
    earlier session left.
    """

    def __init__(
        self, session: Session, view: Position | None, apply: Callable[[RemoteLibrary], None]
    ) -> None:
        self._session = session
        self._view = view
        self._apply = apply
        self._announced: Position | None = None
        # What was fetched in this session.
        self._fetched: Position | None = None
        self._in_vain = 0
        self._news = trio.Event()

    def announce(self, position: Position) -> None:
        self._announced = position
        self._news.set()

    async def run(self) -> None:
        """Follow until cancelled. Raises the errors of a session."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            asked = self._announced
            if asked is None or self._is_current(asked):
                continue
            library = await fetch_library(self._session)
            if library is None:
                self._news.set()
                await trio.sleep(self._pause(limits.LIBRARY_RETRY_S, in_vain=True))
                continue
            self._view = self._fetched = library.position
            self._apply(library)
            # What was announced meanwhile is judged against what has just arrived.
            if self._announced is not None and not self._is_current(self._announced):
                self._news.set()
            rest = max(limits.LIBRARY_DEBOUNCE_S, _REST_S_A_GAME * len(library.games))
            await trio.sleep(self._pause(rest, in_vain=not self._is_current(asked)))

    def _is_current(self, position: Position) -> bool:
        # Announcements come in order, but a snapshot travels on a stream of its own and may
        # overtake them. What an earlier session brought says nothing about the order: a peer whose
        # state was restored from a copy goes on from a lower revision.
        fetched = self._fetched
        late = (
            fetched is not None and fetched.epoch == position.epoch and position.rev < fetched.rev
        )
        return late or (self._view is not None and self._view.digest == position.digest)

    def _pause(self, first: float, *, in_vain: bool) -> float:
        """How long to leave the peer alone: twice as long each time that asking was in vain."""
        if not in_vain:
            self._in_vain = 0
            return first
        pause = min(first * 2.0 ** min(self._in_vain, 16), limits.LIBRARY_RETRY_MAX_S)
        self._in_vain += 1
        return max(first, pause)
