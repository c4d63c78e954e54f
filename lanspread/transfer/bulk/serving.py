"""Serving chunks on lanes. A lane lives inside the request on whose stream its ticket was given.

So it is one of the session's served requests: it ends with the session, and the session's nursery
owns it. Source: docs/protocol.md, "Lanes"; ARCHITECTURE.md, "The second path for bulk data".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from functools import partial

import structlog
import trio

from lanspread import limits
from lanspread.fs.reading import ExtentReader
from lanspread.seams import Threads
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.errors import PeerMisbehaved, RequestReset
from lanspread.sync.exchange import Responder
from lanspread.sync.fair import FairSlots, TooManyWait
from lanspread.sync.session import Session
from lanspread.transfer.bulk.doorway import Arrivals
from lanspread.transfer.bulk.pieces import PieceSize
from lanspread.transfer.bulk.tickets import TicketBook, TooManyLanes
from lanspread.transfer.ratelimit import RateLimit
from lanspread.transfer.serve import Refusal, Server
from lanspread.transport.framing import FrameError, FrameReader, frame
from lanspread.transport.lane import Lane, LaneBroken, Wire

_BUFFER_BYTES = limits.MIB

_log = structlog.get_logger(__name__)


class LaneServer:
    """Answers `GetBulkTicket`, and what is asked for on the lanes that come of it."""

    def __init__(
        self, server: Server, book: TicketBook, arrivals: Arrivals, threads: Threads, up: RateLimit
    ) -> None:
        self._server = server
        self._book = book
        self._arrivals = arrivals
        self._threads = threads
        self._up = up
        self._sending = FairSlots(limits.MAX_LANES_SENDING, limits.MAX_WAITING_CHUNKS)
        self._served: set[Lane] = set()
        # As many as ever were in use at once, which the slots bound.
        self._free_buffers: list[bytearray] = []

    async def get_bulk_ticket(
        self, session: Session, request: m.GetBulkTicket, responder: Responder
    ) -> None:
        """The handler: gives a ticket out, and serves the lane that is brought with it."""
        try:
            host = session.connection.remote_address.host
            ticket = self._book.issue(session, host, trio.current_time())
        except TooManyLanes:
            await responder.refuse(m.ERROR_BUSY, "no more lanes now")
            return
        try:
            with self._arrivals.expect(ticket) as arrival:
                await responder.send(m.BulkTicket(id=ticket.id, secret=ticket.secret))
                with trio.move_on_at(ticket.expires_at) as waiting:
                    lane = await arrival.receive()
                if waiting.cancelled_caught:
                    raise RequestReset(m.RESET_CANCELLED)
                with closing(lane), self._looked_after(lane):
                    await self._serve(session, lane)
        finally:
            self._book.drop(ticket)

    async def watch(self) -> None:
        """Cut the lanes on which nothing moves any more, until cancelled."""
        while True:
            await trio.sleep(limits.LANE_LOOK_S)
            for lane in self._served:
                lane.look()

    @contextmanager
    def _looked_after(self, lane: Lane) -> Iterator[None]:
        self._served.add(lane)
        try:
            yield
        finally:
            self._served.discard(lane)

    async def _serve(self, session: Session, lane: Lane) -> None:
        reader = FrameReader(lane, max_frame_bytes=limits.MAX_REQUEST_BYTES)
        pieces = PieceSize()
        try:
            while (payload := await _next(reader)) is not None:
                request = codec.decode(payload)
                if not isinstance(request, m.GetGameFileChunk):
                    raise PeerMisbehaved("a lane is for chunks alone")
                await self._answer(session, request, lane, pieces)
        except (FrameError, codec.MessageError) as error:
            raise PeerMisbehaved(str(error)) from error
        except LaneBroken as error:
            _log.debug("a lane ended", peer=session.peer_id, why=str(error))

    async def _answer(
        self, session: Session, request: m.GetGameFileChunk, lane: Lane, pieces: PieceSize
    ) -> None:
        answer: _Answer | None = None
        try:
            async with (
                self._turn(session, request.length),
                self._server.chunk(session, request) as reader,
            ):
                with self._buffer() as buffer:
                    answer = _Answer(reader, buffer, request.length)
                    while answer.left:
                        size = self._up.piece(pieces.of(answer.left))
                        began = trio.current_time()
                        await self._up.take(size, session)
                        await lane.run(partial(answer.send, size))
                        pieces.took(size, trio.current_time() - began)
        except Refusal as refusal:
            if answer is not None and answer.begun:
                # What was sent cannot be taken back; why it ended is answered over QUIC.
                raise LaneBroken("an answer could not be completed") from refusal
            error = m.Error(code=refusal.code, message=refusal.message[:512])
            await lane.send_all(frame(codec.encode(error)))

    @asynccontextmanager
    async def _turn(self, session: Session, size: int) -> AsyncIterator[None]:
        """A thread to send with, shared fairly between hosts, then between their sessions.

        Raises `Refusal` (busy) before the asker takes the lane for dead.
        """
        host = session.connection.remote_address.host
        async with AsyncExitStack() as stack:
            try:
                with trio.move_on_after(limits.LANE_QUEUE_S) as waiting:
                    await stack.enter_async_context(self._sending.take(host, session, size))
            except TooManyWait as error:
                raise Refusal(m.ERROR_BUSY, "too many others are being sent to") from error
            if waiting.cancelled_caught:
                raise Refusal(m.ERROR_BUSY, "too many others are being sent to")
            yield

    @contextmanager
    def _buffer(self) -> Iterator[memoryview]:
        buffer = self._free_buffers.pop() if self._free_buffers else bytearray(_BUFFER_BYTES)
        try:
            with memoryview(buffer) as view:
                yield view
        finally:
            self._free_buffers.append(buffer)


async def _next(reader: FrameReader) -> bytes | None:
    """The next request; None at the end, and if none comes for long: a lane is a descriptor."""
    with trio.move_on_after(limits.LANE_IDLE_S):
        return await reader.frame()
    return None


class _Answer:
    """The bytes that `reader` reads, behind their header. `send` is called in threads."""

    def __init__(self, reader: ExtentReader, buffer: memoryview, size: int) -> None:
        self._reader = reader
        self._buffer = buffer
        self._header = frame(codec.encode(m.ChunkData(size=size)))
        self.left = size
        self.begun = False

    def send(self, size: int, wire: Wire) -> None:
        """Read and send the next `size` bytes."""
        while size:
            count = self._reader.read_into(self._buffer[:size])
            if not self.begun:
                # Not before something could be read: so most changes are a clear answer.
                self.begun = True
                wire.send(self._header)
            wire.send(self._buffer[:count])
            size -= count
            self.left -= count
