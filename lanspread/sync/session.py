"""A session: one greeted connection to one peer, and every task that belongs to it.

`run` owns the nursery: control reader, outbox, idle ping, and one task per request that the peer
makes. When it returns, nothing of the session is left. Source: ARCHITECTURE.md, "Sessions".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.allowance import Allowance
from lanspread.sync.arbiter import Link
from lanspread.sync.credit import Credit
from lanspread.sync.errors import PeerMisbehaved, RequestReset, SessionLost, SyncError
from lanspread.sync.exchange import Exchange, Responder, open_exchange, transport_errors
from lanspread.sync.fair import FairSlots
from lanspread.sync.handshake import Greeted
from lanspread.sync.pulse import Pulse
from lanspread.transport import CloseInfo, Connection, ConnectionLost, Stream, TransportCode
from lanspread.transport.framing import FrameReader, frame

_log = structlog.get_logger(__name__)

# (session, request, responder): answers one request of a peer.
Handler = Callable[["Session", Any, Responder], Awaitable[None]]
# (session, message): takes note of one control message; must not block.
ControlHook = Callable[["Session", m.Message], None]
# Makes a control message when it can be sent; None says that there is nothing to say any more.
LateMessage = Callable[[], m.Message | None]


@attrs.frozen
class Handlers:
    """What a session does with what its peer sends."""

    requests: Mapping[type[m.Message], Handler]
    control: ControlHook
    # Told once each time that a ping of a session found no answer.
    suspected: Callable[[Session], None]
    # Shared by all sessions: how many pages of answers are in hand at once.
    pages: FairSlots = attrs.Factory(lambda: FairSlots(limits.MAX_SERVED_PAGES))


class Session:
    """One peer, greeted. Made by `lanspread.sync.sessions`, which also runs it."""

    def __init__(
        self, connection: Connection, greeted: Greeted, our_peer_id: str, handlers: Handlers
    ) -> None:
        body = greeted.body
        self.connection = connection
        self.peer_id = body.peer_id
        self.body = body
        self.link = Link(
            body.instance,
            our_peer_id if connection.is_dialer else body.peer_id,
            trio.current_time(),
        )
        self.ended: CloseInfo | None = None
        self._our_peer_id = our_peer_id
        self._control = greeted
        self._handlers = handlers
        self._credit = Credit(limits.MAX_IN_FLIGHT_BYTES)
        self._expecting = 0
        self._pulse = Pulse(trio.current_time(), connection.is_dialer)
        self._look_again = trio.Event()
        self._outbox_in, self._outbox_out = trio.open_memory_channel[m.Message | LateMessage](
            limits.OUTBOX
        )

    def __repr__(self) -> str:
        return f"<Session with {self.peer_id} via {self.connection.remote_address}>"

    @property
    def alive(self) -> bool:
        return self.connection.closed is None

    @property
    def suspect(self) -> bool:
        """Whether a ping found no answer: it may be over, and a new connection is worth trying."""
        return self._pulse.is_suspect(trio.current_time(), self.connection.last_received)

    @property
    def waiting(self) -> bool:
        """Whether answers of the peer are being waited for."""
        return self._credit.in_use > 0 or self._expecting > 0

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Answers of the peer are being waited for inside the block, elsewhere than on QUIC."""
        self._expecting += 1
        self._look_again.set()
        try:
            yield
        finally:
            self._expecting -= 1

    def check(self, slept_s: float = 0.0) -> None:
        """Ask now whether the other side is there; without an answer it becomes suspect.

        `slept_s` is for how long this machine slept, if it did.
        """
        if slept_s > 0.0:
            self._pulse.woke(trio.current_time(), slept_s)
        else:
            self._pulse.ask()
        self._look_again.set()

    def send(self, message: m.Message | LateMessage) -> None:
        """Put a control message into the outbox. A full outbox ends the session: it is stuck."""
        try:
            self._outbox_in.send_nowait(message)
        except trio.WouldBlock:
            self.close(m.CLOSE_STALE, "the other side does not read")
        except trio.BrokenResourceError:
            pass

    def close(self, code: int, reason: str = "") -> None:
        """End the session; its tasks see it at their next step."""
        self.connection.close(code, reason)

    @asynccontextmanager
    async def request(
        self, message: m.Message, *, asked_bytes: int, paged: bool = False
    ) -> AsyncIterator[Exchange]:
        """Make a request that asks for `asked_bytes`; waits while too much is asked for already.

        Raises the errors of `lanspread.sync.errors`. Leaving early resets the stream. Misbehaviour
        of the other side inside the block ends the session.
        """
        self._look_again.set()
        try:
            async with (
                self._credit.take(asked_bytes),
                open_exchange(self.connection, message, paged=paged) as exchange,
            ):
                yield exchange
        except PeerMisbehaved as error:
            self.close(m.CLOSE_PROTOCOL_ERROR, str(error)[:200])
            raise

    # -- tasks ------------------------------------------------------------------------------------

    async def run(self) -> CloseInfo:
        """Serve the session until its connection ends, and say how it ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._guarded, self._read_control)
            nursery.start_soon(self._guarded, self._write_outbox)
            nursery.start_soon(self._guarded, self._keep_alive)
            nursery.start_soon(self._guarded, self._accept_requests)
            self.ended = await self.connection.wait_closed()
            nursery.cancel_scope.cancel()
        self._outbox_out.close()
        assert self.ended is not None
        return self.ended

    async def say_goodbye(self) -> None:
        """Tell the peer that we leave, then close. Run under the caller's deadline."""
        try:
            with transport_errors():
                goodbye = m.Goodbye(peer_id=self._our_peer_id)
                await self._control.stream.send_all(frame(codec.encode(goodbye)))
        except (SyncError, trio.BusyResourceError):
            pass
        self.close(m.CLOSE_GOODBYE, "goodbye")

    async def _guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task of the session; its failure ends the connection, never the process."""
        try:
            await task()
        except PeerMisbehaved as error:
            _log.warning("peer misbehaved", peer=self.peer_id, why=str(error))
            self.close(m.CLOSE_PROTOCOL_ERROR, str(error)[:200])
        except RequestReset:
            self.close(m.CLOSE_PROTOCOL_ERROR, "the control stream was reset")
        except SessionLost:
            pass
        except Exception:
            # A fault of ours over what one peer sent must not end the others.
            _log.exception("a session failed", peer=self.peer_id)
            self.close(m.CLOSE_GOODBYE, "a fault on this side")

    async def _read_control(self) -> None:
        allowance = Allowance(trio.current_time())
        while True:
            with transport_errors():
                payload = await self._control.reader.frame()
                if payload is None:
                    raise PeerMisbehaved("the control stream ended")
                began = trio.current_time()
                message = codec.decode(payload)
            rest_s = allowance.spend(began, trio.current_time())
            # Frames that came together need no wait: let the others, and the outbox, have a turn.
            await trio.sleep(rest_s)
            match message:
                case codec.Unknown():
                    continue
                case m.Ping():
                    self.send(m.Pong())
                case m.Pong():
                    continue
                case m.Goodbye():
                    if message.peer_id != self.peer_id:
                        raise PeerMisbehaved("a goodbye of somebody else")
                    self.close(m.CLOSE_GOODBYE, "goodbye")
                    return
                case m.ListenAddrs():
                    if message.peer_id != self.peer_id:
                        raise PeerMisbehaved("addresses of somebody else")
                    self._handlers.control(self, message)
                case m.Renamed():
                    if message.peer_id != self.peer_id:
                        raise PeerMisbehaved("a name of somebody else")
                    self._handlers.control(self, message)
                case m.LibrarySummary() | m.LibraryDelta():
                    if message.peer_id != self.peer_id:
                        raise PeerMisbehaved("a library message about somebody else")
                    self._handlers.control(self, message)
                case _:
                    raise PeerMisbehaved(
                        f"{type(message).__name__} does not belong on the control stream"
                    )

    async def _write_outbox(self) -> None:
        async for item in self._outbox_out:
            message = item if isinstance(item, m.Message) else item()
            if message is None:
                continue
            with transport_errors():
                await self._control.stream.send_all(frame(codec.encode(message)))

    async def _keep_alive(self) -> None:
        suspected = False
        while True:
            self._look_again = trio.Event()
            now, heard = trio.current_time(), self.connection.last_received
            due = self._pulse.look(now, heard, waiting=self.waiting)
            if due.over:
                self.close(m.CLOSE_STALE, "nothing was heard for too long")
                return
            if due.ping:
                self.send(m.Ping())
            if self.suspect and not suspected:
                self._handlers.suspected(self)
            suspected = self.suspect
            with trio.move_on_at(due.look_at):
                await self._look_again.wait()

    async def _accept_requests(self) -> None:
        slots = trio.CapacityLimiter(limits.MAX_SERVED_REQUESTS)
        async with trio.open_nursery() as nursery:
            while True:
                token = object()
                await slots.acquire_on_behalf_of(token)
                try:
                    stream = await self.connection.accept_stream()
                except ConnectionLost:
                    return
                nursery.start_soon(self._serve, stream, slots, token)

    async def _serve(self, stream: Stream, slots: trio.CapacityLimiter, token: object) -> None:
        complete = False
        try:
            await self._guarded(partial(self._answer, stream))
            complete = True
        finally:
            slots.release_on_behalf_of(token)
            if not complete:
                # Cut short, an answer must not look as if it had ended.
                stream.reset(m.RESET_CANCELLED)
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: Stream) -> None:
        reader = FrameReader(stream, max_frame_bytes=limits.MAX_REQUEST_BYTES)
        host = self.connection.remote_address.host
        responder = Responder(stream, reader, self._handlers.pages, host)
        try:
            request = await self._read_request(reader)
            if request is None:
                stream.reset(m.RESET_CANCELLED)
                return
            handler: Handler | None = None
            if isinstance(request, m.Message):
                handler = self._handlers.requests.get(type(request))
            if handler is None:
                await responder.refuse(m.ERROR_UNSUPPORTED)
            else:
                await handler(self, request, responder)
            with transport_errors():
                await stream.send_eof()
        except RequestReset:
            # The asker lost interest, or took nothing for too long: only this request ends.
            stream.reset(m.RESET_CANCELLED)
        except SyncError:
            raise
        except Exception:
            # A fault of ours in answering one request must not end the others.
            _log.exception("a request failed", peer=self.peer_id)
            stream.reset(m.RESET_BUSY)

    async def _read_request(self, reader: FrameReader) -> m.Message | codec.Unknown | None:
        with transport_errors():
            with trio.move_on_after(limits.REQUEST_ARRIVAL_S):
                payload = await reader.frame()
                if payload is not None:
                    return codec.decode(payload)
        return None


_WORD_OF_CLOSE = {
    m.CLOSE_GOODBYE: "goodbye",
    m.CLOSE_PROTOCOL_ERROR: "protocol_error",
    m.CLOSE_WRONG_IDENTITY: "protocol_error",
    TransportCode.BUFFER_LIMIT: "protocol_error",
    m.CLOSE_INCOMPATIBLE: "refused",
    m.CLOSE_REFUSED: "refused",
    m.CLOSE_REPLACED: "replaced",
    m.CLOSE_STALE: "timeout",
}


def why_ended(info: CloseInfo) -> str:
    """The `reason` of `peer.lost`: a word for programs, and for people what was said with it."""
    word = "timeout" if info.by == "timeout" else "connection_lost"
    if info.application:
        word = _WORD_OF_CLOSE.get(info.code, word)
    if word == "goodbye":
        if info.by == "peer" or info.reason == "goodbye":
            return word
        # Code 0 is also how this side ends what is nobody's fault.
        word = "connection_lost"
    return f"{word}: {info.reason}" if info.reason else word
