"""The QUIC half of an independent peer: links and pipes over aioquic's sans-IO connection.

Written from docs/protocol.md alone; it must never import anything of lanspread. `Link.quic` is
aioquic's own object and a `Pipe` sends any bytes, for tests that do not keep to the rules.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Protocol

import cbor2
import trio
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.protocol import wire
from tests.protocol.wire import Identity, Message

CANCELLED, CHANGED = 0x20, 0x21


class Owner(Protocol):
    """What a link needs of the node it belongs to."""

    socket: trio.socket.SocketType
    routes: dict[bytes, Link]


def configuration(identity: Identity | None) -> QuicConfiguration:
    """As the page says; `identity` is the listener's, None for a dialer."""
    found = QuicConfiguration(
        is_client=identity is None,
        alpn_protocols=[wire.ALPN],
        max_datagram_size=1_472,
        verify_mode=ssl.CERT_NONE,
    )
    if identity is not None:
        found.certificate, found.private_key = identity.certificate, identity.key
    return found


class LinkClosed(Exception):
    """The connection has ended; `application` says whose code it is."""

    def __init__(self, event: events.ConnectionTerminated) -> None:
        super().__init__(f"{event.error_code:#x} {event.reason_phrase}")
        self.code = event.error_code
        self.reason = event.reason_phrase
        self.application = event.frame_type is None


class PipeReset(Exception):
    """The other side reset its half of a stream."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code:#x}")
        self.code = code


class Refused(Exception):
    """The answer was an Error."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Broken(Exception):
    """The other side broke a rule of the page."""


class Pipe:
    """One stream, both halves."""

    def __init__(self, link: Link, id: int) -> None:
        self.link = link
        self.id = id
        self.buffer = bytearray()
        self.ended = False
        self.reset_code: int | None = None
        self.stop_code: int | None = None
        self.news = trio.Event()

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Any bytes; a half that was stopped or reset takes them without effect."""
        # The latter once the other side has acknowledged the reset, and the stream is forgotten.
        with suppress(RuntimeError, ValueError):
            self.link.quic.send_stream_data(self.id, data, end)
        self.link.wake.set()

    def reset(self, code: int = CANCELLED) -> None:
        self.link.quic.reset_stream(self.id, code)
        self.link.wake.set()

    def stop(self, code: int = CANCELLED) -> None:
        self.link.quic.stop_stream(self.id, code)
        self.link.wake.set()

    def withhold_first_byte(self) -> None:
        """Of what was just given to `send` on a fresh stream, all but the first byte travels."""
        self.link.quic._streams[self.id].sender._pending.subtract(0, 1)

    async def more(self) -> bool:
        """Wait for more in `buffer`; False at the end. Raises `PipeReset`, `LinkClosed`."""
        if self.reset_code is None and not self.ended:
            self.link.check()
            self.news = trio.Event()
            size = len(self.buffer)
            await self.news.wait()
            if len(self.buffer) > size:
                return True
        if self.reset_code is not None:
            raise PipeReset(self.reset_code)
        if not self.ended:
            self.link.check()
        return not self.ended

    async def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            if not await self.more() and len(self.buffer) < size:
                raise Broken("the stream ended early")
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def message(self) -> Message | None:
        """The next frame's message, None at the end of the stream."""
        while not self.buffer:
            if not await self.more() and not self.buffer:
                return None
        size = int.from_bytes(await self.exactly(4), "big")
        if size > wire.MAX_FRAME:
            raise Broken("a frame that is too long")
        value: Message = cbor2.loads(await self.exactly(size))
        return value

    async def answer(self, *types: str) -> Message:
        found = await self.message()
        if found is not None and found["type"] == "Error":
            raise Refused(found["code"])
        if found is None or found["type"] not in types:
            raise Broken(f"expected {types}, found {found}")
        return found

    async def end(self) -> None:
        """Nothing but the end of the stream may come."""
        if self.buffer or (await self.more()):
            raise Broken("bytes behind the end")


class Link:
    """One QUIC connection. `muted` drops everything it would send: a machine that vanished."""

    def __init__(self, node: Owner, quic: QuicConnection, *, is_dialer: bool) -> None:
        self.node = node
        self.quic = quic
        self.is_dialer = is_dialer
        self.muted = False
        self.pipes: dict[int, Pipe] = {}
        self.closed: events.ConnectionTerminated | None = None
        self.ready = trio.Event()
        self.over = trio.Event()
        self.wake = trio.Event()
        self._opened_in, self._opened = trio.open_memory_channel[Pipe](1_000)

    @property
    def peer_spki(self) -> bytes:
        """Of the listener's certificate; aioquic has no public name for it."""
        certificate = self.quic.tls._peer_certificate
        assert certificate is not None
        return wire.spki_of(certificate.public_key())  # type: ignore[arg-type]

    def open(self) -> Pipe:
        id = self.quic.get_next_available_stream_id()
        self.quic.send_stream_data(id, b"")
        self.pipes[id] = Pipe(self, id)
        return self.pipes[id]

    async def accept(self) -> Pipe:
        """The next stream that the other side opened."""
        try:
            return await self._opened.receive()
        except trio.EndOfChannel:
            self.check()
            raise

    def check(self) -> None:
        """Raises `LinkClosed` once the connection has ended."""
        if self.closed is not None:
            raise LinkClosed(self.closed)

    def close(self, code: int = 0, reason: str = "") -> None:
        self.quic.close(code, reason_phrase=reason)
        self.wake.set()

    async def wait_closed(self) -> LinkClosed:
        await self.over.wait()
        assert self.closed is not None
        return LinkClosed(self.closed)

    def freeze_credit(self) -> None:
        """Never allow the other side to send more: a reader that reads nothing."""
        self.quic._write_connection_limits = lambda *a, **k: None  # type: ignore[method-assign]
        self.quic._write_stream_limits = lambda *a, **k: None  # type: ignore[method-assign]

    async def run(self) -> None:
        """Send, wait, and take events until the connection is over."""
        while self.closed is None:
            self.wake = trio.Event()
            while (event := self.quic.next_event()) is not None:
                self._on(event)
            await self.flush()
            timer = self.quic.get_timer()
            with trio.move_on_at(float("inf") if timer is None else timer) as scope:
                await self.wake.wait()
            if scope.cancelled_caught:
                self.quic.handle_timer(trio.current_time())

    async def flush(self) -> None:
        for data, address in self.quic.datagrams_to_send(trio.current_time()):
            if not self.muted:
                await self.node.socket.sendto(data, address)

    def _on(self, event: events.QuicEvent) -> None:
        match event:
            case events.HandshakeCompleted():
                self.ready.set()
            case events.ConnectionIdIssued():
                self.node.routes[event.connection_id] = self
            case events.ConnectionTerminated():
                self.closed = event
                self.ready.set()
                self.over.set()
                self._opened_in.close()
                for pipe in self.pipes.values():
                    pipe.news.set()
            case events.StreamDataReceived():
                pipe = self._pipe(event.stream_id)
                pipe.buffer += event.data
                pipe.ended = pipe.ended or event.end_stream
                pipe.news.set()
            case events.StreamReset():
                pipe = self._pipe(event.stream_id)
                pipe.reset_code = event.error_code
                pipe.news.set()
            case events.StopSendingReceived():
                self._pipe(event.stream_id).stop_code = event.error_code

    def _pipe(self, id: int) -> Pipe:
        pipe = self.pipes.get(id)
        if pipe is None:
            pipe = self.pipes[id] = Pipe(self, id)
            self._opened_in.send_nowait(pipe)
        return pipe
