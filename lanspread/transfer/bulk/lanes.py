"""The dialing side of lanes: bringing one, and fetching chunks on it.

Source: docs/protocol.md, "Lanes"; ARCHITECTURE.md, "The second path for bulk data".
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from lanspread import limits
from lanspread.identity import peer_id_of
from lanspread.seams import Address, BulkNetwork, Threads
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.errors import PeerMisbehaved, RequestRefused
from lanspread.sync.session import Session
from lanspread.transfer.bulk.pieces import PieceSize
from lanspread.transfer.ratelimit import Limit
from lanspread.transfer.source import Arriving, ChunkRequest
from lanspread.transport.framing import FrameError, frame, read_frame
from lanspread.transport.lane import Lane, LaneBroken, Wire, dialing_context

FEATURE = "bulk_port"
_LEAST_PORT = 1_024
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
# What is received before it is verified: few calls, and still in the cache of one core.
_STEP_BYTES = limits.MIB


def bulk_port(session: Session) -> int | None:
    """Where the peer takes lanes, if it does. Never a port of the system's own services."""
    port = session.body.features.get(FEATURE)
    if type(port) is int and _LEAST_PORT <= port <= 65_535:
        return port
    return None


class FetchingLane:
    """A lane that has been let in."""

    def __init__(self, lane: Lane, session: Session, down: Limit) -> None:
        self._lane = lane
        self._session = session
        self._down = down
        self._pieces = PieceSize()
        self.broken = trio.Event()
        # Whether anything ever came of it.
        self.has_answered = False

    async def fetch(self, request: ChunkRequest, arriving: Arriving) -> None:
        """As `ChunkSource.fetch`, one at a time. Raises `LaneBroken`, and the errors of a session.

        After anything but a refusal the lane is no good any more, and `broken` is set.
        """
        whole = False
        try:
            with self._session.expecting():
                await self._fetch(request, arriving)
            whole = self.has_answered = True
        except RequestRefused:
            whole = True
            raise
        except PeerMisbehaved as error:
            self._session.close(m.CLOSE_PROTOCOL_ERROR, str(error)[:200])
            raise
        finally:
            if not whole:
                self.broken.set()

    async def _fetch(self, request: ChunkRequest, arriving: Arriving) -> None:
        question: m.GetGameFileChunk | None = m.GetGameFileChunk(
            id=request.game_id, manifest_hash=request.manifest_hash, extents=request.extents
        )
        into = arriving.begin()
        at = 0
        while at < len(into):
            size = self._down.piece(self._pieces.of(len(into) - at))
            began = trio.current_time()
            await self._lane.run(_receiver(question, arriving, into, at, at + size))
            question = None
            await self._down.take(size, self._session)
            self._pieces.took(size, trio.current_time() - began)
            at += size

    async def watch(self) -> None:
        """Cut the lane where nothing moves any more; returns once it is broken."""
        while not self.broken.is_set():
            with trio.move_on_after(limits.LANE_LOOK_S):
                await self.broken.wait()
            self._lane.look()


def _receiver(
    question: m.GetGameFileChunk | None,
    arriving: Arriving,
    into: memoryview,
    start: int,
    end: int,
) -> Callable[[Wire], None]:
    """Receives and verifies the bytes from `start` to `end`; first of all it asks, if it is to.

    In one call: each way between the event loop and a thread costs what 100 KiB cost.
    """

    def receive(wire: Wire) -> None:
        if question is not None:
            wire.send(frame(codec.encode(question)))
            _check_answer(wire, len(into))
        for at in range(start, end, _STEP_BYTES):
            filled = min(end, at + _STEP_BYTES)
            with into[at:filled] as step:
                wire.receive_into(step)
            arriving.came(filled)

    return receive


def _check_answer(wire: Wire, length: int) -> None:
    """Read what stands before the bytes. Raises `RequestRefused`, `PeerMisbehaved`."""
    try:
        message = codec.decode(read_frame(wire.receive))
    except (FrameError, codec.MessageError) as error:
        raise PeerMisbehaved(str(error)) from error
    if isinstance(message, m.Error):
        raise RequestRefused(message.code, message.message)
    if not isinstance(message, m.ChunkData):
        raise PeerMisbehaved("asked for a chunk, answered with something else")
    if message.size != length:
        raise PeerMisbehaved("an answer of another length than asked for")


class LaneDialer:
    """Brings lanes to the peers of sessions."""

    def __init__(self, network: BulkNetwork, threads: Threads) -> None:
        self._network = network
        self._threads = threads
        self._context: ssl.SSLContext = dialing_context()
        self._lanes = trio.CapacityLimiter(limits.MAX_LANES_FETCHING)

    @asynccontextmanager
    async def open_lane(self, session: Session, down: Limit) -> AsyncIterator[FetchingLane]:
        """One lane to the session's peer, inside the block; also waits where there are too many.

        Raises `LaneBroken` if none can be had, and the errors of a session.
        """
        port = bulk_port(session)
        if port is None:
            raise LaneBroken("the peer takes none")
        address = Address(session.connection.remote_address.host, port)
        async with (
            self._lanes,
            session.request(m.GetBulkTicket(), asked_bytes=0) as exchange,
        ):
            lane: Lane | None = None
            try:
                with trio.move_on_after(limits.LANE_DIAL_S):
                    ticket = await exchange.answer(m.BulkTicket)
                    lane = await self._bring(address, session, ticket)
                if lane is None:
                    raise LaneBroken(f"{address} does not answer: is TCP blocked?")
                yield FetchingLane(lane, session, down)
            finally:
                if lane is not None:
                    lane.close()
                    # The stream was the lane's; that it ends is no answer that is missing.
                    exchange.done = True

    async def _bring(self, address: Address, session: Session, ticket: m.BulkTicket) -> Lane:
        for pause in _PAUSES_S:
            lane = await self._knock(address, ticket)
            try:
                await lane.handshake()
            except LaneBroken:
                # The doorway may be full of others at this moment: the ticket is still good.
                lane.close()
                await trio.sleep(pause)
                continue
            except BaseException:
                lane.close()
                raise
            try:
                if peer_id_of(lane.peer_public_key()) != session.peer_id:
                    raise LaneBroken(f"{address} is somebody else: it has another key")
                await lane.send_all(ticket.secret)
            except BaseException:
                lane.close()
                raise
            return lane
        raise LaneBroken(f"{address} lets nobody in")

    async def _knock(self, address: Address, ticket: m.BulkTicket) -> Lane:
        try:
            sock = await self._network.connect(address)
            try:
                # A few bytes into an empty buffer: that never waits.
                sock.sendall(ticket.id)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            raise LaneBroken(f"{address}: {error.strerror or error}") from error
        return Lane(sock, self._context, self._threads, listening=False)
