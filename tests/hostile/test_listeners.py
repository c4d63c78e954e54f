"""A listener that we dial and that is not, or does not do, what it should."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import cbor2
import pytest
import trio
from trio.testing import MockClock

from lanspread.commands import ConnectPeer
from lanspread.errors import LanspreadError
from lanspread.seams import Address, Advertisement
from lanspread.views import PeerState
from tests.hostile.support import Scene, closed, open_virtual_node
from tests.peers.support import until
from tests.protocol import wire
from tests.protocol.independent import Node
from tests.protocol.links import Link, Pipe
from tests.protocol.wire import Identity, frame, message

GOODBYE, PROTOCOL, INCOMPATIBLE, IDENTITY = 0, 1, 2, 5
WRONG_BODY = "malformed HelloBody: "


async def test_a_listener_of_the_victims_own_key_is_a_clone(
    autojump_clock: MockClock, scene: Scene
) -> None:
    async with open_virtual_node(scene.machine()) as node:
        host, port = node.address
        state = scene.folder / "victim/state"
        assert any(state.iterdir())
        node.identity.key = scene.victim._identity.private_key
        node.identity.certificate = scene.victim._identity.certificate
        node.identity.spki = wire.spki_of(node.identity.key.public_key())
        node.peer_id = scene.victim.peer_id
        with pytest.raises(LanspreadError) as caught:
            await scene.victim.execute(ConnectPeer(address=f"{host}:{port}"))
        assert caught.value.code == "refused"
    await scene.still_well()


Answer = Callable[[Node, Link, Pipe], Awaitable[None]]


def answers(data: bytes) -> Answer:
    async def answer(node: Node, link: Link, control: Pipe) -> None:
        control.send(data)

    return answer


def acks(**fields: object) -> Answer:
    async def answer(node: Node, link: Link, control: Pipe) -> None:
        node.claims = fields
        control.send(message("HelloAck", body=node.body()))

    return answer


async def ack_as_the_bystander(node: Node, link: Link, control: Pipe) -> None:
    body: dict[str, Any] = cbor2.loads(node.body())
    body["peer_id"] = "00000000-0000-8000-8000-000000000000"
    control.send(message("HelloAck", body=wire.encode(body)))


async def resets(node: Node, link: Link, control: Pipe) -> None:
    control.reset(0x20)


async def ends(node: Node, link: Link, control: Pipe) -> None:
    control.send(b"", end=True)


INBOUND: Mapping[str, tuple[Answer, int, str]] = {
    "another's peer_id": (ack_as_the_bystander, IDENTITY, "the peer_id is not that of the key"),
    "version 9": (acks(proto_ver=9), INCOMPATIBLE, "one side speaks protocol 9, the other 3"),
    "a long name": (acks(name="x" * 129), PROTOCOL, WRONG_BODY),
    "no body": (answers(message("HelloAck", body=b"")), PROTOCOL, "malformed CBOR"),
    "Hello": (
        answers(message("Hello", body=b"", key=b"", proof=b"")),
        PROTOCOL,
        "the first answer is no HelloAck",
    ),
    "gibberish": (answers(frame(os.urandom(99))), PROTOCOL, "malformed CBOR"),
    "a frame of 2 MiB": (answers(frame(bytes(2**21))), PROTOCOL, "a frame of 2097152 bytes"),
    "a reset": (resets, PROTOCOL, "the control stream was reset"),
    "an end": (ends, PROTOCOL, "the first answer is no HelloAck"),
}


@pytest.mark.parametrize("name", INBOUND)
async def test_a_listener_that_answers_wrongly(
    autojump_clock: MockClock, scene: Scene, name: str
) -> None:
    answer, code, reason = INBOUND[name]
    async with open_virtual_node(scene.machine()) as node:
        node.greets = False
        host, port = node.address
        codes: list[str] = []

        async def connect() -> None:
            with pytest.raises(LanspreadError) as caught:
                await scene.victim.execute(ConnectPeer(address=f"{host}:{port}"))
            codes.append(caught.value.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            link = await node.links.receive()
            control = await link.accept()
            await control.answer("Hello")
            await answer(node, link, control)
            seen = await closed(link, within=5)
        assert seen[0] == code
        assert seen[1].startswith(reason)
        assert codes == ["incompatible" if code == INCOMPATIBLE else "refused"]
        assert scene.victim.directory.get(node.peer_id) is None
    await scene.still_well()


async def test_a_listener_that_never_answers(autojump_clock: MockClock, scene: Scene) -> None:
    async with open_virtual_node(scene.machine()) as node:
        node.greets = False
        host, port = node.address
        with trio.fail_after(20), pytest.raises(LanspreadError) as caught:
            await scene.victim.execute(ConnectPeer(address=f"{host}:{port}"))
        assert caught.value.code == "not_found"
        link = node.links.receive_nowait()
        assert (await closed(link))[0] == GOODBYE
    await scene.still_well()


async def test_another_peer_behind_an_advertised_address(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """Whoever answers in place of the one that mDNS named is left before a byte is sent."""
    async with open_virtual_node(scene.machine()) as node:
        node.greets = False
        host, port = node.address
        stranger = Identity().peer_id
        scene.victim.dialer.take_hint(_advert(stranger, host, port, 3))
        link = await node.links.receive()
        assert (await closed(link)) == (IDENTITY, f"{node.peer_id} answered in its place")
        assert not link.pipes
        record = scene.victim.directory.get(stranger)
        assert record is not None
        assert record.state is not PeerState.CONNECTED
    await scene.still_well()


def _advert(peer_id: str, host: str, port: int, version: int) -> Advertisement:
    return Advertisement(
        peer_id=peer_id,
        proto_ver=version,
        addresses=(Address(host, port),),
        library_rev=1,
        hostname="x",
    )


async def test_an_incompatible_peer_is_told_and_shown_so(
    autojump_clock: MockClock, scene: Scene
) -> None:
    async with open_virtual_node(scene.machine()) as node:
        node.claims = {"proto_ver": 9}
        host, port = node.address
        scene.victim.dialer.take_hint(_advert(node.peer_id, host, port, 3))

        def shown() -> bool:
            record = scene.victim.directory.get(node.peer_id)
            return record is not None and record.state is PeerState.INCOMPATIBLE

        await until(shown, within=10)
    await scene.still_well()
