"""Sources that send wrong bytes on a lane, or behind one: dropped, and nothing of it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.protocol.independent import Session, open_node
from tests.protocol.lanes import Lane, Serve, Taker, taking_lanes
from tests.protocol.links import Pipe
from tests.protocol.test_independent import (
    BLOCK,
    FILES,
    download,
    open_ours,
    port_of,
    read_game,
)
from tests.protocol.wire import Game, Message, message

# Larger than what is first received in one piece, so that a part of it is verified by itself.
LARGE = {"data.eti": bytes(range(256)) * 800, "version.ini": FILES["version.ini"]}


async def lie(taker: Taker, lane: Lane) -> None:
    request = await lane.message()
    taker.chunks += 1
    size = sum(extent[2] for extent in request["extents"])
    await lane.tls.send_all(message("ChunkData", size=size) + b"x" * size)
    await lane.message()


async def cut_behind_good_bytes(taker: Taker, lane: Lane) -> None:
    request = await lane.message()
    taker.chunks += 1
    ((number, at, size),) = request["extents"]
    data = taker.node.library.games["Large"].blobs[number][at : at + size // 2]
    await lane.tls.send_all(message("ChunkData", size=size) + data)


async def lie_over_quic(session: Session, pipe: Pipe, request: Message) -> None:
    """All is right but for the first byte, which had come well before."""
    ((number, at, size),) = request["extents"]
    data = session.node.library.games["Large"].blobs[number][at : at + size]
    pipe.send(message("ChunkData", size=size) + b"\xff" + data[1:], end=True)


@pytest.mark.parametrize("serve", [lie, cut_behind_good_bytes])
async def test_wrong_bytes_drop_the_source_and_are_not_written(
    tmp_path: Path, serve: Serve
) -> None:
    """On a lane, or over QUIC in the places of what a lane had brought well."""
    async with (
        open_node([Game.of("Large", "1.0", LARGE, BLOCK)]) as node,
        taking_lanes(node, tmp_path, serve=serve) as taker,
        open_ours(tmp_path) as ours,
        trio.open_nursery() as nursery,
    ):
        node.handlers["GetGameFileChunk"] = lie_over_quic
        events = ours.events.subscribe(None)
        await node.dial(port_of(ours))
        nursery.start_soon(download, ours, "Large")
        with trio.fail_after(10):
            while not any(event.type == "source.dropped" for event in await events.next_batch()):
                pass
        assert taker.chunks > 0
        assert sum(ours.bytes_fetched().values()) <= len(LARGE["data.eti"])
        nursery.cancel_scope.cancel()
    assert not any(read_game(tmp_path, "Large").values())
