"""The lanes of an independent peer: brought to another, and taken from it.

Written from docs/protocol.md alone; it must never import anything of lanspread. Every step is a
call of its own, for tests that leave one out.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import cbor2
import trio
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.protocol import wire
from tests.protocol.independent import Node, Session
from tests.protocol.links import Broken, LinkClosed, Pipe, PipeReset, Refused
from tests.protocol.wire import Identity, Message, message

BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError)


class Lane:
    """One TLS connection, either end. Raises `Broken` where the other side ends it early."""

    def __init__(self, tls: trio.SSLStream[trio.SocketStream]) -> None:
        self.tls = tls
        self.buffer = bytearray()

    async def exactly(self, size: int) -> bytes:
        try:
            while len(self.buffer) < size:
                more = await self.tls.receive_some(65_536)
                if not more:
                    raise Broken("the lane ended early")
                self.buffer += more
        except BROKEN as error:
            raise Broken("the lane was cut") from error
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def message(self) -> Message:
        value: Message = cbor2.loads(
            await self.exactly(int.from_bytes(await self.exactly(4), "big"))
        )
        return value

    async def chunk(self, id: str, manifest_hash: bytes, extents: Sequence[Sequence[int]]) -> bytes:
        await self.tls.send_all(
            message("GetGameFileChunk", id=id, manifest_hash=manifest_hash, extents=extents)
        )
        answer = await self.message()
        if answer["type"] == "Error":
            raise Refused(answer["code"])
        if answer["type"] != "ChunkData":
            raise Broken(f"not an answer: {answer}")
        return await self.exactly(answer["size"])

    async def is_cut(self) -> bool:
        """Wait for the other side to end it; False if it says anything."""
        try:
            return not await self.tls.receive_some(1)
        except BROKEN:
            return True


# -- bringing one ---------------------------------------------------------------------------------


def lane_port(session: Session) -> int:
    port: int = session.body["features"]["bulk_port"]
    return port


async def knock_at(port: int, first: bytes) -> trio.SocketStream:
    """A connection, and its first bytes."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(first)
    return stream


async def shake_hands(
    stream: trio.SocketStream, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[Lane, str]:
    """TLS, and the peer_id of the key that the listener showed. Raises `BROKEN`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    tls = trio.SSLStream(stream, context)
    await tls.do_handshake()
    certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
    return Lane(tls), wire.peer_id_of(wire.spki_of(certificate.public_key()))  # type: ignore[arg-type]


@asynccontextmanager
async def brought_lane(session: Session) -> AsyncIterator[Lane]:
    """A lane to the other end of a session, as the page says."""
    pipe = session.ask("GetBulkTicket")
    ticket = await pipe.answer("BulkTicket")
    lane, peer_id = await shake_hands(await knock_at(lane_port(session), ticket["id"]))
    if peer_id != session.peer_id:
        raise Broken("the lane ends at somebody else")
    await lane.tls.send_all(ticket["secret"])
    try:
        yield lane
    finally:
        await trio.aclose_forcefully(lane.tls)


# -- taking them ----------------------------------------------------------------------------------

Serve = Callable[["Taker", Lane], Awaitable[None]]


class Taker:
    """Takes lanes for a node. What a test counts is here."""

    def __init__(self, node: Node, context: ssl.SSLContext, serve: Serve) -> None:
        self.node = node
        self.context = context
        self.serve = serve
        self.tickets: dict[bytes, bytes] = {}
        self.knocks = 0
        # What came behind each handshake, before anything else was done with it.
        self.secrets: list[bytes] = []
        self.chunks = 0

    async def give_ticket(self, session: Session, pipe: Pipe, request: Message) -> None:
        id, secret = os.urandom(16), os.urandom(32)
        self.tickets[id] = secret
        pipe.send(message("BulkTicket", id=id, secret=secret))
        with suppress(LinkClosed, PipeReset):
            await pipe.more()

    async def take(self, stream: trio.SocketStream) -> None:
        self.knocks += 1
        with suppress(Broken, *BROKEN):
            async with stream:
                id = bytearray()
                while len(id) < 16:
                    id += await stream.receive_some(16 - len(id)) or b"\0" * 16
                tls = trio.SSLStream(stream, self.context, server_side=True)
                lane = Lane(tls)
                secret = await lane.exactly(32)
                self.secrets.append(secret)
                if self.tickets.pop(bytes(id), None) == secret:
                    await self.serve(self, lane)


async def serve_chunks(taker: Taker, lane: Lane) -> None:
    """Answer as the page says, until the other side has enough."""
    while True:
        request = await lane.message()
        game = taker.node.library.games[request["id"]]
        parts = [game.blobs[number][at : at + size] for number, at, size in request["extents"]]
        data = b"".join(parts)
        taker.chunks += 1
        await lane.tls.send_all(message("ChunkData", size=len(data)) + data)


@asynccontextmanager
async def taking_lanes(
    node: Node,
    folder: Path,
    *,
    serve: Serve = serve_chunks,
    identity: Identity | None = None,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> AsyncIterator[Taker]:
    """Have a node take lanes until the block is left; `identity` is whose certificate it shows."""
    shown = identity or node.identity
    file = folder / "lane.pem"
    file.write_bytes(
        shown.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + shown.certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.maximum_version = newest
    context.num_tickets = 0
    taker = Taker(node, context, serve)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, taker.take, listeners)
        node.claims["features"] = {"bulk_port": listeners[0].socket.getsockname()[1]}
        node.handlers["GetBulkTicket"] = taker.give_ticket
        yield taker
        nursery.cancel_scope.cancel()
