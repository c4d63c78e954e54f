"""A machine that attacks a peer, as a process of its own: `attacker.py KIND HOST PORT [NUMBER]`.

It prints one line of JSON when its attack is at its height, and goes on until it is ended. It
speaks from addresses of its own (127.0.0.2 and up), as another machine would.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import cbor2
import trio
from aioquic.quic.connection import QuicConnection

from tests.protocol import wire
from tests.protocol.independent import HostPort, Node, Session, open_node
from tests.protocol.links import Link, LinkClosed, Pipe, configuration
from tests.protocol.wire import Message, message

# Attacks of one machine stay below what one host may have; so there are several.
HOSTS = [f"127.0.0.{number}" for number in range(2, 10)]
BIG = "Big"


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


# -- datagrams ------------------------------------------------------------------------------------


def initial(target: HostPort) -> bytes:
    """The first datagram of a handshake that will never go on."""
    quic = QuicConnection(configuration=configuration(None))
    quic.connect(target, 0.0)
    data: bytes = quic.datagrams_to_send(0.0)[0][0]
    return data


def garbage(rng: random.Random, valid: bytes) -> bytes:
    """Noise, noise behind a good header, an old version, a cut or a flipped datagram."""
    match rng.randrange(6):
        case 0:
            return rng.randbytes(rng.randrange(1, 1_473))
        case 1:
            return bytes([0xC0]) + struct.pack(">I", 1) + rng.randbytes(1_200)
        case 2:
            return bytes([0xC0]) + rng.randbytes(4) + bytes([8]) + rng.randbytes(1_200)
        case 3:
            return bytes([0x40]) + rng.randbytes(1_000)
        case 4:
            return valid[: rng.randrange(1, len(valid))]
        case _:
            # Another connection id: other keys, so nothing in it is authentic.
            return valid[:6] + rng.randbytes(8) + valid[14:]


async def connections(target: HostPort, count: int) -> None:
    """`count` attempts: a third bare Initials, a twentieth whole handshakes, the rest garbage."""
    rng = random.Random(1)
    sockets = []
    for host in HOSTS:
        opened = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await opened.bind((host, 0))
        sockets.append(opened)
    valid = initial(target)
    done = {"initials": 0, "garbage": 0, "handshakes": 0, "refused": 0}
    async with trio.open_nursery() as nursery:
        node = await nursery.start(_silent_node)
        for number in range(count):
            opened = sockets[number % len(sockets)]
            if number % 20 == 0:
                nursery.start_soon(_shake_hands, node, target, done)
            elif number % 3 == 0:
                await opened.sendto(initial(target), target)
                done["initials"] += 1
            else:
                await opened.sendto(garbage(rng, valid), target)
                done["garbage"] += 1
        with trio.move_on_after(15):
            while done["handshakes"] + done["refused"] < count // 20:
                await trio.sleep(0.05)
        say(**done)
        await trio.sleep_forever()


async def _silent_node(task_status: trio.TaskStatus[Node]) -> None:
    async with open_node(host=HOSTS[-1]) as node:
        task_status.started(node)
        await trio.sleep_forever()


async def _shake_hands(node: Node, target: HostPort, done: dict[str, int]) -> None:
    """A whole handshake, and then not a word until the other side ends it."""
    try:
        with trio.fail_after(12):
            link = await node.connect(target)
    except (LinkClosed, trio.TooSlowError):
        done["refused"] += 1
        return
    done["handshakes"] += 1
    await link.wait_closed()


# -- sessions -------------------------------------------------------------------------------------

Attack = Callable[[Session, Link], Awaitable[None]]


async def _as_many(target: HostPort, count: int, attack: Attack, height_s: float) -> None:
    """`count` identities, each with a session on which `attack` runs."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(_identity, HOSTS[number % len(HOSTS)], target, attack)
        await trio.sleep(height_s)
        say(sessions=count)
        await trio.sleep_forever()


async def _identity(host: str, target: HostPort, attack: Attack) -> None:
    """Attack, and begin again whenever the session was ended for it."""
    while True:
        with suppress(LinkClosed):
            async with open_node(host=host) as node:
                session = await node.dial(target)
                await attack(session, session.link)
                await session.link.wait_closed()
        await trio.sleep(0.2)


async def _endless(session: Session, link: Link) -> None:
    """Frames that are never complete, on the control stream and on all others."""
    pipes = [session.control, *(link.open() for _ in range(100))]
    for pipe in pipes:
        pipe.send(struct.pack(">I", 2**20))
    while link.closed is None:
        for pipe in pipes:
            if len(link.quic._streams[pipe.id].sender._buffer) < 100_000:
                pipe.send(bytes(20_000))
        await trio.sleep(0.02)


async def _withheld(session: Session, link: Link) -> None:
    """As much as credit allows, but for the first byte of each stream."""
    for _ in range(127):
        pipe = link.open()
        pipe.send(message("ListGames") + bytes(140_000))
        pipe.withhold_first_byte()


async def _never_reads(session: Session, link: Link) -> None:
    """Answers small enough to be queued whole, then 64 large ones; nothing is ever read."""
    summary = (await session.library())[BIG]
    link.freeze_credit()
    fields = {"id": BIG, "manifest_hash": summary["manifest_hash"]}
    for number in range(120):
        size = 1_900_000 if number < 56 else 2**23
        session.ask("GetGameFileChunk", **fields, extents=[[0, 0, size]])
        if number % 8 == 7:
            await trio.sleep(0.2)


def _giant_library(number: int, count: int) -> list[bytes]:
    """Summaries as large as they may be."""
    hashes = os.urandom(64)
    known = {"downloaded": True, "installed": False, "availability": "ready", "size": 2**50}
    return [
        cbor2.dumps(
            known
            | {
                "id": f"{number:03}-{game:06}" + "\u5927" * 54,
                "name": "\U0001f3ae" * 128,
                "eti_version": "9" * 64,
                "manifest_hash": hashes[:32],
                "content_hash": hashes[32:],
            }
        )
        for game in range(count)
    ]


async def libraries(target: HostPort, count: int) -> None:
    """`count` identities with 20,000 giant games each, which they announce again and again."""
    served = trio.Event()
    left = count
    async with trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            nonlocal left
            games = _giant_library(number, 20_000)
            digest = wire.library_digest(games)
            every = 600
            async with open_node(host=HOSTS[number % len(HOSTS)]) as node:
                node.claims = {"library_digest": digest}

                async def handler(session: Session, pipe: Pipe, request: Message) -> None:
                    nonlocal left
                    for page, at in enumerate(range(0, len(games), every)):
                        if page and await pipe.message() is None:
                            return
                        fields = {
                            "page": page,
                            "more": at + every < len(games),
                            "peer_id": node.peer_id,
                            "library_epoch": node.library.epoch,
                            "library_rev": 1,
                            "library_digest": digest,
                            "game_count": len(games),
                            "games": games[at : at + every],
                        }
                        pipe.send(message("LibrarySnapshot", **fields))
                    pipe.send(b"", end=True)
                    left -= 1
                    if left == 0:
                        served.set()

                node.handlers["GetLibrary"] = handler
                session = await node.dial(target)
                for rev in range(2, 1_000_000):
                    if session.link.closed is not None:
                        return
                    position = node.library.position() | {"library_rev": rev, "game_count": 1}
                    session.control.send(
                        message("LibrarySummary", peer_id=node.peer_id, **position)
                    )
                    await trio.sleep(0.1)

        for number in range(count):
            nursery.start_soon(one, number)
        await served.wait()
        say(libraries=count)
        await trio.sleep_forever()


async def main(*arguments: str) -> None:
    kind, host, port, number = arguments
    target, count = (host, int(port)), int(number)
    match kind:
        case "connections":
            await connections(target, count)
        case "endless":
            await _as_many(target, count, _endless, 4)
        case "withheld":
            await _as_many(target, count, _withheld, 6)
        case "never-reads":
            await _as_many(target, count, _never_reads, 6)
        case "libraries":
            await libraries(target, count)
        case _:
            raise SystemExit(f"no such attack: {kind}")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:5])
