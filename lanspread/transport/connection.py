"""One QUIC connection as applications see it: streams in, streams out, and how it ended.

All bookkeeping is synchronous; `lanspread.transport.driver` moves the bytes.
Source: ARCHITECTURE.md, "Transport"; RFC 9000 sections 2, 3, 10.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

import trio
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
)
from aioquic.quic.events import StreamReset as StreamResetReceived
from aioquic.quic.packet import QuicErrorCode

from lanspread import limits
from lanspread.seams import Address, DatagramSocket
from lanspread.transport.driver import Driver
from lanspread.transport.engine import Engine
from lanspread.transport.errors import (
    MAX_CODE,
    CloseInfo,
    ConnectionLost,
    TransportCode,
    clean_reason,
)
from lanspread.transport.options import EndpointOptions
from lanspread.transport.statistics import ConnectionStatistics
from lanspread.transport.stream import Stream


class Hub(Protocol):
    """What a connection tells its endpoint, and what all of an endpoint's share."""

    # Whose step it is (`Driver`).
    turns: trio.StrictFIFOLock

    def add_route(self, cid: bytes, connection: Connection) -> None: ...

    def remove_route(self, cid: bytes) -> None: ...

    def on_established(self, connection: Connection) -> None: ...

    def change_buffered(self, difference: int) -> None:
        """The connection holds more or fewer unconsumed bytes; may close the one with the most."""

    def change_queued(self, difference: int) -> None:
        """More or fewer bytes wait to be sent, or to be acknowledged."""

    @property
    def queue_share_bytes(self) -> int:
        """How much one connection may have queued, as full as the endpoint is now."""


class Connection:
    """Made by `Endpoint.connect` and `Endpoint.accept` only; its handshake is complete."""

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        options: EndpointOptions,
        sockets: Sequence[DatagramSocket],
        socket: DatagramSocket,
        address: Address,
        *,
        is_dialer: bool,
    ) -> None:
        now = trio.current_time()
        self._engine = engine
        self._hub = hub
        self._options = options
        self._address = address
        self.is_dialer = is_dialer
        # SPKI (DER) of the certificate that the listener proved in TLS; None on the listener side.
        self.peer_public_key: bytes | None = None
        # trio's time of the last authenticated packet.
        self.last_received = now
        self.established = False
        self.closed: CloseInfo | None = None
        self.cids: set[bytes] = set()
        # Unread and reassembly bytes, as last counted.
        self.held_bytes = 0
        # Unsent and unacknowledged bytes, likewise.
        self.queued_bytes = 0
        self._reassembly_bytes = 0
        self._streams: dict[int, Stream] = {}
        self._next_peer_stream = 1 if is_dialer else 0
        self._unaccepted: deque[Stream] = deque()
        self._stream_arrived = trio.lowlevel.ParkingLot()
        self._open_lock = trio.StrictFIFOLock()
        self._credit_arrived = trio.Event()
        # In the order in which they began to wait: a set's would differ from run to run.
        self._senders: dict[Stream, None] = {}
        self._settled = trio.Event()
        self._ended = trio.Event()
        self.driver = Driver(
            engine,
            self,
            sockets,
            socket,
            options,
            hub.turns,
            handshake_deadline=now + options.handshake_timeout_s,
        )

    def __repr__(self) -> str:
        state = "open" if self.closed is None else str(self.closed)
        return f"<Connection to {self.remote_address}, {state}>"

    # -- public ------------------------------------------------------------------------------------

    @property
    def remote_address(self) -> Address:
        """Where the peer's packets come from. It may change; it is never a listener address."""
        return self._engine.peer_address or self._address

    async def open_stream(self) -> Stream:
        """Open a bidirectional stream; waits, in order, until the peer allows one more.

        The peer hears of it with the first data, or its end. Raises `ConnectionLost`.
        """
        async with self._open_lock:
            while True:
                self._check_open()
                if self._engine.may_open_stream():
                    break
                await self._credit_arrived.wait()
        stream = Stream(self, self._engine.open_stream())
        self._streams[stream.id] = stream
        return stream

    async def accept_stream(self) -> Stream:
        """The next stream that the peer opened, in the order of their ids. Raises `ConnectionLost`.

        At most `limits.MAX_STREAMS_FROM_PEER` are open at a time, accepted or not.
        """
        await trio.lowlevel.checkpoint()
        while True:
            self._check_open()
            if self._unaccepted:
                return self._unaccepted.popleft()
            await self._stream_arrived.park()

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the connection at once with an application code; everyone who waits wakes.

        Never blocks; a second call has no effect. What `send_all` had queued is sent as far as the
        network takes it at this moment, then the peer is told; neither is waited for.
        """
        if not 0 <= code <= MAX_CODE:
            raise ValueError("a code is a number from 0 to 2^62 - 1")
        self._close(CloseInfo(code, clean_reason(reason), "us", application=True))

    async def wait_closed(self) -> CloseInfo:
        """Wait until the connection has ended, whoever ends it."""
        await self._ended.wait()
        assert self.closed is not None
        return self.closed

    def statistics(self) -> ConnectionStatistics:
        driver, engine = self.driver, self._engine
        return ConnectionStatistics(
            rtt_s=engine.rtt_s,
            congestion_window_bytes=engine.congestion_window_bytes,
            in_flight_bytes=engine.in_flight_bytes,
            payload_bytes=engine.payload_bytes,
            datagrams_received=driver.datagrams_received,
            datagrams_sent=driver.datagrams_sent,
            bytes_received=driver.bytes_received,
            bytes_sent=driver.bytes_sent,
            unread_bytes=sum(stream.unread_bytes for stream in self._streams.values()),
            reassembly_bytes=self._reassembly_bytes,
            queued_bytes=self.queued_bytes,
            streams=len(self._streams),
            unaccepted_streams=len(self._unaccepted),
            queue_drops=driver.queue_drops,
        )

    # -- called by streams -------------------------------------------------------------------------

    def send_room(self, stream: Stream) -> int:
        """Bytes that may be queued on a stream now; 0 means: wait.

        There is none until half the bound is free, so that a sender is woken for a whole chunk.
        """
        bound = self._options.send_high_water_bytes
        queued = self._engine.unacknowledged(stream.id)
        room = bound - queued
        if room < bound // 2:
            return 0
        share = self._hub.queue_share_bytes - self.queued_bytes
        if share < limits.STREAM_QUEUE_RESERVE_BYTES:
            share = limits.STREAM_QUEUE_RESERVE_BYTES - queued
        return max(0, min(room, share))

    def unacknowledged(self, stream: Stream) -> int:
        return self._engine.unacknowledged(stream.id)

    def wants_room(self, stream: Stream) -> None:
        self._senders[stream] = None

    def write(self, stream: Stream, data: bytes | memoryview, *, end_stream: bool = False) -> None:
        self._engine.send(stream.id, data, end_stream=end_stream)
        self._set_queued(self.queued_bytes + len(data))
        self.driver.wake()

    def reset_stream(self, stream: Stream, code: int) -> None:
        self._engine.reset(stream.id, code)
        self._set_queued(self._engine.queued())
        self.driver.wake()

    def stop_stream(self, stream: Stream, code: int) -> None:
        self._engine.stop(stream.id, code)
        self.driver.wake()

    def consumed(self, stream: Stream, size: int, total: int) -> None:
        """The application has taken (or given up) `size` more bytes, `total` of this stream."""
        if self.closed is None:
            self._set_held(max(0, self.held_bytes - size))
            if self._engine.consume(stream.id, size, total):
                self.driver.wake()

    def release_if_done(self, stream: Stream) -> None:
        """Forget a stream whose halves are both done."""
        if stream.finished and self._streams.pop(stream.id, None) is not None:
            self._senders.pop(stream, None)
            if self._is_peers(stream.id):
                self._engine.release_peer_stream()
                self.driver.wake()

    # -- called by the driver and the endpoint -----------------------------------------------------

    def on_events(self, events: Iterable[QuicEvent]) -> None:
        """Deliver what the engine has to say."""
        for event in events:
            if isinstance(event, StreamDataReceived):
                stream = self._streams.get(event.stream_id) or self._find(event.stream_id)
                if stream is not None:
                    stream.on_data(event.data, event.end_stream)
                    if event.end_stream:
                        self.release_if_done(stream)
            elif isinstance(event, StreamResetReceived):
                if (stream := self._find(event.stream_id)) is not None:
                    stream.on_reset(event.error_code, self._engine.receive_reset(event.stream_id))
                    self.release_if_done(stream)
            elif isinstance(event, StopSendingReceived):
                if (stream := self._find(event.stream_id)) is not None:
                    self._engine.drop_unsent(event.stream_id)
                    stream.on_stop(event.error_code)
                    self.release_if_done(stream)
            elif isinstance(event, ConnectionIdIssued):
                self._hub.add_route(event.connection_id, self)
            elif isinstance(event, ConnectionIdRetired):
                self._hub.remove_route(event.connection_id)
            elif isinstance(event, HandshakeCompleted):
                self._on_handshake()

    def on_received(self) -> None:
        """Wake who waits for acknowledgements or credit, and count what is held."""
        if self.queued_bytes:
            self._set_queued(self._engine.queued())
        if self._senders:
            for stream in [s for s in self._senders if self.send_room(s)]:
                self._senders.pop(stream, None)
                stream.on_room()
        if self._open_lock.locked() and self._engine.may_open_stream():
            self._credit_arrived.set()
            self._credit_arrived = trio.Event()
        self._count_held()

    def refuse(self) -> None:
        """There is no room for this connection: tell the peer in the transport's own words."""
        code = int(QuicErrorCode.CONNECTION_REFUSED)
        self._close(CloseInfo(code, "", "error", application=False))

    def close_for_buffer(self) -> None:
        """Too much was held for this connection, or for it among all."""
        reason = "too much unread data"
        self._close(CloseInfo(TransportCode.BUFFER_LIMIT, reason, "error", application=True))

    def end(self, info: CloseInfo) -> None:
        """Mark the connection as ended and wake everybody. Only the first call counts."""
        if self.closed is not None:
            return
        self.closed = info
        self._set_held(0)
        self._set_queued(0)
        self._reassembly_bytes = 0
        for stream in self._streams.values():
            stream.on_lost(info)
        self._streams.clear()
        self._senders.clear()
        self._unaccepted.clear()
        self._stream_arrived.unpark_all()
        self._credit_arrived.set()
        self._settled.set()
        self._ended.set()

    async def wait_settled(self) -> None:
        """Wait until the handshake is complete, or the connection over."""
        await self._settled.wait()

    # -- private -----------------------------------------------------------------------------------

    def _close(self, info: CloseInfo) -> None:
        if self.closed is None:
            self.end(info)
            self.driver.close(info.code, info.reason, application=info.application)

    def _check_open(self) -> None:
        if self.closed is not None:
            raise ConnectionLost(self.closed)

    def _on_handshake(self) -> None:
        self.established = True
        if self.is_dialer:
            self.peer_public_key = self._engine.peer_public_key()
        self._settled.set()
        self._hub.on_established(self)

    def _is_peers(self, stream_id: int) -> bool:
        return (stream_id & 1) == (1 if self.is_dialer else 0)

    def _find(self, stream_id: int) -> Stream | None:
        """The stream of an event; None if it is done with. A new one opens all before it."""
        if self.closed is None and self._is_peers(stream_id):
            # RFC 9000 section 2.1: so they are accepted in order even if packets are not.
            while self._next_peer_stream <= stream_id:
                stream = Stream(self, self._next_peer_stream)
                self._streams[stream.id] = stream
                self._unaccepted.append(stream)
                self._next_peer_stream += 4
                self._stream_arrived.unpark()
        return self._streams.get(stream_id)

    def _count_held(self) -> None:
        """Bound what the peer makes us hold; credit keeps an honest one far below."""
        if self.closed is not None:
            return
        self._reassembly_bytes, gaps = self._engine.reassembly()
        unread = sum([stream.unread_bytes for stream in self._streams.values()])
        held = unread + self._reassembly_bytes
        if held > self._options.connection_buffer_bytes or gaps > limits.MAX_REASSEMBLY_GAPS:
            self.close_for_buffer()
        elif held != self.held_bytes:
            self._set_held(held)

    def _set_queued(self, queued: int) -> None:
        if self.closed is not None:
            queued = 0
        difference = queued - self.queued_bytes
        if difference:
            self.queued_bytes = queued
            self._hub.change_queued(difference)

    def _set_held(self, held: int) -> None:
        difference = held - self.held_bytes
        self.held_bytes = held
        self._hub.change_buffered(difference)
