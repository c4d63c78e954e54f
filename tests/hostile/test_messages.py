"""What may not come on a session that has greeted: frames, CBOR, control messages, streams."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.support import Scene, address_of, closed, open_virtual_node
from tests.protocol import wire
from tests.protocol.independent import Session
from tests.protocol.links import Broken, LinkClosed, PipeReset, Refused
from tests.protocol.wire import encode, frame, message

PROTOCOL, STALE = 0x01, 0x06
BUFFER_LIMIT = 0x6C70_0001
EPOCH, DIGEST = bytes(16), bytes(32)

# -- frames that are no message -------------------------------------------------------------------

TOO_MANY = encode({"type": "Ping", "x": [0] * 20_000})
NOT_A_MESSAGE: Mapping[str, tuple[bytes, str]] = {
    "a frame of 1 MiB and a byte": (frame(bytes(2**20 + 1)), "a frame of 1048577 bytes is longer"),
    "a frame of 2 MiB": (frame(bytes(2**21)), "a frame of 2097152 bytes is longer than allowed"),
    "a length of 4 GiB": (b"\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
    "nothing": (frame(b""), "malformed CBOR: cut short"),
    "zeros": (frame(bytes(2**20)), "malformed CBOR: bytes after the end"),
    "random bytes": (frame(b"\xff" + os.urandom(1_000)), "malformed CBOR"),
    "20,001 items": (frame(TOO_MANY), "malformed CBOR: more than 20000 items"),
    "a million empty arrays": (
        frame(b"\xa1\x64type\x9a\x00\x0f\x00\x00" + b"\x80" * 0xF0000),
        "malformed CBOR: more than 20000 items",
    ),
    "an array that claims 2^63 items": (
        frame(b"\xa1\x64type\x9b" + b"\x7f" * 8),
        "malformed CBOR: cut short",
    ),
    "a text that claims 2^63 bytes": (
        frame(b"\xa1\x64type\x7b" + b"\x7f" * 8),
        "malformed CBOR: cut short",
    ),
    "nested 17 deep": (
        frame(encode({"type": "Ping"})[:-4] + b"\x81" * 17 + b"\xf6"),
        "malformed CBOR",
    ),
    "nested 100,000 deep": (frame(b"\x81" * 100_000 + b"\xf6"), "malformed CBOR: nested deeper"),
    "maps 10,000 deep": (frame(b"\xa1\x61a" * 10_000 + b"\xf6"), "malformed CBOR: nested deeper"),
    "a bignum": (frame(b"\xa1\x61a\xc2\x42\x01\x00"), "malformed CBOR: tags are not used"),
    "a regular expression": (frame(b"\xa1\x61a\xd8\x23\x61("), "malformed CBOR: tags are not used"),
    "a shared reference": (frame(b"\xa1\x61a\xd8\x1d\x00"), "malformed CBOR: tags are not used"),
    "a decimal of 10^(2^63)": (
        frame(b"\xa1\x61a\xc4\x82\x1b\x7f" + b"\xff" * 7 + b"\x01"),
        "malformed CBOR: tags are not used",
    ),
    "an indefinite array": (frame(b"\xa1\x61a\x9f\xff"), "malformed CBOR: indefinite"),
    "an indefinite text": (frame(b"\xa1\x61a\x7f\x61x\xff"), "malformed CBOR: indefinite"),
    "a break alone": (frame(b"\xff"), "malformed CBOR"),
    "undefined": (frame(b"\xa1\x61a\xf7"), "malformed CBOR: a simple value"),
    "a simple value": (frame(b"\xa1\x61a\xf8\x20"), "malformed CBOR: a simple value"),
    "a key twice": (frame(b"\xa2\x61a\x01\x61a\x02"), "malformed CBOR: a key comes twice"),
    "a number as key": (frame(b"\xa1\x01\x02"), "malformed CBOR: a key is not text"),
    "text that is not UTF-8": (frame(b"\xa1\x61\xff\x02"), "malformed CBOR: not decodable"),
    "a surrogate": (frame(b"\xa1\x63\xed\xa0\x80\x02"), "malformed CBOR: not decodable"),
    "two messages in a frame": (
        frame(encode({"type": "Ping"}) * 2),
        "malformed CBOR: bytes after the end",
    ),
    "an array": (frame(encode(["Ping"])), "a message is not a map with a type"),
    "no type": (frame(encode({"typo": "Ping"})), "a message is not a map with a type"),
    "type as bytes": (frame(encode({"type": b"Ping"})), "a message is not a map with a type"),
    "a summary without fields": (message("LibrarySummary"), "malformed LibrarySummary: "),
    "a number as text": (
        message("NextPage", page="5"),
        "malformed NextPage: expected int, found str",
    ),
    "a boolean as number": (
        message("NextPage", page=True),
        "malformed NextPage: expected int, found bool",
    ),
}


async def _ignores(session: Session) -> None:
    """The session lives: it is asked something, and answers."""
    assert session.link.closed is None
    await session.library()


@pytest.mark.parametrize("name", NOT_A_MESSAGE)
async def test_frames_that_are_no_message(
    autojump_clock: MockClock, scene: Scene, name: str
) -> None:
    """On the control stream, as a request, and in place of a further page: the same end."""
    data, reason = NOT_A_MESSAGE[name]
    async with open_virtual_node(scene.machine()) as node:
        for place in ("control", "request"):
            session = await node.dial(address_of(scene.victim))
            await trio.sleep(3.5)
            (session.control if place == "control" else session.link.open()).send(data)
            code, seen = await closed(session.link, within=30)
            assert code == PROTOCOL
            assert seen.startswith(reason), seen
    await scene.still_well()


# -- control messages -----------------------------------------------------------------------------


def summary(session: Session, **fields: object) -> bytes:
    known = {
        "peer_id": session.node.peer_id,
        "library_epoch": EPOCH,
        "library_rev": 1,
        "library_digest": DIGEST,
        "game_count": 0,
    }
    return message("LibrarySummary", **(known | fields))


def delta(session: Session, **fields: object) -> bytes:
    known = {
        "peer_id": session.node.peer_id,
        "library_epoch": EPOCH,
        "from_rev": 1,
        "to_rev": 2,
        "library_digest": DIGEST,
        "added": [],
        "updated": [],
        "removed": [],
    }
    return message("LibraryDelta", **(known | fields))


Say = Callable[[Session, Scene], bytes]
MISPLACED = " does not belong on the control stream"
CONTROL: Mapping[str, tuple[Say, str]] = {
    "a second Hello": (
        lambda session, scene: message("Hello", body=b"", key=b"", proof=b""),
        "Hello" + MISPLACED,
    ),
    "HelloAck": (lambda session, scene: message("HelloAck", body=b""), "HelloAck" + MISPLACED),
    "a request": (lambda session, scene: message("ListGames"), "ListGames" + MISPLACED),
    "an answer": (lambda session, scene: message("NotModified"), "NotModified" + MISPLACED),
    "NextPage": (lambda session, scene: message("NextPage", page=0), "NextPage" + MISPLACED),
    "a summary of the bystander": (
        lambda session, scene: summary(session, peer_id=scene.bystander.peer_id),
        "a library message about somebody else",
    ),
    "a summary of the victim": (
        lambda session, scene: summary(session, peer_id=scene.victim.peer_id),
        "a library message about somebody else",
    ),
    "a delta of the bystander": (
        lambda session, scene: delta(session, peer_id=scene.bystander.peer_id),
        "a library message about somebody else",
    ),
    "the bystander's goodbye": (
        lambda session, scene: message("Goodbye", peer_id=scene.bystander.peer_id),
        "a goodbye of somebody else",
    ),
    "20,001 games": (
        lambda session, scene: summary(session, game_count=20_001),
        "malformed LibrarySummary: game_count is out of range",
    ),
    "a revision of 2^60": (
        lambda session, scene: summary(session, library_rev=2**60),
        "malformed LibrarySummary: library_rev is out of range",
    ),
    "a short epoch": (
        lambda session, scene: summary(session, library_epoch=b""),
        "malformed LibrarySummary: library_epoch is not 16 bytes long",
    ),
    "a long id removed": (
        lambda session, scene: delta(session, removed=["x" * 65]),
        "malformed LibraryDelta: removed has a long item",
    ),
    "numbers as games": (
        lambda session, scene: delta(session, added=[1, 2]),
        "malformed LibraryDelta: expected an array of byte strings",
    ),
}


@pytest.mark.parametrize("name", CONTROL)
async def test_control_messages_that_break_a_rule(
    autojump_clock: MockClock, scene: Scene, name: str
) -> None:
    say, reason = CONTROL[name]
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        session.control.send(say(session, scene))
        assert await closed(session.link) == (PROTOCOL, reason)
    await scene.still_well()


async def test_the_control_stream_may_not_end(autojump_clock: MockClock, scene: Scene) -> None:
    async with open_virtual_node(scene.machine()) as node:
        for end, reason in (
            (lambda session: session.control.send(b"", end=True), "the control stream ended"),
            (lambda session: session.control.reset(7), "the control stream was reset"),
            (
                lambda session: session.control.send(b"\0\0", end=True),
                "the stream ended inside a frame",
            ),
        ):
            session = await node.dial(address_of(scene.victim))
            end(session)
            assert await closed(session.link) == (PROTOCOL, reason)
            await trio.sleep(3.5)
        # Our half: they may not stop us from talking either.
        session = await node.dial(address_of(scene.victim))
        session.control.stop(7)
        await trio.sleep(0.2)
        session.control.send(message("Ping"))
        assert await closed(session.link) == (PROTOCOL, "the control stream was reset")
    await scene.still_well()


async def test_what_is_unknown_is_ignored(autojump_clock: MockClock, scene: Scene) -> None:
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        for number in range(1_000):
            session.control.send(message(f"Unknown{number}", peer_id=1, body=[{}]))
        session.control.send(message("Ping", more=1))
        session.control.send(summary(session, **node.library.position(), extra={"a": [None]}))
        await _ignores(session)
        with pytest.raises(Refused, match="Unsupported"):
            await session.ask("Unknown", deep=[[[]]]).answer("Nothing")
        for name in ("Pong", "NotModified"):
            with pytest.raises(Refused, match="Unsupported"):
                await session.ask(name).answer("Nothing")
        with pytest.raises(Refused, match="Unsupported"):
            await session.ask("GetBulkTicket").answer("BulkTicket")
        await _ignores(session)
    await scene.still_well()


# -- storms ---------------------------------------------------------------------------------------


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
        await _ignores(session)
        assert asked <= 2 + (trio.current_time() - began) / 0.1
    await scene.still_well()


async def test_a_storm_of_pings_that_is_not_read_ends_the_session(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """Pongs that are not read pile up to a bound, then the session is stale."""
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        for _ in range(100):
            session.control.send(message("Ping") * 100)
            await trio.sleep(0.005)
        await _ignores(session)
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
    """A frame that never ends is held to a MiB; bytes nobody asked for are thrown away."""
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        pipes = [session.link.open() for _ in range(8)]
        for pipe in pipes:
            pipe.send(struct.pack(">I", 2**20))
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
        await _ignores(session)
    await scene.still_well()


async def test_the_first_byte_withheld_on_128_streams(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """What cannot be read is bounded by credit, and by the bound on reassembly."""
    async with open_virtual_node(scene.machine()) as node:
        session = await node.dial(address_of(scene.victim))
        for _ in range(127):
            pipe = session.link.open()
            pipe.send(message("ListGames") + bytes(200_000))
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
        session.link.muted = True
        await trio.sleep(40)
        assert scene.victim.sessions.get(node.peer_id) is not None
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
        await _ignores(session)
    await scene.still_well()
