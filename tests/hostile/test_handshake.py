"""Hello as it must not be: each dialer sees the code that docs/protocol.md says."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import cbor2
import pytest
import trio
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from trio.testing import MockClock

from tests.hostile.support import Scene, address_of, closed, open_virtual_node
from tests.protocol import wire
from tests.protocol.independent import Node
from tests.protocol.links import Link, Pipe
from tests.protocol.wire import DOMAIN, Identity, frame, message, sha256

GOODBYE, PROTOCOL, INCOMPATIBLE, REFUSED, REPLACED, IDENTITY, STALE, SELF = range(8)
EMPTY = wire.encode({})


def hello(node: Node, link: Link, body: bytes | None = None, **fields: Any) -> bytes:
    """A Hello that is right but for `fields`."""
    body = node.body() if body is None else body
    known = {
        "body": body,
        "key": node.identity.spki,
        "proof": node.identity.prove(link.peer_spki, body),
    }
    return message("Hello", **(known | fields))


Attack = Callable[[Node, Link, Scene], Awaitable[bytes]]


def says(**fields: Any) -> Attack:
    async def attack(node: Node, link: Link, scene: Scene) -> bytes:
        return hello(node, link, **fields)

    return attack


def claims(**fields: object) -> Attack:
    """A body with these fields, signed as it should be."""

    async def attack(node: Node, link: Link, scene: Scene) -> bytes:
        node.claims = fields
        return hello(node, link)

    return attack


def sends(data: bytes) -> Attack:
    async def attack(node: Node, link: Link, scene: Scene) -> bytes:
        return data

    return attack


async def proof_for_another_listener(node: Node, link: Link, scene: Scene) -> bytes:
    other = Identity()
    body = node.body()
    return hello(node, link, body, proof=node.identity.prove(other.spki, body))


async def replayed(node: Node, link: Link, scene: Scene) -> bytes:
    """What a man in the middle would pass on: a Hello that the bystander's key signed to us."""
    victim = Identity()
    body = wire.encode({**cbor2.loads(node.body()), "peer_id": victim.peer_id})
    return message(
        "Hello", body=body, key=victim.spki, proof=victim.prove(node.identity.spki, body)
    )


async def another_body(node: Node, link: Link, scene: Scene) -> bytes:
    return hello(node, link, node.body() + b"", proof=node.identity.prove(link.peer_spki, b"other"))


async def without_domain(node: Node, link: Link, scene: Scene) -> bytes:
    body = node.body()
    signed = sha256(link.peer_spki) + body
    return hello(node, link, body, proof=node.identity.key.sign(signed, ec.ECDSA(hashes.SHA256())))


async def compressed_key(node: Node, link: Link, scene: Scene) -> bytes:
    """The same point in a form of its own, for which peer_id would be another."""
    point = node.identity.key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    return hello(node, link, key=head + point)


async def p384(node: Node, link: Link, scene: Scene) -> bytes:
    key = ec.generate_private_key(ec.SECP384R1())
    body = node.body()
    proof = key.sign(DOMAIN + sha256(link.peer_spki) + body, ec.ECDSA(hashes.SHA256()))
    return hello(node, link, body, key=wire.spki_of(key.public_key()), proof=proof)


async def ed(node: Node, link: Link, scene: Scene) -> bytes:
    key = ed25519.Ed25519PrivateKey.generate()
    body = node.body()
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    proof = key.sign(DOMAIN + sha256(link.peer_spki) + body)
    return hello(node, link, body, key=spki, proof=proof)


async def of_the_bystander(node: Node, link: Link, scene: Scene) -> bytes:
    node.claims = {"peer_id": scene.bystander.peer_id}
    return hello(node, link)


async def of_the_victim(node: Node, link: Link, scene: Scene) -> bytes:
    node.claims = {"peer_id": scene.victim.peer_id}
    return hello(node, link)


def body_of(version: int) -> bytes:
    return wire.encode({"proto_ver": version, "what": "a later version has other fields"})


DEEP = b"\x81" * 17 + b"\xf6"
WRONG_BODY = "malformed HelloBody: "

ATTACKS: Mapping[str, tuple[Attack, int, str]] = {
    "no proof": (says(proof=b""), IDENTITY, ""),
    "random proof": (says(proof=os.urandom(71)), IDENTITY, ""),
    "huge proof": (says(proof=bytes(1_025)), PROTOCOL, "malformed Hello: proof"),
    "proof for another listener": (proof_for_another_listener, IDENTITY, ""),
    "replayed Hello": (replayed, IDENTITY, ""),
    "proof of another body": (another_body, IDENTITY, ""),
    "proof without its domain": (without_domain, IDENTITY, ""),
    "no key": (says(key=b""), IDENTITY, ""),
    "key with a byte behind it": (
        lambda node, link, scene: says(key=node.identity.spki + b"\0")(node, link, scene),
        IDENTITY,
        "",
    ),
    "compressed key": (compressed_key, IDENTITY, ""),
    "P-384": (p384, IDENTITY, ""),
    "Ed25519": (ed, IDENTITY, ""),
    "the bystander's peer_id": (of_the_bystander, IDENTITY, "the peer_id is not that of the key"),
    "the victim's peer_id": (of_the_victim, IDENTITY, "the peer_id is not that of the key"),
    "peer_id in upper case": (
        lambda node, link, scene: claims(peer_id=node.peer_id.upper())(node, link, scene),
        IDENTITY,
        "the peer_id is not that of the key",
    ),
    "version 2": (claims(proto_ver=2), INCOMPATIBLE, "one side speaks protocol 2, the other 3"),
    "version 4 with other fields": (
        says(body=body_of(4)),
        INCOMPATIBLE,
        "one side speaks protocol 4, the other 3",
    ),
    "version -1": (claims(proto_ver=-1), INCOMPATIBLE, "one side speaks protocol -1, the other 3"),
    "version true": (claims(proto_ver=True), PROTOCOL, "a body without proto_ver"),
    "version 3.0": (claims(proto_ver=3.0), PROTOCOL, "a body without proto_ver"),
    "no version": (says(body=EMPTY), PROTOCOL, "a body without proto_ver"),
    "a body that is no map": (says(body=b"\x80"), PROTOCOL, "a body without proto_ver"),
    "a body that is nothing": (says(body=b""), PROTOCOL, "malformed CBOR"),
    "a body with bytes behind it": (says(body=EMPTY + b"\0"), PROTOCOL, "malformed CBOR"),
    "a deep body": (says(body=DEEP), PROTOCOL, "malformed CBOR: nested deeper than 16"),
    "a huge body": (says(body=bytes(64 * 1024 + 1)), PROTOCOL, "malformed Hello: body"),
    "instance too short": (claims(instance=b"1"), PROTOCOL, WRONG_BODY + "instance"),
    "instance as text": (claims(instance="x" * 16), PROTOCOL, WRONG_BODY),
    "name as bytes": (claims(name=b"x"), PROTOCOL, WRONG_BODY),
    "a long name": (claims(name="x" * 129), PROTOCOL, WRONG_BODY + "name"),
    "nine addresses": (claims(listen_addrs=["10.0.0.9:1"] * 9), PROTOCOL, WRONG_BODY),
    "a long address": (claims(listen_addrs=["1" * 129]), PROTOCOL, WRONG_BODY),
    "65 features": (claims(features={str(n): n for n in range(65)}), PROTOCOL, WRONG_BODY),
    "a negative revision": (claims(library_rev=-1), PROTOCOL, WRONG_BODY + "library_rev"),
    "a Ping first": (sends(message("Ping")), PROTOCOL, "the first message is no Hello"),
    "a request first": (sends(message("ListGames")), PROTOCOL, "the first message is no Hello"),
    "an unknown message first": (sends(message("Hi")), PROTOCOL, "the first message is no Hello"),
    "HelloAck first": (sends(message("HelloAck", body=b"")), PROTOCOL, "the first message is no"),
    "a frame of 2 MiB": (
        sends(frame(bytes(2 * 1024 * 1024))),
        PROTOCOL,
        "a frame of 2097152 bytes is longer than allowed",
    ),
    "a length of 2^32 - 1": (sends(b"\xff" * 4), PROTOCOL, "a frame of 4294967295 bytes"),
    "an empty frame": (sends(frame(b"")), PROTOCOL, "malformed CBOR: cut short"),
    "HTTP": (sends(b"GET / HTTP/1.1\r\n\r\n"), PROTOCOL, "a frame of 1195725856 bytes"),
    "noise": (sends(frame(os.urandom(200))), PROTOCOL, "malformed CBOR"),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_dialer_that_greets_wrongly(
    autojump_clock: MockClock, scene: Scene, name: str
) -> None:
    attack, code, reason = ATTACKS[name]
    async with open_virtual_node(scene.machine()) as node:
        link = await node.connect(address_of(scene.victim))
        control = link.open()
        control.send(await attack(node, link, scene))
        seen = await closed(link, within=5)
        assert seen[0] == code
        assert seen[1].startswith(reason)
        assert seen[1]
        assert scene.victim.directory.get(node.peer_id) is None
    await scene.still_well()


async def _nothing(node: Node, link: Link) -> None:
    pass


async def _a_stream_and_nothing(node: Node, link: Link) -> None:
    link.open().send(b"\0")


async def _half(node: Node, link: Link) -> None:
    link.open().send(hello(node, link)[:100])


async def _drips(node: Node, link: Link) -> None:
    pipe = link.open()
    for byte in hello(node, link):
        pipe.send(bytes([byte]))
        await trio.sleep(1)


async def _withholds(node: Node, link: Link) -> None:
    pipe = link.open()
    pipe.send(hello(node, link))
    pipe.withhold_first_byte()


@pytest.mark.parametrize("silence", [_nothing, _a_stream_and_nothing, _half, _drips, _withholds])
async def test_a_hello_that_does_not_come(
    autojump_clock: MockClock, scene: Scene, silence: Callable[[Node, Link], Awaitable[None]]
) -> None:
    async with open_virtual_node(scene.machine()) as node, trio.open_nursery() as nursery:
        link = await node.connect(address_of(scene.victim))
        began = trio.current_time()
        nursery.start_soon(silence, node, link)
        assert await closed(link) == (PROTOCOL, "no Hello came")
        assert 9.5 < trio.current_time() - began < 11
        nursery.cancel_scope.cancel()
    await scene.still_well()


async def test_a_hello_in_pieces_is_taken(autojump_clock: MockClock, scene: Scene) -> None:
    async with open_virtual_node(scene.machine()) as node:
        link = await node.connect(address_of(scene.victim))
        control = link.open()
        for byte in hello(node, link):
            control.send(bytes([byte]))
            await trio.sleep(0.005)
        assert (await control.answer("HelloAck"))["type"] == "HelloAck"
    await scene.still_well()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda pipe: pipe.send(b"", end=True), "the first message is no Hello"),
        (lambda pipe: pipe.send(b"\0\0", end=True), "the stream ended inside a frame"),
        (lambda pipe: pipe.reset(), "the control stream was reset"),
    ],
)
async def test_a_control_stream_that_ends_before_hello(
    autojump_clock: MockClock, scene: Scene, end: Callable[[Pipe], None], reason: str
) -> None:
    async with open_virtual_node(scene.machine()) as node:
        link = await node.connect(address_of(scene.victim))
        pipe = link.open()
        end(pipe)
        assert await closed(link) == (PROTOCOL, reason)
    await scene.still_well()


async def test_too_many_requests_before_the_answer(autojump_clock: MockClock, scene: Scene) -> None:
    async with open_virtual_node(scene.machine()) as node:
        link = await node.connect(address_of(scene.victim))
        control = link.open()
        for _ in range(17):
            link.open().send(message("ListGames"), end=True)
        await trio.sleep(1)
        control.send(hello(node, link))
        assert await closed(link) == (
            PROTOCOL,
            "too many requests before the handshake was done",
        )
    await scene.still_well()


async def test_a_thousand_greetings_of_one_identity(
    autojump_clock: MockClock, scene: Scene, soak: bool
) -> None:
    """A new instance at every dial: each replaces the one before, and none piles up."""
    async with open_virtual_node(scene.machine()) as node:
        sessions = []
        for _ in range(1_000 if soak else 50):
            node.instance = os.urandom(16)
            sessions.append(await node.dial(address_of(scene.victim)))
        for session in sessions[:-1]:
            assert (await closed(session.link))[0] == REPLACED
        assert sessions[-1].link.closed is None
        assert scene.victim.statistics().connections < 10
    await scene.still_well()
