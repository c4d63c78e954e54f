"""The QUIC endpoint: sockets, routing, admission, and the nursery that owns it all.

Source: ARCHITECTURE.md, "Transport"; RFC 9000 sections 5, 6, 8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from aioquic.quic.packet import QuicErrorCode

from lanspread import limits
from lanspread.seams import Address, DatagramSocket
from lanspread.transport import packets
from lanspread.transport.admission import (
    Admission,
    Admit,
    AskAddress,
    Drop,
    Ignore,
    NegotiateVersion,
    Refuse,
)
from lanspread.transport.connection import Connection
from lanspread.transport.engine import Engine
from lanspread.transport.engines import EngineFactory
from lanspread.transport.errors import (
    CloseInfo,
    ConnectRefused,
    ConnectTimeout,
    EndpointFull,
    HandshakeFailed,
    Unreachable,
)
from lanspread.transport.options import EndpointOptions, TlsIdentity
from lanspread.transport.packets import LongHeader
from lanspread.transport.statistics import EndpointStatistics


@asynccontextmanager
async def open_endpoint(
    sockets: Sequence[DatagramSocket],
    identity: TlsIdentity,
    options: EndpointOptions = EndpointOptions(),  # noqa: B008  (frozen)
) -> AsyncIterator[Endpoint]:
    """An endpoint on these sockets, which it owns: a receive loop a socket, a task a connection.

    Leaving the block, by cancellation too, closes every connection with application code 0, tells
    the peers once, and closes the sockets; it takes at most `limits.ENDPOINT_CLOSE_S`. An error in
    the block comes out as itself, not in a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            endpoint = Endpoint(nursery, sockets, identity, options)
            for socket in sockets:
                nursery.start_soon(endpoint._receive_loop, socket)
            try:
                yield endpoint
            finally:
                await endpoint._shut_down()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        _raise_single(group)
        raise
    finally:
        for socket in sockets:
            socket.close()


class Endpoint:
    """Made by `open_endpoint` only."""

    def __init__(
        self,
        nursery: trio.Nursery,
        sockets: Sequence[DatagramSocket],
        identity: TlsIdentity,
        options: EndpointOptions,
    ) -> None:
        self._nursery = nursery
        self._sockets = tuple(sockets)
        self._options = options
        self._engines = EngineFactory(identity, options)
        self._admission = Admission(options)
        self.turns = trio.StrictFIFOLock()
        self._routes: dict[bytes, Connection] = {}
        # In order of age: a set's order would differ from run to run.
        self._connections: dict[Connection, None] = {}
        self._arrived, self._arrivals = trio.open_memory_channel[Connection](options.accept_backlog)
        self._closed = False
        self._buffered_bytes = 0
        self._queued_bytes = 0
        self._drops: Counter[str] = Counter()
        self._received_datagrams = self._received_bytes = 0
        self._sent_datagrams = self._sent_bytes = 0
        self._versions_negotiated = self._retries_sent = self._closed_for_buffer = 0

    # -- public ------------------------------------------------------------------------------------

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What the sockets are bound to."""
        return tuple(socket.address for socket in self._sockets)

    async def connect(self, address: Address) -> Connection:
        """Dial; returns when the handshake is complete.

        Raises `ConnectFailed`: `Unreachable`, `EndpointFull`, `ConnectTimeout`, `ConnectRefused` or
        `HandshakeFailed`; `trio.ClosedResourceError` once the endpoint is closed. Cancellation
        aborts the attempt, tells the listener if it can, and leaves nothing.
        """
        await trio.lowlevel.checkpoint()
        self._check_open()
        socket = next((s for s in self._sockets if s.reaches(address)), None)
        if socket is None:
            raise Unreachable(address, "no socket reaches it")
        if self._admission.full:
            raise EndpointFull(address, "too many connections")
        engine = self._engines.dial(address, trio.current_time())
        connection = self._start(engine, socket, address, is_dialer=True)
        try:
            await connection.wait_settled()
        except BaseException:
            connection.close()
            raise
        if not connection.established:
            assert connection.closed is not None
            self._raise_failed(address, connection.closed)
        return connection

    async def accept(self) -> Connection:
        """The next connection that a peer made to us, its handshake complete.

        At most `limits.ACCEPT_BACKLOG` wait here; further ones are refused. Raises
        `trio.ClosedResourceError` once the endpoint is closed.
        """
        while True:
            try:
                connection = await self._arrivals.receive()
            except trio.EndOfChannel:
                raise trio.ClosedResourceError("this endpoint was closed") from None
            if connection.closed is None:
                return connection

    def statistics(self) -> EndpointStatistics:
        drivers = [connection.driver for connection in self._connections]
        return EndpointStatistics(
            datagrams_received=self._received_datagrams,
            datagrams_sent=self._sent_datagrams + sum(d.datagrams_sent for d in drivers),
            bytes_received=self._received_bytes,
            bytes_sent=self._sent_bytes + sum(d.bytes_sent for d in drivers),
            drops=dict(self._drops),
            versions_negotiated=self._versions_negotiated,
            retries_sent=self._retries_sent,
            connections=len(self._connections),
            half_open=self._admission.half_open,
            routes=len(self._routes),
            buffered_bytes=self._buffered_bytes,
            queued_bytes=self._queued_bytes,
            closed_for_buffer=self._closed_for_buffer,
        )

    # -- called by connections ---------------------------------------------------------------------

    def add_route(self, cid: bytes, connection: Connection) -> None:
        self._routes[cid] = connection
        connection.cids.add(cid)

    def remove_route(self, cid: bytes) -> None:
        connection = self._routes.pop(cid, None)
        if connection is not None:
            connection.cids.discard(cid)

    def on_established(self, connection: Connection) -> None:
        if connection.is_dialer:
            return
        self._admission.completed()
        try:
            self._arrived.send_nowait(connection)
        except (trio.WouldBlock, trio.ClosedResourceError):
            connection.refuse()

    def change_buffered(self, difference: int) -> None:
        self._buffered_bytes += difference
        while self._buffered_bytes > self._options.endpoint_buffer_bytes:
            # Ending the one that holds most takes that off the total.
            victim = max(self._connections, key=lambda connection: connection.held_bytes)
            assert victim.held_bytes > 0
            self._closed_for_buffer += 1
            victim.close_for_buffer()

    def change_queued(self, difference: int) -> None:
        self._queued_bytes += difference

    @property
    def queue_share_bytes(self) -> int:
        # A part of what is free: however many connections take nothing, the next one finds room.
        free = limits.MAX_ENDPOINT_QUEUE_BYTES - self._queued_bytes
        share = min(limits.MAX_CONNECTION_QUEUE_BYTES, free // 4)
        return max(limits.MIN_CONNECTION_QUEUE_BYTES, share)

    # -- receiving ---------------------------------------------------------------------------------

    async def _receive_loop(self, socket: DatagramSocket) -> None:
        """Route datagrams to the inboxes. Never waits for an application."""
        while True:
            batch = await socket.receive()
            self._received_datagrams += len(batch)
            routes = self._routes
            answers: list[tuple[bytes, Address]] = []
            size = 0
            for data, address in batch:
                size += len(data)
                cid = packets.short_destination_cid(data)
                header = None
                if cid is None:
                    header = packets.parse_long_header(data)
                    if header is None:
                        self._drops[Drop.MALFORMED] += 1
                        continue
                    cid = header.destination_cid
                connection = routes.get(cid)
                if connection is not None:
                    if not connection.driver.post(data, address, socket):
                        self._drops[Drop.QUEUE_FULL] += 1
                elif header is None:
                    self._drops[Drop.UNKNOWN_CONNECTION] += 1
                else:
                    answer = self._on_first_packet(header, data, address, socket)
                    if answer is not None:
                        answers.append((answer, address))
            self._received_bytes += size
            for answer, address in answers:
                self._sent_datagrams += 1
                self._sent_bytes += len(answer)
                await socket.send([answer], address)
            # A socket that always has something ready must not keep the drivers from their turn.
            await trio.lowlevel.checkpoint()

    def _on_first_packet(
        self, header: LongHeader, data: bytes, address: Address, socket: DatagramSocket
    ) -> bytes | None:
        """A packet of no connection: make one, or return the answer that refuses it, if any."""
        match self._admission.decide(header, len(data), address, trio.current_time()):
            case Admit(original_cid, retry_cid):
                engine = self._engines.answer(original_cid, retry_cid)
                connection = self._start(engine, socket, address, is_dialer=False)
                # Until the client learns our id it uses the one that it made up.
                self.add_route(header.destination_cid, connection)
                connection.driver.post(data, address, socket)
                return None
            case NegotiateVersion():
                self._versions_negotiated += 1
                return packets.version_negotiation(header)
            case AskAddress(source_cid, token):
                self._retries_sent += 1
                return packets.retry(header, source_cid, token)
            case Refuse(reason):
                self._drops[reason] += 1
                refused = reason is not Drop.INVALID_TOKEN
                return packets.initial_close(
                    header,
                    QuicErrorCode.CONNECTION_REFUSED if refused else QuicErrorCode.INVALID_TOKEN,
                )
            case Ignore(reason):
                self._drops[reason] += 1
                return None

    # -- lives -------------------------------------------------------------------------------------

    def _start(
        self, engine: Engine, socket: DatagramSocket, address: Address, *, is_dialer: bool
    ) -> Connection:
        connection = Connection(
            engine, self, self._options, self._sockets, socket, address, is_dialer=is_dialer
        )
        self._connections[connection] = None
        self._admission.opened(None if is_dialer else address)
        self.add_route(engine.host_cid, connection)
        self._nursery.start_soon(self._drive, connection, None if is_dialer else address)
        return connection

    async def _drive(self, connection: Connection, admitted: Address | None) -> None:
        """Run one connection to its end, then forget it."""
        await connection.driver.run()
        self._connections.pop(connection, None)
        for cid in connection.cids:
            self._routes.pop(cid, None)
        if admitted is not None and not connection.established:
            self._admission.completed()
        self._admission.closed(admitted)
        self._sent_datagrams += connection.driver.datagrams_sent
        self._sent_bytes += connection.driver.bytes_sent
        if connection.driver.never_started:
            self._drops[Drop.NOT_AUTHENTIC] += 1

    async def _shut_down(self) -> None:
        """End everything. The drivers may be cancelled already, so the goodbyes are sent here."""
        self._closed = True
        self._arrived.close()
        connections = list(self._connections)
        for connection in connections:
            connection.driver.lingers = False
            connection.close()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.ENDPOINT_CLOSE_S):
            for connection in connections:
                await connection.driver.finish()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this endpoint was closed")

    def _raise_failed(self, address: Address, info: CloseInfo) -> None:
        match info.by:
            case "us":
                raise trio.ClosedResourceError("this endpoint was closed")
            case "timeout":
                raise ConnectTimeout(address, "no answer in time")
            case "peer":
                raise ConnectRefused(address, info)
            case "error":
                raise HandshakeFailed(address, info)


def _raise_single(group: BaseExceptionGroup[BaseException]) -> None:
    """Raise the one cause in a group of one; return if there are several."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        if len(inner.exceptions) != 1:
            return
        inner = inner.exceptions[0]
    # Its own cause and context say more than "raised in a nursery".
    context = inner.__context__
    try:
        raise inner
    finally:
        inner.__context__ = context
        del inner
