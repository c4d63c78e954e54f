"""An independent peer, written from docs/protocol.md alone: dialer and listener, asker and source.

It keeps to the rules by default. For tests that do not, everything is in reach: `Link.quic` is
aioquic's own connection, `Pipe` sends any bytes, `Node.handlers` replaces any answer, `Node.claims`
any field of its greeting, and `lanspread`'s own code is nowhere in it.

    async with open_node([game]) as node:
        session = await node.dial(("127.0.0.1", port))
        files = await session.fetch_game("Quake")
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import cbor2
import trio
from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import pull_quic_header

from tests.protocol import wire
from tests.protocol.links import Broken, Link, LinkClosed, Pipe, PipeReset, configuration
from tests.protocol.wire import Game, Identity, Library, Message, message

HostPort = tuple[str, int]


class Session:
    """A link whose handshake is done. `heard` holds the control messages but Ping and Pong."""

    def __init__(self, node: Node, link: Link, control: Pipe, body: Message) -> None:
        self.node = node
        self.link = link
        self.control = control
        self.body = body
        self.peer_id: str = body["peer_id"]
        self.heard: list[Message] = []
        # The other side's library, and how it came to be what it is: "delta" or "snapshot".
        self.view = wire.View()
        self.applied: list[str] = []
        # The revision of ours that the other side was told of last.
        self.told: int | None = None

    async def run(self) -> None:
        """Read and serve until the link is over."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_control)
            with suppress(LinkClosed):
                while True:
                    nursery.start_soon(self._serve, await self.link.accept())
            nursery.cancel_scope.cancel()

    async def _read_control(self) -> None:
        with suppress(LinkClosed, PipeReset):
            while (found := await self.control.message()) is not None:
                if found["type"] == "Ping":
                    self.control.send(message("Pong"))
                elif found["type"] != "Pong":
                    self.heard.append(found)
                    if found["type"] == "LibraryDelta" and self.view.apply(found):
                        self.applied.append("delta")

    async def _serve(self, pipe: Pipe) -> None:
        with suppress(LinkClosed, PipeReset):
            request = await pipe.message()
            if request is not None:
                handler = self.node.handlers.get(request["type"])
                if handler is None:
                    pipe.send(message("Error", code="Unsupported", message=""), end=True)
                else:
                    await handler(self, pipe, request)

    def announce(self, *, by_delta: bool = False) -> None:
        """Say where our library stands now, if that is wanted and can be by what changed."""
        library = self.node.library
        library.remember()
        base, self.told = self.told, library.rev
        delta = library.delta_since(base) if by_delta and base is not None else None
        if delta is not None:
            self.control.send(message("LibraryDelta", peer_id=self.node.peer_id, **delta))
            return
        position = library.position() | {"game_count": len(library.games)}
        self.control.send(message("LibrarySummary", peer_id=self.node.peer_id, **position))

    # -- asking -----------------------------------------------------------------------------------

    def ask(self, type: str, *, end: bool = True, **fields: object) -> Pipe:
        pipe = self.link.open()
        pipe.send(message(type, **fields), end=end)
        return pipe

    async def pages(self, answer: str, type: str, **fields: object) -> list[Message]:
        pipe = self.ask(type, end=False, **fields)
        pages = [await pipe.answer(answer)]
        while pages[-1]["more"]:
            pipe.send(message("NextPage", page=len(pages)))
            pages.append(await pipe.answer(answer))
        pipe.send(b"", end=True)
        if [page["page"] for page in pages] != list(range(len(pages))):
            raise Broken("pages out of order")
        return pages

    async def follow(self) -> None:
        """Bring `view` to where the other side is, by what changed if it has that."""
        view = self.view
        since = {"epoch": view.epoch, "rev": view.rev} if view.epoch else None
        pipe = self.ask("GetLibrary", end=False, since=since)
        found = await pipe.answer("LibraryDelta", "LibrarySnapshot")
        if found["type"] == "LibraryDelta":
            pipe.send(b"", end=True)
            if not view.apply(found):
                raise Broken("a delta that does not fit what was asked for")
            self.applied.append("delta")
            return
        pages = [found]
        while pages[-1]["more"]:
            pipe.send(message("NextPage", page=len(pages)))
            pages.append(await pipe.answer("LibrarySnapshot"))
        pipe.send(b"", end=True)
        if not view.replace(pages):
            raise Broken("a library that does not match its digest")
        self.applied.append("snapshot")

    async def library(self) -> dict[str, Message]:
        """The summaries by id, checked against the digest that comes with them."""
        pages = await self.pages("LibrarySnapshot", "GetLibrary", since=None)
        encoded = [game for page in pages for game in page["games"]]
        if wire.library_digest(encoded) != pages[0]["library_digest"]:
            raise Broken("a library that does not match its digest")
        return {game["id"]: game for game in map(cbor2.loads, encoded)}

    async def manifest(self, id: str) -> tuple[Message, list[list[Any]]]:
        """The first page and the rows of all pages."""
        pages = await self.pages(
            "GameManifest", "GetGame", id=id, known_manifest_hash=None, known_content_hash=None
        )
        rows = [row for page in pages for row in page["files"]]
        if wire.manifest_hash_of(rows) != pages[0]["manifest_hash"]:
            raise Broken("a manifest that does not match its hash")
        return pages[0], rows

    async def digests(self, id: str, manifest_hash: bytes) -> list[bytes]:
        pages = await self.pages(
            "BlockDigests", "GetBlockDigests", id=id, manifest_hash=manifest_hash
        )
        joined = b"".join(page["digests"] for page in pages)
        return [joined[at : at + 32] for at in range(0, len(joined), 32)]

    async def chunk(self, id: str, manifest_hash: bytes, extents: Sequence[Sequence[int]]) -> bytes:
        pipe = self.ask("GetGameFileChunk", id=id, manifest_hash=manifest_hash, extents=extents)
        return await self._raw(pipe, "ChunkData")

    async def whole_file(self, id: str, manifest_hash: bytes, path: str) -> bytes:
        pipe = self.ask("GetGameFileData", id=id, manifest_hash=manifest_hash, path=path)
        return await self._raw(pipe, "FileData")

    async def _raw(self, pipe: Pipe, header: str) -> bytes:
        data = await pipe.exactly((await pipe.answer(header))["size"])
        await pipe.end()
        return data

    async def fetch_game(self, id: str) -> dict[str, bytes]:
        """All files, every block verified; version.ini as a whole file, the rest in chunks."""
        first, rows = await self.manifest(id)
        manifest_hash, block = first["manifest_hash"], first["block_size"]
        digests = await self.digests(id, manifest_hash)
        if first["content_hash"] not in (
            None,
            wire.content_hash_of(manifest_hash, block, digests),
        ):
            raise Broken("digests that do not match the content_hash")
        expected = iter(digests)
        files: dict[str, bytes] = {}
        for number, (path, size, _) in enumerate(rows):
            if path == "version.ini":
                data = await self.whole_file(id, manifest_hash, path)
            else:
                parts = [
                    await self.chunk(id, manifest_hash, [[number, at, min(block, size - at)]])
                    for at in range(0, size, block)
                ]
                data = b"".join(parts)
            if any(found != next(expected) for found in wire.digests_of(data, block)):
                raise Broken("bytes that do not match their digest")
            files[path] = data
        return files


Handler = Callable[[Session, Pipe, Message], Awaitable[None]]


async def send_pages(pipe: Pipe, pages: Iterable[bytes]) -> None:
    """Each page when it is asked for, then the end."""
    for number, page in enumerate(pages):
        if number:
            asked = await pipe.message()
            if asked is None:
                break
            if asked != {"type": "NextPage", "page": number}:
                raise Broken("asked for another page than the next")
        pipe.send(page)
    pipe.send(b"", end=True)


async def serve_library(session: Session, pipe: Pipe, request: Message) -> None:
    node = session.node
    games = [game.summary() for game in node.library.games.values()]
    fields: Message = {"games": games}
    if request["type"] == "GetLibrary":
        since = request["since"]
        node.library.remember()
        session.told = node.library.rev
        if since is not None and since["epoch"] == node.library.epoch:
            delta = node.library.delta_since(since["rev"])
            if delta is not None:
                pipe.send(message("LibraryDelta", peer_id=node.peer_id, **delta), end=True)
                return
        fields |= node.library.position() | {"peer_id": node.peer_id, "game_count": len(games)}
    answer = "GameList" if request["type"] == "ListGames" else "LibrarySnapshot"
    await send_pages(pipe, [message(answer, page=0, more=False, **fields)])


async def serve_game(session: Session, pipe: Pipe, request: Message) -> None:
    """GetGame, GetBlockDigests, GetGameFileData and GetGameFileChunk."""
    game = session.node.library.games.get(request["id"])
    if game is None:
        pipe.send(message("Error", code="NotFound", message=""), end=True)
    elif request.get("manifest_hash", game.manifest_hash) != game.manifest_hash:
        pipe.send(message("Error", code="Changed", message=""), end=True)
    elif request["type"] == "GetGame" and (
        request["known_manifest_hash"],
        request["known_content_hash"],
    ) == (game.manifest_hash, game.content_hash):
        pipe.send(message("NotModified"), end=True)
    elif request["type"] == "GetGame":
        await send_pages(pipe, game.manifest_pages())
    elif request["type"] == "GetBlockDigests":
        await send_pages(pipe, game.digest_pages())
    elif request["type"] == "GetGameFileData":
        data = game.blobs[[row[0] for row in game.rows].index(request["path"])]
        pipe.send(message("FileData", size=len(data)) + data, end=True)
    else:
        extents = request["extents"]
        parts = [game.blobs[number][at : at + length] for number, at, length in extents]
        data = b"".join(parts)
        pipe.send(message("ChunkData", size=len(data)) + data, end=True)


class Node:
    """One UDP socket, one identity, one library. Made by `open_node`."""

    def __init__(self, games: Iterable[Game], nursery: trio.Nursery) -> None:
        self.identity = Identity()
        self.peer_id = self.identity.peer_id
        self.instance = os.urandom(16)
        self.library = Library({game.id: game for game in games})
        # What replaces fields of HelloBody, and of Hello itself: another's peer_id, key, proof …
        self.claims: Message = {}
        self.hello_claims: Message = {}
        # False leaves inbound links to `links`, without a word said on them.
        self.greets = True
        self.handlers: dict[str, Handler] = {
            "GetLibrary": serve_library,
            "ListGames": serve_library,
            **dict.fromkeys(
                ("GetGame", "GetBlockDigests", "GetGameFileData", "GetGameFileChunk"), serve_game
            ),
        }
        self.routes: dict[bytes, Link] = {}
        self.socket = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._nursery = nursery
        self._links_in, self.links = trio.open_memory_channel[Link](100)
        self._sessions_in, self.sessions = trio.open_memory_channel[Session](100)

    @property
    def address(self) -> HostPort:
        host, port = self.socket.getsockname()
        return host, port

    def body(self) -> bytes:
        fields = {
            "peer_id": self.peer_id,
            "instance": self.instance,
            "proto_ver": wire.PROTO_VER,
            "listen_addrs": ["{}:{}".format(*self.address)],
            **self.library.position(),
            "features": {},
            "name": "independent",
        }
        return wire.encode(fields | self.claims)

    async def connect(self, address: HostPort) -> Link:
        """QUIC alone. Raises `LinkClosed`."""
        quic = QuicConnection(configuration=configuration(None))
        quic.connect(address, trio.current_time())
        link = self._start(quic, is_dialer=True)
        await link.ready.wait()
        link.check()
        return link

    async def dial(self, address: HostPort) -> Session:
        """Connect and greet. Raises `LinkClosed`."""
        return await self.greet(await self.connect(address))

    async def greet(self, link: Link) -> Session:
        """Hello on a link that we dialed, the HelloAck, and the session that comes of them."""
        control, body = link.open(), self.body()
        fields = {
            "body": body,
            "key": self.identity.spki,
            "proof": self.identity.prove(link.peer_spki, body),
        }
        control.send(message("Hello", **(fields | self.hello_claims)))
        ack = cbor2.loads((await control.answer("HelloAck"))["body"])
        if ack["peer_id"] != wire.peer_id_of(link.peer_spki) or ack["proto_ver"] != wire.PROTO_VER:
            raise Broken("a HelloAck of somebody else")
        return self._begin(link, control, ack)

    async def greet_inbound(self, link: Link) -> None:
        """Take the Hello of a link that the other side dialed."""
        with suppress(LinkClosed, PipeReset):
            control = await link.accept()
            hello = await control.answer("Hello")
            body = cbor2.loads(hello["body"])
            if body["proto_ver"] != wire.PROTO_VER:
                link.close(0x02, "another version")
            elif (
                not wire.proves(hello["key"], hello["proof"], self.identity.spki, hello["body"])
                or wire.peer_id_of(hello["key"]) != body["peer_id"]
            ):
                link.close(0x05, "not who it says")
            else:
                control.send(message("HelloAck", body=self.body()))
                self._sessions_in.send_nowait(self._begin(link, control, body))

    def _begin(self, link: Link, control: Pipe, body: Message) -> Session:
        session = Session(self, link, control, body)
        session.announce()
        self._nursery.start_soon(session.run)
        return session

    def _start(self, quic: QuicConnection, *, is_dialer: bool) -> Link:
        link = Link(self, quic, is_dialer=is_dialer)
        self.routes[quic.host_cid] = link
        self._nursery.start_soon(link.run)
        return link

    async def receive(self) -> None:
        """Give every datagram to its link; an Initial of nobody's begins one."""
        while True:
            data, source = await self.socket.recvfrom(65_536)
            header = pull_quic_header(Buffer(data=data), host_cid_length=8)
            link = self.routes.get(header.destination_cid)
            if link is None and header.version is not None:
                quic = QuicConnection(
                    configuration=configuration(self.identity),
                    original_destination_connection_id=header.destination_cid,
                )
                link = self.routes[header.destination_cid] = self._start(quic, is_dialer=False)
                self._nursery.start_soon(self._take, link)
            if link is not None:
                link.quic.receive_datagram(data, source, trio.current_time())
                link.wake.set()

    async def _take(self, link: Link) -> None:
        await link.ready.wait()
        if link.closed is None:
            self._links_in.send_nowait(link)
            if self.greets:
                await self.greet_inbound(link)


@asynccontextmanager
async def open_node(games: Iterable[Game] = (), host: str = "127.0.0.1") -> AsyncIterator[Node]:
    """A peer on a free port of loopback, until the block is left."""
    # The socket is closed when nobody reads from it any more.
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            node = Node(games, nursery)
            stack.callback(node.socket.close)
            await node.socket.bind((host, 0))
            nursery.start_soon(node.receive)
            try:
                yield node
            finally:
                with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
                    for link in set(node.routes.values()):
                        link.close()
                        await link.flush()
                nursery.cancel_scope.cancel()
