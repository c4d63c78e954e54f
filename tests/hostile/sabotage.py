"""Ways in which a source of a download can misbehave, as handlers of the independent peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import cbor2
import trio

from tests.protocol import wire
from tests.protocol.independent import Node, Session
from tests.protocol.links import Pipe
from tests.protocol.wire import Game, Message, message

Reply = Callable[[Session, Pipe, bytes], Awaitable[None]]
Sabotage = Callable[[Node, Game], None]

BYTES = {"GetGameFileChunk": "ChunkData", "GetGameFileData": "FileData"}


def _asked(game: Game, request: Message) -> bytes:
    if request["type"] == "GetGameFileData":
        return game.blobs[[row[0] for row in game.rows].index(request["path"])]
    return b"".join(game.blobs[file][at : at + size] for file, at, size in request["extents"])


def on_bytes(reply: Reply, *types: str) -> Sabotage:
    """Answer requests for bytes with `reply(session, pipe, what was asked for)`."""

    def apply(node: Node, game: Game) -> None:
        async def handler(session: Session, pipe: Pipe, request: Message) -> None:
            await reply(session, pipe, _asked(game, request))

        node.handlers.update(dict.fromkeys(types or ("GetGameFileChunk",), handler))

    return apply


def on_first(type: str, *frames: bytes, end: bool = True) -> Sabotage:
    """Answer every request of a type with these bytes; without `end`, silence follows."""

    def apply(node: Node, game: Game) -> None:
        async def handler(session: Session, pipe: Pipe, request: Message) -> None:
            pipe.send(b"".join(frames), end=end)

        node.handlers[type] = handler

    return apply


def change(**listed: object) -> Sabotage:
    """Replace fields of every page of the manifest."""

    def apply(node: Node, game: Game) -> None:
        game.listed = dict(listed)

    return apply


def change_rows(edit: Callable[[list[list[Any]]], None]) -> Sabotage:
    """Change the rows that are sent; everything announced stays that of the honest game."""

    def apply(node: Node, game: Game) -> None:
        announced = {"manifest_hash": game.manifest_hash, "content_hash": game.content_hash}
        count = len(game.rows)
        game.announced, game.listed = announced, {**announced, "file_count": count}
        edit(game.rows)
        game.listed["file_count"] = len(game.rows)

    return apply


def without_digests(answer: Callable[[Session, Pipe, Game], Awaitable[None]]) -> Sabotage:
    """Leave the digests out of the manifest, and answer GetBlockDigests like this."""

    def apply(node: Node, game: Game) -> None:
        game.rows = [[path, size, None] for path, size, _ in game.rows]

        async def handler(session: Session, pipe: Pipe, request: Message) -> None:
            await answer(session, pipe, game)

        node.handlers["GetBlockDigests"] = handler

    return apply


def digests(game: Game, joined: bytes, **fields: object) -> bytes:
    """One page of BlockDigests."""
    known = {"page": 0, "more": False, "manifest_hash": game.manifest_hash}
    return message(
        "BlockDigests", **(known | {"block_size": game.block_size, "digests": joined} | fields)
    )


# -- what happens to bytes ------------------------------------------------------------------------


def _header(pipe: Pipe, size: int) -> None:
    pipe.send(message("ChunkData", size=size))


async def flip(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    pipe.send(bytes([data[0] ^ 1]) + data[1:], end=True)


async def too_few(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    pipe.send(data[:-1], end=True)


async def too_many(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    pipe.send(data + b"x", end=True)


async def endless(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    while session.link.closed is None:
        pipe.send(data)
        await trio.sleep(0.01)


async def larger_header(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data) + 1)
    pipe.send(data + b"x", end=True)


async def no_header(session: Session, pipe: Pipe, data: bytes) -> None:
    pipe.send(data, end=True)


async def header_of_another_kind(session: Session, pipe: Pipe, data: bytes) -> None:
    pipe.send(message("FileData", size=len(data)) + data, end=True)


async def silent_in_the_middle(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    pipe.send(data[: len(data) // 2])


async def silent_from_the_start(session: Session, pipe: Pipe, data: bytes) -> None:
    await trio.sleep_forever()


async def without_an_end(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    pipe.send(data)


async def trickle(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    for byte in data:
        pipe.send(bytes([byte]))
        await trio.sleep(1)


async def first_byte_withheld(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    pipe.send(data, end=True)
    pipe.withhold_first_byte()


def reset_with(code: int) -> Reply:
    async def reset(session: Session, pipe: Pipe, data: bytes) -> None:
        _header(pipe, len(data))
        pipe.send(data[: len(data) // 2])
        await trio.sleep(0.05)
        pipe.reset(code)

    return reset


def error(code: str) -> Reply:
    async def refuse(session: Session, pipe: Pipe, data: bytes) -> None:
        pipe.send(message("Error", code=code, message="\x1b[31mno\x07"), end=True)

    return refuse


async def vanish(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    pipe.send(data[: len(data) // 2])
    await trio.sleep(0.05)
    session.link.muted = True


async def hang_up(session: Session, pipe: Pipe, data: bytes) -> None:
    _header(pipe, len(data))
    session.link.close(0, "bye")


def serve_another(node: Node, game: Game) -> None:
    """The bytes of a game of the same shape, for whatever is asked."""
    game.blobs = [bytes(len(blob)) for blob in game.blobs]


def never_ending_pages(node: Node, game: Game) -> None:
    """Manifest pages that hold nothing, and always say that one more follows."""

    async def handler(session: Session, pipe: Pipe, request: Message) -> None:
        number = 0
        fields = cbor2.loads(next(iter(game.manifest_pages()))[4:])
        while True:
            pipe.send(
                wire.frame(wire.encode({**fields, "page": number, "more": True, "files": []}))
            )
            if await pipe.message() is None:
                return
            number += 1

    node.handlers["GetGame"] = handler
