"""A hostile peer on the virtual LAN, the whole peers around it, and what may not change on disk."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from lanspread.eventhub import PublishedEvent
from lanspread.peer import Peer
from lanspread.seams import Address
from lanspread.testing import VirtualHost, VirtualLan, VirtualNetwork, VirtualSocket
from tests.peers.support import (
    END,
    Events,
    Party,
    begin,
    connected,
    fetch,
    listed,
    offering,
    read_game,
    until,
    write_game,
)
from tests.protocol.independent import Node, Session
from tests.protocol.links import Link, LinkClosed
from tests.protocol.wire import Game

BLOCK = 16 * 1024
HONEST_FILES = {
    "data.eti": bytes(range(256)) * 200,
    "sub/file.bin": b"x" * 20_000,
    "version.ini": b"1.0\n",
}


class _Socket:
    """As much of trio's UDP socket as the independent peer uses, over a virtual one."""

    def __init__(self, socket: VirtualSocket, host: str) -> None:
        self._socket = socket
        self._host = host
        self._waiting: list[tuple[bytes, Address]] = []

    def getsockname(self) -> tuple[str, int]:
        return self._host, self._socket.address.port

    async def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        await self._socket.send([data], Address(*address[:2]))

    async def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        while not self._waiting:
            self._waiting = list(await self._socket.receive())
        data, address = self._waiting.pop(0)
        return data, (address.host, address.port)

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def open_virtual_node(host: VirtualHost, games: Iterable[Game] = ()) -> AsyncIterator[Node]:
    """The independent peer on a virtual host, until the block is left."""
    address = host.addresses[0]
    socket = await VirtualNetwork(host).bind(Address(address, 0))
    async with trio.open_nursery() as nursery:
        node = Node(games, nursery)
        node.socket.close()
        node.socket = _Socket(socket, address)  # type: ignore[assignment]
        nursery.start_soon(node.receive)
        yield node
        nursery.cancel_scope.cancel()
    socket.close()


def address_of(peer: Peer) -> tuple[str, int]:
    """Where a peer on the virtual LAN listens, IPv4."""
    text = next(text for text in peer.listen if text.startswith("10."))
    host, _, port = text.rpartition(":")
    return host, int(port)


@attrs.define
class Scene:
    """A victim, an honest bystander that shares a game with it, and a machine for the attacker."""

    lan: VirtualLan
    party: Party
    folder: Path
    victim: Peer
    bystander: Peer
    attackers: int = 0
    _sessions: dict[Peer, object] = attrs.Factory(dict)

    def machine(self) -> VirtualHost:
        """A host of its own for one more attacker."""
        self.attackers += 1
        return self.lan.add_host(f"attacker{self.attackers}")

    @property
    def games(self) -> Path:
        return self.folder / "victim/games"

    async def still_well(self) -> None:
        """The bystander's session went on, and both sides still serve and download.

        The session is the very same one: nothing was lost and made again.
        """
        assert connected(self.victim) >= {self.bystander.peer_id}
        session = self.victim.sessions.get(self.bystander.peer_id)
        assert session is self._sessions[self.victim]
        assert session.alive  # type: ignore[union-attr]
        for peer, name, game_id in (
            (self.victim, "victim", "FromBystander"),
            (self.bystander, "bystander", "FromVictim"),
        ):
            assert (await fetch(peer, game_id, within=60)).type == "download.finished"
            assert read_game(self.folder / name, game_id) == HONEST_FILES


@asynccontextmanager
async def open_scene(lan: VirtualLan, party: Party, folder: Path) -> AsyncIterator[Scene]:
    """Two honest peers that know each other; `victim` is the one that is to be attacked."""
    write_game(folder / "victim", "FromVictim", HONEST_FILES)
    write_game(folder / "bystander", "FromBystander", HONEST_FILES)
    peers = [await party.start(lan.add_host(name), folder / name) for name in _NAMES]
    victim, bystander = peers
    scene = Scene(lan, party, folder, victim, bystander)
    await until(lambda: offering(scene.victim, "FromBystander"))
    await until(lambda: offering(scene.bystander, "FromVictim"))
    scene._sessions[scene.victim] = scene.victim.sessions.get(scene.bystander.peer_id)
    yield scene


_NAMES = ("victim", "bystander")


def closing(caught: LinkClosed) -> tuple[int, str]:
    """(code, reason) of an application close; a transport error fails the test."""
    assert caught.application, caught
    return caught.code, caught.reason


async def closed(link: Link, within: float = 60.0) -> tuple[int, str]:
    """Wait for the victim to close, and return its code and reason."""
    with trio.fail_after(within):
        return closing(await link.wait_closed())


def snapshot(folder: Path, without: Path | None = None) -> dict[str, Any]:
    """Every path below `folder` but what is in `without`: kind, size, content."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if without is not None and (path == without or without in path.parents):
            continue
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder",)
        else:
            data = path.read_bytes()
            found[name] = ("file", len(data), hashlib.sha256(data).hexdigest())
    return found


async def offer(scene: Scene, node: Node, id: str) -> Session:
    """Have the attacker dial the victim, which then shows its game."""
    session = await node.dial(address_of(scene.victim))
    await until(lambda: listed(scene.victim, id))
    return session


@attrs.frozen
class Attempt:
    """A download that was tried: what was reported, and the event that ended it or made it wait."""

    events: Events
    last: PublishedEvent


async def attempt(peer: Peer, id: str, within: float = 120.0) -> Attempt:
    """Begin a download; wait for its end, or for it to wait for sources."""
    events = Events(peer)
    await begin(peer, id)
    return Attempt(events, await events.wait_for(*END, "download.paused", within=within))
