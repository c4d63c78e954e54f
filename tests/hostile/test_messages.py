"""What may not come on a session that has greeted: frames, CBOR, control messages, streams."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from tests.hostile.claims import delta, summary
from tests.hostile.support import Scene, address_of, closed, open_virtual_node
from tests.protocol.independent import Session
from tests.protocol.links import Refused
from tests.protocol.wire import encode, frame, message

PROTOCOL = 0x01

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
            if place == "request" and len(data) - 4 > limits.MAX_REQUEST_BYTES:
                reason = f"a frame of {int.from_bytes(data[:4])} bytes is longer than allowed"
            assert seen.startswith(reason), seen
    await scene.still_well()


# -- control messages -----------------------------------------------------------------------------


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
        ends: tuple[tuple[Callable[[Session], None], str], ...] = (
            (lambda session: session.control.send(b"", end=True), "the control stream ended"),
            (lambda session: session.control.reset(7), "the control stream was reset"),
            (
                lambda session: session.control.send(b"\0\0", end=True),
                "the stream ended inside a frame",
            ),
        )
        for end, reason in ends:
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
