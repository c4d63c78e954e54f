"""Storms, floods and silence on a session that has greeted."""

from __future__ import annotations

import struct

import pytest
import trio
from aioquic.quic.configuration import QuicConfiguration
from trio.testing import MockClock

from lanspread import limits
from lanspread.sync import codec
from tests.hostile.claims import delta, game_summary, summary
from tests.hostile.support import Scene, address_of, closed, open_virtual_node
from tests.peers.support import Events, forbid_dialing
from tests.protocol import independent, wire
from tests.protocol.independent import Session
from tests.protocol.links import Broken, LinkClosed, PipeReset, Refused, configuration
from tests.protocol.wire import Identity, message

PROTOCOL, STALE = 0x01, 0x06
BUFFER_LIMIT = 0x6C70_0001


async def test_a_storm_of_summaries_costs_few_fetches(
    autojump_clock: MockClock, scene: Scene, soak: bool
) -> None:
    """Positions that never come true: one fetch per pause, whatever is announced."""
    asked = 0
    async with open_virtual_node(scene.machine()) as node:
        serve = node.handlers["GetLibrary"]

        async def counting(session: Session, pipe: object, request: wire.Message) -> None:
            nonlocal asked
            asked += 1
            await serve(session, pipe, request)  # type: ignore[arg-type]

        node.handlers["GetLibrary"] = counting
        session = await node.dial(address_of(scene.victim))
        began = trio.current_time()
        for number in range(20_000 if soak else 2_000):
            session.control.send(summary(session, library_rev=2 + number))
            session.control.send(delta(session, to_rev=2 + number))
            if number % 20 == 0:
                await trio.sleep(0.05)
        await trio.sleep(1)
        await session.library()
        assert asked <= 2 + (trio.current_time() - began) / 0.1
    await scene.still_well()


async def test_what_is_dear_to_read_is_read_slowly(
    autojump_clock: MockClock, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that cost their sender nothing and us 50 ms each: a tenth of our time at most."""
    cost_s, read_at = 0.05, list[float]()
    real = codec.decode

    def decode(payload: bytes) -> object:
        if b"Costly" in payload:
            autojump_clock.jump(cost_s)
            read_at.append(trio.current_time())
        return real(payload)

    monkeypatch.setattr(codec, "decode", decode)
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        began = trio.current_time()
        for _ in range(100):
            session.control.send(message("Costly"))
        await trio.sleep(90)
        assert len(read_at) == 100
        for number, at in enumerate(read_at, 1):
            allowed = limits.READING_SAVED_S + limits.READING_SHARE * (at - began)
            assert (number - 1) * cost_s <= allowed + cost_s
    await scene.still_well()


async def test_a_storm_of_deltas_is_applied_in_batches(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """One every millisecond, each of them right: ten times a second there is something to do."""
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        await session.library()
        await trio.sleep(1)
        events = Events(scene.victim)
        games = {number: game_summary(f"Game{number}") for number in range(2)}
        library = node.library
        for number in range(1_500):
            now = games[number % 2]
            gone = [f"Game{(number + 1) % 2}"] if number else []
            change: dict[str, object] = {"added": [now], "updated": [], "removed": gone}
            session.control.send(
                delta(
                    session,
                    library_epoch=library.epoch,
                    from_rev=library.rev,
                    to_rev=library.rev + 1,
                    library_digest=wire.library_digest([now]),
                    **change,
                )
            )
            library.rev += 1
            await trio.sleep(0.001)
        with pytest.raises(trio.TooSlowError):
            await events.wait_for("nothing", within=1)
        assert len(events.of("library.updated")) <= 25
        assert session.link.closed is None
    await scene.still_well()


def _small_window(identity: Identity | None) -> QuicConfiguration:
    found = configuration(identity)
    found.max_stream_data = 32 * limits.KIB
    return found


async def test_a_storm_of_pings_that_is_not_read_ends_the_session(
    autojump_clock: MockClock, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pongs that are not read pile up to a bound, then the session is stale."""
    # So that little is enough.
    monkeypatch.setattr(limits, "MAX_CONNECTION_QUEUE_BYTES", 64 * limits.KIB)
    monkeypatch.setattr(limits, "MIN_CONNECTION_QUEUE_BYTES", 64 * limits.KIB)
    monkeypatch.setattr(independent, "configuration", _small_window)
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        for _ in range(30):
            session.control.send(message("Ping") * 100)
            await trio.sleep(0.005)
        await session.library()
        session.link.freeze_credit()
        with trio.fail_after(600):
            while session.link.closed is None:
                session.control.send(message("Ping") * 2_000)
                await trio.sleep(0.02)
        assert await closed(session.link) == (STALE, "the other side does not read")
    await scene.still_well()


async def test_endless_bytes_on_every_stream(
    autojump_clock: MockClock, scene: Scene, soak: bool
) -> None:
    """What is gathered of a frame is bounded, and what is behind its end is not waited for."""
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        pipes = [session.link.open() for _ in range(8)]
        for pipe in pipes:
            pipe.send(struct.pack(">I", limits.MAX_REQUEST_BYTES))
        for _ in range(60 if soak else 12):
            for pipe in pipes:
                pipe.send(bytes(100_000))
            await trio.sleep(0.1)
            assert scene.victim.statistics().buffered_bytes <= 16 * 2**20
        code, reason = await closed(session.link)
        assert (code, reason) == (PROTOCOL, "malformed CBOR: bytes after the end")
    await scene.still_well()


async def test_128_streams_without_a_request(autojump_clock: MockClock, scene: Scene) -> None:
    """Each is reset after its time; the next ones are served."""
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        pipes = [session.link.open() for _ in range(127)]
        for pipe in pipes:
            pipe.send(b"\0\0\1")
        began = trio.current_time()
        for pipe in pipes:
            with trio.fail_after(60), pytest.raises(PipeReset) as caught:
                await pipe.message()
            assert caught.value.code == 0x20
            pipe.reset()
        # 64 at a time.
        assert 19 < trio.current_time() - began < 25
        await session.library()
    await scene.still_well()


async def test_the_first_byte_withheld_on_128_streams(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """What cannot be read is bounded by credit, and by the bound on reassembly."""
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        for _ in range(127):
            pipe = session.link.open()
            pipe.send(message("ListGames") + bytes(140_000))
            pipe.withhold_first_byte()
        peak = 0
        with trio.move_on_after(40):
            while session.link.closed is None:
                await trio.sleep(0.05)
                peak = max(peak, scene.victim.statistics().buffered_bytes)
        assert 2**20 < peak <= 16 * 2**20
    await scene.still_well()


async def test_credit_ignored(autojump_clock: MockClock, scene: Scene) -> None:
    """More than the credit that was given: QUIC's own error, or our bound, ends it."""
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        pipe = session.link.open()
        pipe.send(message("ListGames") + bytes(30_000_000))
        pipe.withhold_first_byte()
        peak = 0
        with trio.fail_after(60):
            while session.link.closed is None:
                session.link.quic._remote_max_data = 1 << 40
                for stream in session.link.quic._streams.values():
                    stream.max_stream_data_remote = 1 << 40
                session.link.wake.set()
                await trio.sleep(0.005)
                peak = max(peak, scene.victim.statistics().buffered_bytes)
        ended = session.link.closed
        assert ended.error_code in (0x03, BUFFER_LIMIT), ended
        assert peak <= 16 * 2**20
    await scene.still_well()


async def test_streams_beyond_the_limit_and_of_the_wrong_kind(
    autojump_clock: MockClock, scene: Scene
) -> None:
    async with open_virtual_node(scene.machine()) as node:
        for stream_id in (4 * 5_000, 2):
            session = await node.dial(address_of(scene.victim))
            quic = session.link.quic
            quic._remote_max_streams_bidi = quic._remote_max_streams_uni = 1 << 40
            quic.send_stream_data(stream_id, b"x")
            quic._streams[stream_id].max_stream_data_remote = 1 << 20
            session.link.wake.set()
            with trio.fail_after(30), pytest.raises(LinkClosed) as caught:
                while True:
                    session.link.check()
                    await trio.sleep(0.05)
            assert not caught.value.application
            assert caught.value.code == 0x04  # STREAM_LIMIT_ERROR
            await trio.sleep(3.5)
    await scene.still_well()


async def test_a_session_that_goes_silent_is_stale(autojump_clock: MockClock, scene: Scene) -> None:
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        held = scene.victim.sessions.get(node.peer_id)
        assert held is not None
        # It would be found where it listens, and greeted anew.
        forbid_dialing(scene.victim)
        session.link.muted = True
        await trio.sleep(40)
        assert scene.victim.sessions.get(node.peer_id) is held
        await trio.sleep(10)
        assert scene.victim.sessions.get(node.peer_id) is None
    await scene.still_well()


async def test_an_attacker_never_gets_past_its_own_session(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """A refused session can be made again at once, and is a session like any other."""
    async with open_virtual_node(scene.machine()) as node:
        for _ in range(5):
            session = await node.dial(address_of(scene.victim))
            session.control.send(message("ListGames"))
            assert (await closed(session.link))[0] == PROTOCOL
            await trio.sleep(0.1)
        session = await node.dial(address_of(scene.victim))
        with pytest.raises((Broken, Refused)):
            await session.manifest("NoSuchGame")
        await session.library()
    await scene.still_well()
