"""Answering the requests of peers for games and their bytes.

What is served is exactly what the library says now: a game that is transferable, by the manifest of
its last walk, and each file only while it is what that walk saw.
Source: docs/protocol.md, "Requests"; ARCHITECTURE.md, "Serving".
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from weakref import WeakKeyDictionary

import structlog
import trio

from lanspread import limits
from lanspread.fs.errors import Changed, NotHere
from lanspread.fs.library import Library
from lanspread.fs.local_game import LocalGame
from lanspread.fs.reading import ExtentReader
from lanspread.model import fold_id
from lanspread.seams import Threads
from lanspread.sync import messages as m
from lanspread.sync.announcer import Announcer
from lanspread.sync.errors import PeerMisbehaved, RequestReset
from lanspread.sync.exchange import Responder
from lanspread.sync.fair import FairSlots, TooManyWait
from lanspread.sync.library import PublishedLibrary
from lanspread.sync.session import Handler, Session
from lanspread.transfer.access import GameAccess, GameBusy
from lanspread.transfer.answer_line import AnswerLine
from lanspread.transfer.digest_turns import DigestTurns, TooManyAsked
from lanspread.transfer.pages import FirstPages, digest_pages, number_of
from lanspread.transfer.ratelimit import RateLimit

_log = structlog.get_logger(__name__)

_READ_BYTES = limits.MIB
# So much is sent between two looks at the rate limit and at whether the asker still takes it.
_SEND_BYTES = 64 * limits.KIB


class Refusal(Exception):
    """A request that is answered by an `Error` with this code."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Server:
    """The handlers of all requests. `allows` is the catalog's rule."""

    def __init__(
        self,
        library: Library,
        announcer: Announcer,
        published: Callable[[], PublishedLibrary],
        access: GameAccess,
        threads: Threads,
        up: RateLimit,
        *,
        allows: Callable[[str], bool],
        block_bytes: int,
    ) -> None:
        self._library = library
        self._announcer = announcer
        self._published = published
        self._access = access
        self._threads = threads
        self._up = up
        self._allows = allows
        self._block_bytes = block_bytes
        self._slots = FairSlots(limits.MAX_SERVED_CHUNKS, limits.MAX_WAITING_CHUNKS)
        self._sending: dict[Session, int] = {}
        self._digesting: set[Session] = set()
        self._digest_turns = DigestTurns()
        self._first_pages = FirstPages()
        self._lines: WeakKeyDictionary[Session, AnswerLine] = WeakKeyDictionary()
        self._turns: WeakKeyDictionary[Session, trio.CapacityLimiter] = WeakKeyDictionary()

    def handlers(self) -> dict[type[m.Message], Handler]:
        """Request type → handler. A type that is not here is answered `Unsupported`."""
        return {
            m.GetLibrary: self.get_library,
            m.ListGames: self.list_games,
            m.GetGame: _refusing(self.get_game),
            m.GetBlockDigests: _refusing(self.get_block_digests),
            m.GetGameFileData: _refusing(self.get_file),
            m.GetGameFileChunk: _refusing(self.get_chunk),
        }

    # -- metadata ---------------------------------------------------------------------------------

    async def get_library(
        self, session: Session, request: m.GetLibrary, responder: Responder
    ) -> None:
        async with self._paging(session):
            await self._announcer.answer(session, request, responder)

    async def list_games(
        self, session: Session, request: m.ListGames, responder: Responder
    ) -> None:
        async with self._paging(session):
            await responder.send_pages(self._published().offer_pages())

    async def get_game(self, session: Session, request: m.GetGame, responder: Responder) -> None:
        async with self._paging(session):
            game = self._transferable(request.id)
            known = (request.known_manifest_hash, request.known_content_hash)
            # While the bytes are not known nothing says that they, and so the version, are the
            # same: such a manifest is always sent.
            if game.content_hash and known == (game.manifest_hash, game.content_hash):
                await responder.send(m.NotModified())
                return
            await responder.send_pages(self._first_pages.ahead_of(game, self._block_bytes))

    async def get_block_digests(
        self, session: Session, request: m.GetBlockDigests, responder: Responder
    ) -> None:
        game = self._transferable(request.id, request.manifest_hash)
        if session in self._digesting:
            raise Refusal(m.ERROR_BUSY, "one game at a time")
        # Until the last page is sent: of a large game the digests themselves are many MiB.
        self._digesting.add(session)
        try:
            digests = game.digests
            if digests is None:
                digests = await self._computed(session, game.id, request.manifest_hash)
            await responder.send_pages(
                digest_pages(request.manifest_hash, self._block_bytes, digests)
            )
        finally:
            self._digesting.discard(session)

    async def _computed(
        self, session: Session, game_id: str, manifest_hash: bytes
    ) -> tuple[bytes, ...]:
        """Digests that are not all known yet; whoever waits for them has them hashed first."""
        host = session.connection.remote_address.host
        try:
            async with self._digest_turns.take(host, game_id):
                return await self._library.digests(game_id, manifest_hash)
        except TooManyAsked as error:
            raise Refusal(m.ERROR_BUSY, "ask for what you asked for first") from error

    def _paging(self, session: Session) -> trio.CapacityLimiter:
        """A turn to answer in pages. While an answer is under way it keeps what it is about alive.

        Taken before anything is looked up, so that who waits for a turn holds nothing.
        """
        turns = self._turns.get(session)
        if turns is None:
            turns = trio.CapacityLimiter(limits.MAX_SERVED_PAGED_PER_SESSION)
            self._turns[session] = turns
        return turns

    # -- bytes ------------------------------------------------------------------------------------

    async def get_file(
        self, session: Session, request: m.GetGameFileData, responder: Responder
    ) -> None:
        game = self._transferable(request.id, request.manifest_hash)
        number = number_of(game.manifest, request.path)
        if number is None:
            raise Refusal(m.ERROR_NOT_FOUND, "no such file")
        entry = game.manifest.files[number]
        if entry.size > limits.MAX_WHOLE_FILE_BYTES:
            raise Refusal(m.ERROR_TOO_LARGE, "ask for chunks")
        extents = [(number, 0, entry.size)] if entry.size else []
        async with self._reading(session, game, extents) as reader:
            await self._send(session, reader, m.FileData(size=entry.size), responder)

    async def get_chunk(
        self, session: Session, request: m.GetGameFileChunk, responder: Responder
    ) -> None:
        async with self.chunk(session, request) as reader:
            await self._send(session, reader, m.ChunkData(size=request.length), responder)

    @asynccontextmanager
    async def chunk(
        self, session: Session, request: m.GetGameFileChunk
    ) -> AsyncIterator[ExtentReader]:
        """Read what a request for a chunk asks for, inside the block; only in threads.

        Raises `Refusal`, also for what comes out of the block: a writer of the game cancels it, and
        a file may change meanwhile. Raises `PeerMisbehaved` for extents that cannot be.
        """
        game = self._transferable(request.id, request.manifest_hash)
        files = game.manifest.files
        for number, offset, length in request.extents:
            if number >= len(files) or offset + length > files[number].size:
                raise PeerMisbehaved("an extent beyond the end of its file")
        async with self._reading(session, game, request.extents) as reader:
            yield reader

    @asynccontextmanager
    async def _reading(
        self, session: Session, game: LocalGame, extents: Sequence[m.Extent]
    ) -> AsyncIterator[ExtentReader]:
        async with self.slot(session, sum(extent[2] for extent in extents)):
            try:
                with (
                    self._access.reading(game.id) as scope,
                    self._open(game, extents) as reader,
                ):
                    yield reader
            except GameBusy as error:
                raise Refusal(m.ERROR_BUSY, "the game is being changed") from error
            if scope.cancelled_caught:
                raise Refusal(m.ERROR_CHANGED, "the game is being changed")

    @contextmanager
    def _open(self, game: LocalGame, extents: Sequence[m.Extent]) -> Iterator[ExtentReader]:
        reader = ExtentReader(partial(self._library.open_game, game.id), game.stamps, extents)
        try:
            yield reader
        except NotHere as error:
            raise Refusal(m.ERROR_NOT_FOUND, "the game cannot be read") from error
        except (Changed, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise Refusal(m.ERROR_BUSY, "too many files are open here") from error
            _log.info("a file changed while it was served", game=game.id, why=str(error))
            self._library.request_walk(game.id)
            raise Refusal(m.ERROR_CHANGED, "a file changed") from error
        finally:
            reader.close()

    async def _send(
        self, session: Session, reader: ExtentReader, header: m.Message, responder: Responder
    ) -> None:
        line = self._lines.setdefault(session, AnswerLine())
        with line.place() as place:
            # The first bytes come before the header, so that most changes are a clear answer; and
            # before the turn, so that the next answer follows without a pause.
            data = await self._threads.run(reader.read, _READ_BYTES)
            await responder.send(header)
            while data:
                view = memoryview(data)
                while view:
                    await place.turn()
                    piece = view[: self._up.piece(_SEND_BYTES)]
                    await self._up.take(len(piece), session)
                    await responder.send_raw(piece)
                    view = view[len(piece) :]
                data = await self._threads.run(reader.read, _READ_BYTES)

    @asynccontextmanager
    async def slot(self, session: Session, size: int) -> AsyncIterator[None]:
        """A share of the memory and the time that answers take, for `size` bytes of files.

        Sessions that want more than there is get as many bytes each; one host cannot take all of
        it, and one session cannot fill the queue. Raises `Refusal` (busy) where waiting would be in
        vain. Cancelled waiting holds nothing.
        """
        mine = self._sending.get(session, 0)
        if mine >= limits.MAX_SERVED_CHUNKS_PER_SESSION:
            raise Refusal(m.ERROR_BUSY, "too many requests at once")
        self._sending[session] = mine + 1
        try:
            host = session.connection.remote_address.host
            async with self._slots.take(host, session, size):
                yield
        except TooManyWait as error:
            raise Refusal(m.ERROR_BUSY, "too many others are being served") from error
        finally:
            self._sending[session] -= 1
            if not self._sending[session]:
                del self._sending[session]

    # -- the rule of what is served ---------------------------------------------------------------

    def _transferable(self, game_id: str, manifest_hash: bytes | None = None) -> LocalGame:
        game = self._library.games.get(fold_id(game_id))
        if (
            game is None
            or not game.downloaded
            or game.problem is not None
            or game.manifest_hash is None
            or not self._allows(game.id)
        ):
            raise Refusal(m.ERROR_NOT_FOUND, "no such game to be fetched here")
        if self._access.is_written(game.id):
            raise Refusal(m.ERROR_BUSY, "the game is being changed")
        if manifest_hash is not None and manifest_hash != game.manifest_hash:
            raise Refusal(m.ERROR_CHANGED, "the game has another manifest now")
        return game


def _refusing(handler: Handler) -> Handler:
    """Turn a `Refusal`, or the library's own, into the answer."""

    async def answer(session: Session, request: m.Message, responder: Responder) -> None:
        try:
            await handler(session, request, responder)
        except Refusal as refusal:
            begun = responder.begun
            await responder.refuse(refusal.code, refusal.message)
            if begun:
                raise RequestReset(m.RESET_CHANGED) from refusal
        except Changed:
            await responder.refuse(m.ERROR_CHANGED, "the game changed")
        except (NotHere, OSError):
            await responder.refuse(m.ERROR_NOT_FOUND, "the game cannot be read")

    return answer
