"""Lanes between our peer and one that was written from docs/protocol.md alone, on loopback."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from lanspread import limits
from tests.protocol.independent import Session, open_node
from tests.protocol.lanes import (
    BROKEN,
    Lane,
    Serve,
    Taker,
    brought_lane,
    knock_at,
    lane_port,
    serve_chunks,
    shake_hands,
    taking_lanes,
)
from tests.protocol.links import Refused
from tests.protocol.test_independent import (
    BLOCK,
    FILES,
    download,
    open_ours,
    port_of,
    read_game,
    until_listed,
    write_game,
)
from tests.protocol.wire import Game, Identity, Message, message

PATHS = sorted(FILES, key=str.encode)
# The sentinel is asked for by itself.
IN_CHUNKS = sum(len(data) for path, data in FILES.items() if path != "version.ini")
Knock = Callable[[int, bytes], Awaitable[trio.SocketStream]]


@pytest.fixture
async def knock() -> AsyncIterator[Knock]:
    """`knock_at`, and the end of every connection that came of it."""
    opened: list[trio.SocketStream] = []

    async def knock(port: int, first: bytes) -> trio.SocketStream:
        opened.append(await knock_at(port, first))
        return opened[-1]

    yield knock
    for stream in opened:
        stream.socket.close()


@asynccontextmanager
async def serving_ours(folder: Path) -> AsyncIterator[tuple[Session, Message]]:
    """A session with our peer, which has Quake, and the game's summary."""
    write_game(folder, "Quake")
    async with open_ours(folder) as ours, open_node() as node:
        session = await node.dial(port_of(ours))
        yield session, await until_listed(session, "Quake")


# -- brought to ours ------------------------------------------------------------------------------


async def test_chunks_come_on_a_lane(tmp_path: Path) -> None:
    async with serving_ours(tmp_path) as (session, game), brought_lane(session) as lane:
        whole = [[number, 0, len(FILES[path])] for number, path in enumerate(PATHS) if FILES[path]]
        expected = b"".join(FILES[path] for path in PATHS)
        assert await lane.chunk("Quake", game["manifest_hash"], whole) == expected
        for code, id, manifest_hash in (
            ("NotFound", "Doom", game["manifest_hash"]),
            ("Changed", "Quake", bytes(32)),
        ):
            with pytest.raises(Refused) as caught:
                await lane.chunk(id, manifest_hash, whole)
            assert caught.value.code == code
        assert (
            await lane.chunk("Quake", game["manifest_hash"], whole[:1]) == expected[: whole[0][2]]
        )


async def test_a_lane_ends_with_its_session(tmp_path: Path) -> None:
    async with serving_ours(tmp_path) as (session, _), brought_lane(session) as lane:
        session.link.close()
        with trio.fail_after(5):
            assert await lane.is_cut()


async def test_the_stream_of_a_lane_ends_with_it(tmp_path: Path, knock: Knock) -> None:
    async with serving_ours(tmp_path) as (session, _):
        pipe = session.ask("GetBulkTicket")
        ticket = await pipe.answer("BulkTicket")
        lane, _ = await shake_hands(await knock(lane_port(session), ticket["id"]))
        await lane.tls.send_all(ticket["secret"])
        await trio.aclose_forcefully(lane.tls)
        with trio.fail_after(5):
            await pipe.end()


async def test_a_session_has_so_many_lanes_and_no_more(tmp_path: Path) -> None:
    async with serving_ours(tmp_path) as (session, _):
        held = [session.ask("GetBulkTicket") for _ in range(limits.MAX_LANES_PER_SESSION)]
        for pipe in held:
            await pipe.answer("BulkTicket")
        with pytest.raises(Refused) as caught:
            await session.ask("GetBulkTicket").answer("BulkTicket")
        assert caught.value.code == "Busy"


async def test_a_ticket_is_good_once(tmp_path: Path, knock: Knock) -> None:
    async with serving_ours(tmp_path) as (session, game):
        port = lane_port(session)
        ticket = await session.ask("GetBulkTicket").answer("BulkTicket")
        # Overheard: whoever has only the id cannot spend it, nor spoil it.
        thief, _ = await shake_hands(await knock(port, ticket["id"]))
        early, _ = await shake_hands(await knock(port, ticket["id"]))
        await thief.tls.send_all(os.urandom(32))
        assert await thief.is_cut()
        lane, peer_id = await shake_hands(await knock(port, ticket["id"]))
        assert peer_id == session.peer_id
        await lane.tls.send_all(ticket["secret"])
        assert await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])
        # Both who came before it was spent and who comes after.
        await early.tls.send_all(ticket["secret"])
        assert await early.is_cut()
        assert await is_shut_out(knock, port, ticket["id"])
        assert await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])


async def is_shut_out(knock: Knock, port: int, first: bytes) -> bool:
    """Whether a connection is ended without a byte, before TLS."""
    with trio.fail_after(limits.LANE_ADMISSION_S + 5):
        try:
            async with await knock(port, first) as stream:
                return not await stream.receive_some(1)
        except BROKEN:
            return True


async def test_a_ticket_of_another_peer_is_worth_nothing(tmp_path: Path, knock: Knock) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with (
        serving_ours(tmp_path / "one") as (session, _),
        serving_ours(tmp_path / "other") as (another, _),
    ):
        ticket = await another.ask("GetBulkTicket").answer("BulkTicket")
        assert await is_shut_out(knock, lane_port(session), ticket["id"])
        # And the ticket of a session is gone with it.
        mine = await session.ask("GetBulkTicket").answer("BulkTicket")
        session.link.close()
        await trio.sleep(0.2)
        assert await is_shut_out(knock, lane_port(session), mine["id"])


async def test_older_tls_is_refused(tmp_path: Path, knock: Knock) -> None:
    async with serving_ours(tmp_path) as (session, _):
        ticket = await session.ask("GetBulkTicket").answer("BulkTicket")
        with pytest.raises(BROKEN):
            await shake_hands(
                await knock(lane_port(session), ticket["id"]), newest=ssl.TLSVersion.TLSv1_2
            )
        # It was nobody's mistake but that dialer's.
        lane, _ = await shake_hands(await knock(lane_port(session), ticket["id"]))
        await lane.tls.send_all(ticket["secret"])
        with pytest.raises(Refused):
            await lane.chunk("Quake", bytes(32), [[0, 0, 1]])


@pytest.mark.parametrize(
    "first",
    [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", os.urandom(16), os.urandom(4_096)],
    ids=["nothing", "TLS at once", "unknown", "noise"],
)
async def test_who_has_no_ticket_is_shut_out(tmp_path: Path, knock: Knock, first: bytes) -> None:
    async with serving_ours(tmp_path) as (session, _):
        assert await is_shut_out(knock, lane_port(session), first)


async def test_noise_behind_the_id_of_a_ticket(tmp_path: Path, knock: Knock) -> None:
    async with serving_ours(tmp_path) as (session, _):
        ticket = await session.ask("GetBulkTicket").answer("BulkTicket")
        stream = await knock(lane_port(session), ticket["id"] + os.urandom(500))
        with trio.fail_after(5):
            # An alert, then the end.
            with suppress(*BROKEN):
                while await stream.receive_some(1_000):
                    continue
        assert session.link.closed is None


@pytest.mark.parametrize(
    "said",
    [
        message("Ping"),
        message("GetGame", id="Quake", known_manifest_hash=None, known_content_hash=None),
        message("GetGameFileChunk", id="Quake", manifest_hash=bytes(32), extents=[[0, 0, 2**40]]),
        b"\xff\xff\xff\xff",
        b"\0\0\0\x05noise",
    ],
    ids=["control", "another request", "too much", "a long frame", "no CBOR"],
)
async def test_what_does_not_belong_on_a_lane_ends_the_session(tmp_path: Path, said: bytes) -> None:
    async with serving_ours(tmp_path) as (session, _), brought_lane(session) as lane:
        await lane.tls.send_all(said)
        with trio.fail_after(5):
            await session.link.over.wait()
        assert session.link.closed is not None
        assert session.link.closed.error_code == 0x01


async def test_who_stops_in_the_middle_costs_nobody_else(tmp_path: Path) -> None:
    async with serving_ours(tmp_path) as (session, game), brought_lane(session) as lane:
        async with brought_lane(session) as other:
            await other.tls.send_all(
                message(
                    "GetGameFileChunk",
                    id="Quake",
                    manifest_hash=game["manifest_hash"],
                    extents=[[0, 0, BLOCK]],
                )
            )
        assert len(await lane.chunk("Quake", game["manifest_hash"], [[0, 0, BLOCK]])) == BLOCK
        assert session.link.closed is None


async def test_a_file_that_changed_is_a_clear_answer(tmp_path: Path) -> None:
    async with serving_ours(tmp_path) as (session, game), brought_lane(session) as lane:
        number = next(number for number, path in enumerate(PATHS) if len(FILES[path]) > BLOCK)
        file = tmp_path / "games" / "Quake" / PATHS[number]
        os.truncate(file, len(FILES[PATHS[number]]) - 1)
        for extents in ([[number, 0, BLOCK]], [[number, 0, 1]]):
            with pytest.raises(Refused) as caught:
                await lane.chunk("Quake", game["manifest_hash"], extents)
            assert caught.value.code == "Changed"


def put_large_file(folder: Path) -> list[list[int]]:
    """More than any buffer on the way holds, behind the others of Quake; its extents."""
    file = folder / "games" / "Quake" / "zz.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(limits.MAX_CHUNK_BYTES))
    return [[len(PATHS), 0, limits.MAX_CHUNK_BYTES]]


async def ask_and_read_nothing(lane: Lane, game: Message, extents: list[list[int]]) -> None:
    await lane.tls.send_all(
        message(
            "GetGameFileChunk", id="Quake", manifest_hash=game["manifest_hash"], extents=extents
        )
    )
    assert (await lane.message())["type"] == "ChunkData"


async def test_who_would_wait_for_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that send are busy with one who does not read: the answer is Busy, not silence."""
    monkeypatch.setattr(limits, "MAX_LANES_SENDING", 1)
    monkeypatch.setattr(limits, "LANE_QUEUE_S", 0.2)
    large = put_large_file(tmp_path)
    async with serving_ours(tmp_path) as (session, game), brought_lane(session) as lane:
        async with brought_lane(session) as idler:
            await ask_and_read_nothing(idler, game, large)
            with pytest.raises(Refused) as caught:
                await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])
            assert caught.value.code == "Busy"
        assert await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])


async def test_more_identities_of_one_host_get_no_more_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two turns is left for somebody at another address."""
    monkeypatch.setattr(limits, "MAX_LANES_SENDING", 2)
    monkeypatch.setattr(limits, "LANE_QUEUE_S", 0.2)
    large = put_large_file(tmp_path)
    write_game(tmp_path, "Quake")
    async with open_ours(tmp_path) as ours, open_node() as one, open_node() as other:
        first = await one.dial(port_of(ours))
        second = await other.dial(port_of(ours))
        assert first.link is not second.link
        game = await until_listed(first, "Quake")
        async with brought_lane(first) as idler, brought_lane(second) as lane:
            await ask_and_read_nothing(idler, game, large)
            with pytest.raises(Refused) as caught:
                await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])
            assert caught.value.code == "Busy"


async def test_a_lane_on_which_nothing_is_asked_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LANE_IDLE_S", 0.2)
    async with serving_ours(tmp_path) as (session, game):
        async with brought_lane(session) as lane:
            assert await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])
            with trio.fail_after(5):
                assert await lane.is_cut()
        assert session.link.closed is None
        async with brought_lane(session) as lane:
            assert await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])


async def test_a_thousand_connections_keep_nobody_out_for_long(tmp_path: Path) -> None:
    """They hold bounded slots for a few seconds, from whatever address, and then none."""
    async with serving_ours(tmp_path) as (session, game):
        port = lane_port(session)
        before = len(os.listdir("/proc/self/fd"))
        crowd: list[trio.SocketStream] = []
        for number in range(1_000):
            connection = trio.socket.socket(socket.AF_INET)
            await connection.bind((f"127.0.1.{number % 200 + 1}", 0))
            await connection.connect(("127.0.0.1", port))
            crowd.append(trio.SocketStream(connection))
        ended = 0
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:

                async def wait_for_end(stream: trio.SocketStream) -> None:
                    nonlocal ended
                    with suppress(trio.BrokenResourceError):
                        await stream.receive_some(1)
                    ended += 1

                for stream in crowd:
                    nursery.start_soon(wait_for_end, stream)
                while ended < 1_000 - limits.MAX_LANES_PENDING:
                    await trio.sleep(0.01)
                # The others still say nothing and are waited for: both ends are in this process.
                assert len(os.listdir("/proc/self/fd")) - before <= 1_000 + limits.MAX_LANES_PENDING
                while ended < 1_000:
                    await trio.sleep(0.05)
        for stream in crowd:
            await trio.aclose_forcefully(stream)
        async with brought_lane(session) as lane:
            assert await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])


async def test_one_address_has_few_places_at_the_door(tmp_path: Path, knock: Knock) -> None:
    async with serving_ours(tmp_path) as (session, game):
        port = lane_port(session)
        silent = [await knock(port, b"slow") for _ in range(limits.MAX_LANES_PENDING_PER_HOST)]
        assert await is_shut_out(knock, port, b"one too many")
        with trio.fail_after(limits.LANE_ADMISSION_S + 5):
            for stream in silent:
                assert not await stream.receive_some(1)
        async with brought_lane(session) as lane:
            assert await lane.chunk("Quake", game["manifest_hash"], [[0, 0, 1]])


# -- taken from ours ------------------------------------------------------------------------------


async def test_ours_brings_lanes_and_fetches_on_them(tmp_path: Path) -> None:
    game = Game.of("Quake", "1.0", FILES, BLOCK)
    over_quic: list[object] = []
    async with (
        open_node([game]) as node,
        taking_lanes(node, tmp_path) as taker,
        open_ours(tmp_path) as ours,
    ):
        serve_chunk = node.handlers["GetGameFileChunk"]

        async def count(session: Session, pipe: object, request: Message) -> None:
            over_quic.append(request)
            await serve_chunk(session, pipe, request)  # type: ignore[arg-type]

        node.handlers["GetGameFileChunk"] = count
        await node.dial(port_of(ours))
        assert await download(ours, "Quake") == ("download.finished", [])
        assert taker.chunks > 0
        assert over_quic == []
        assert ours.bytes_fetched() == {"quic": 0, "bulk": IN_CHUNKS}
    assert read_game(tmp_path, "Quake") == FILES


async def cut_at_once(taker: Taker, lane: Lane) -> None:
    taker.chunks += 1


async def cut_in_the_middle(taker: Taker, lane: Lane) -> None:
    request = await lane.message()
    size = sum(extent[2] for extent in request["extents"])
    taker.chunks += 1
    await lane.tls.send_all(message("ChunkData", size=size) + b"x" * (size // 2))


async def refuse(taker: Taker, lane: Lane) -> None:
    while True:
        await lane.message()
        taker.chunks += 1
        await lane.tls.send_all(message("Error", code="Busy", message="not now"))
        if taker.chunks > 2:
            await serve_chunks(taker, lane)


@pytest.mark.parametrize("serve", [cut_at_once, cut_in_the_middle, refuse])
async def test_a_lane_that_fails_costs_no_block(tmp_path: Path, serve: Serve) -> None:
    game = Game.of("Quake", "1.0", FILES, BLOCK)
    async with (
        open_node([game]) as node,
        taking_lanes(node, tmp_path, serve=serve) as taker,
        open_ours(tmp_path) as ours,
    ):
        await node.dial(port_of(ours))
        assert await download(ours, "Quake") == ("download.finished", [])
        assert taker.chunks > 0
        # What did not come whole is not counted, and what came instead is: once.
        fetched = ours.bytes_fetched()
        assert fetched["quic"] + fetched["bulk"] == IN_CHUNKS
        assert (fetched["bulk"] == 0) is (serve is not refuse)
    assert read_game(tmp_path, "Quake") == FILES


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_secret_for_somebody_else(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    """Who shows another key, or speaks older TLS, hears nothing; the game comes over QUIC."""
    game = Game.of("Quake", "1.0", FILES, BLOCK)
    other = Identity() if newest is ssl.TLSVersion.TLSv1_3 else None
    async with (
        open_node([game]) as node,
        taking_lanes(node, tmp_path, identity=other, newest=newest) as taker,
        open_ours(tmp_path) as ours,
    ):
        await node.dial(port_of(ours))
        assert await download(ours, "Quake") == ("download.finished", [])
        assert taker.knocks > 0
        assert taker.secrets == []


@pytest.mark.parametrize("port", [80, 0, -1, 70_000, "7373", True, None])
async def test_a_port_that_cannot_be_one_is_never_dialed(tmp_path: Path, port: object) -> None:
    game = Game.of("Quake", "1.0", FILES, BLOCK)
    asked = []

    async def ticket(session: Session, pipe: object, request: Message) -> None:
        asked.append(request)

    async with open_node([game]) as node, open_ours(tmp_path) as ours:
        node.claims["features"] = {"bulk_port": port}
        node.handlers["GetBulkTicket"] = ticket
        await node.dial(port_of(ours))
        assert await download(ours, "Quake") == ("download.finished", [])
        assert asked == []


async def test_noise_on_a_lane_ends_the_session(tmp_path: Path) -> None:
    async def noise(taker: Taker, lane: Lane) -> None:
        await lane.message()
        await lane.tls.send_all(message("Pong"))

    game = Game.of("Quake", "1.0", FILES, BLOCK)
    async with (
        open_node([game]) as node,
        taking_lanes(node, tmp_path, serve=noise),
        open_ours(tmp_path) as ours,
        trio.open_nursery() as nursery,
    ):
        session = await node.dial(port_of(ours))
        nursery.start_soon(download, ours, "Quake")
        with trio.fail_after(10):
            await session.link.over.wait()
        assert session.link.closed is not None
        assert session.link.closed.error_code == 0x01
        nursery.cancel_scope.cancel()


async def test_a_listener_that_never_answers_holds_nothing_up(tmp_path: Path) -> None:
    """Its port takes connections, and nobody ever reads from them: as behind some firewalls."""
    game = Game.of("Quake", "1.0", FILES, BLOCK)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with open_node([game]) as node, open_ours(tmp_path) as ours:
            node.claims["features"] = {"bulk_port": silent.getsockname()[1]}
            taker = Taker(node, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), serve_chunks)
            node.handlers["GetBulkTicket"] = taker.give_ticket
            await node.dial(port_of(ours))
            with trio.fail_after(5):
                assert await download(ours, "Quake") == ("download.finished", [])
