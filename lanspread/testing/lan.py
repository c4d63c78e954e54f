"""A virtual LAN: hosts, wires, partitions and crashes, under trio's mock clock, from a seed.

    async with open_virtual_lan(seed=1) as lan:
        anna, ben = lan.add_peer("anna"), lan.add_peer("ben")
        anna.put_game("chess", {"chess.eti": 100_000})
        await anna.start()
        await ben.start()
        await until(lambda: ben.offers("chess"))

One task delivers what is due (datagrams and mDNS records wait in a heap until
`trio.current_time()` reaches them), and each running peer is one task beside it.
Source: docs/testing.md.
"""

from __future__ import annotations

import contextvars
import functools
import heapq
import itertools
import math
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from lanspread.fs.disk import DiskFileSystem
from lanspread.seams import Address, FileSystem, Seams, Watcher
from lanspread.testing.games import DiskGames, MemoryGames
from lanspread.testing.host import VirtualHost
from lanspread.testing.link import Link, Wire
from lanspread.testing.mdns import Multicast, VirtualMdns, VirtualMulticast
from lanspread.testing.network import VirtualNetwork, is_loopback
from lanspread.testing.parts import InlineThreads, SilentWatcher, VirtualWallClock
from lanspread.testing.peers import VirtualPeer
from lanspread.testing.scheduler import seeded_scheduler
from lanspread.testing.standstill import Standstill

_MIB = 1024 * 1024
# How long peers may take to leave in order when the LAN ends, in virtual seconds.
_LEAVE_S = 30.0

# Every seed that a LAN was opened with, for whoever reports a failure.
opened_seeds: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar(
    "opened_seeds", default=None
)


@attrs.frozen
class Datagram:
    """One datagram as it was sent; whether it arrives is another matter. `at`: trio's time."""

    at: float
    sender: str
    receiver: str
    size: int


class VirtualLan:
    """All hosts and the wires between them. Made by `open_virtual_lan`."""

    # Every peer's task is in it.
    nursery: trio.Nursery

    def __init__(self, seed: int, link: Link, mdns: Multicast, socket_buffer_bytes: int) -> None:
        self.seed = seed
        self.socket_buffer_bytes = socket_buffer_bytes
        self.wall_clock = VirtualWallClock()
        self.multicast = VirtualMulticast(self, mdns)
        self.unreachable = 0
        # Called for each datagram that is sent, to count or to trace.
        self.on_datagram: Callable[[Datagram], None] | None = None
        self._default_link = link
        self._wires: dict[tuple[str, str], Wire] = {}
        self._hosts: dict[str, VirtualHost] = {}
        self._owners: dict[str, VirtualHost] = {}
        self._peers: list[VirtualPeer] = []
        self._groups: tuple[frozenset[VirtualHost], ...] = ()
        self._blocked: set[tuple[str, str]] = set()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._sooner = trio.Event()
        self._folder: Path | None = None
        self._addresses_given = 0

    # -- hosts and peers --------------------------------------------------------------------------

    @property
    def hosts(self) -> tuple[VirtualHost, ...]:
        return tuple(self._hosts.values())

    @property
    def peers(self) -> tuple[VirtualPeer, ...]:
        """All peers that were added, running or not."""
        return tuple(self._peers)

    def add_host(self, name: str, addresses: Iterable[str] | None = None) -> VirtualHost:
        """A new machine, by default with one IPv4 and one IPv6 address."""
        if name in self._hosts:
            raise ValueError(f"there is a host {name!r} already")
        if addresses is None:
            addresses = self.free_addresses()
        host = VirtualHost(self, name, addresses)
        self.claim_addresses(host, host.addresses)
        self._hosts[name] = host
        return host

    def add_peer(
        self,
        host: VirtualHost | str,
        *,
        folder: Path | None = None,
        games: Path | None = None,
        watched: bool = True,
        **settings: object,
    ) -> VirtualPeer:
        """A peer that can be started, on a host or on a new one of this name.

        `games` is its games folder on the disk; without it, the games are in memory. State (key,
        token, revision) is always on the disk, in `folder/state`, by default below a temporary
        folder that is removed with the LAN. `watched`: changes made by the peer's own methods are
        seen at once, otherwise by the fallback scan. `settings` are fields of `Config`.
        """
        if isinstance(host, str):
            host = self.add_host(host)
        folder = folder or self._temporary() / host.name
        store = (
            MemoryGames(str(folder / "games"), self.wall_clock)
            if games is None
            else DiskGames(games, self.wall_clock)
        )
        peer = VirtualPeer(host, folder / "state", store, watched=watched, settings=settings)
        self._peers.append(peer)
        return peer

    async def start_peer(self, host: VirtualHost | str, **options: object) -> VirtualPeer:
        """`add_peer` and start it. Raises as `open_peer`."""
        peer = self.add_peer(host, **options)  # type: ignore[arg-type]
        await peer.start()
        return peer

    def host_named(self, name: str) -> VirtualHost | None:
        """The host of this name, upper or lower case, as a name service would find it."""
        return next((h for h in self._hosts.values() if h.name.lower() == name.lower()), None)

    # -- what can be disturbed --------------------------------------------------------------------

    def set_link(self, first: VirtualHost, second: VirtualHost, link: Link) -> None:
        """Replace the wire between two hosts, in both directions."""
        for pair in ((first, second), (second, first)):
            self._wire(*pair).link = link

    def set_default_link(self, link: Link) -> None:
        """Replace every wire, the ones set by `set_link` too."""
        self._default_link = link
        for wire in self._wires.values():
            wire.link = link

    def partition(self, *groups: Iterable[VirtualHost]) -> None:
        """Only hosts of the same group reach each other; those not named form one more group."""
        self._groups = tuple(frozenset(group) for group in groups)

    def heal(self) -> None:
        """End the partition. What was blocked stays blocked."""
        self._groups = ()
        self.multicast.refresh()

    def block(self, sender: VirtualHost, receiver: VirtualHost) -> None:
        """Nothing passes from `sender` to `receiver` any more; the other way is as it was."""
        self._blocked.add((sender.name, receiver.name))

    def unblock(self, sender: VirtualHost, receiver: VirtualHost) -> None:
        """Take `block` back."""
        self._blocked.discard((sender.name, receiver.name))
        self.multicast.refresh()

    def reachable(self, sender: VirtualHost, receiver: VirtualHost) -> bool:
        """Whether a datagram would pass from one host to the other now, loss aside."""
        if not (sender.alive and receiver.alive):
            return False
        if sender is receiver:
            return True
        if not (sender.plugged_in and receiver.plugged_in):
            return False
        if self._blocked and (sender.name, receiver.name) in self._blocked:
            return False
        return all((sender in group) == (receiver in group) for group in self._groups)

    # -- for what is built on it ------------------------------------------------------------------

    def seams(
        self,
        host: VirtualHost,
        *,
        mdns: bool = True,
        files: FileSystem | None = None,
        watcher: Watcher | None = None,
    ) -> Seams:
        """Everything a peer on `host` uses. `files` defaults to the real file system."""
        if files is None:
            files = DiskFileSystem()
        return Seams(
            network=VirtualNetwork(host),
            discovery=VirtualMdns(self.multicast, host) if mdns else None,
            files=files,
            open_index=host.open_index,
            watcher=watcher or SilentWatcher(),
            threads=InlineThreads(),
            wall_clock=self.wall_clock,
            suspend_clock=host.suspend_clock,
            entropy=host.entropy,
        )

    def random_source(self, *names: str) -> random.Random:
        """A random source for one purpose: what happens elsewhere does not change it."""
        return random.Random("/".join([str(self.seed), *names]))

    def free_addresses(self) -> tuple[str, str]:
        """An IPv4 and an IPv6 address that no host has had."""
        while True:
            self._addresses_given += 1
            number = self._addresses_given
            found = (f"10.0.{number >> 8}.{number & 255}", f"fd00::{number:x}")
            if not any(address in self._owners for address in found):
                return found

    def claim_addresses(self, host: VirtualHost, addresses: Iterable[str]) -> None:
        """Take these addresses for `host`, and none else. Raises `ValueError`."""
        addresses = tuple(addresses)
        for address in addresses:
            owner = self._owners.get(address)
            if owner is not None and owner is not host:
                raise ValueError(f"{address} belongs to {owner.name}")
        self._owners = {a: owner for a, owner in self._owners.items() if owner is not host}
        self._owners.update(dict.fromkeys(addresses, host))

    def transmit(
        self, sender: VirtualHost, datagrams: Sequence[bytes], source: Address, target: Address
    ) -> None:
        """Put datagrams on the wire."""
        receiver = sender if is_loopback(target.host) else self._owners.get(target.host)
        if receiver is None or not self.reachable(sender, receiver):
            self.unreachable += len(datagrams)
            return
        now = trio.current_time()
        wire = self._wire(sender, receiver)
        for data in datagrams:
            if self.on_datagram is not None:
                self.on_datagram(Datagram(now, sender.name, receiver.name, len(data)))
            for at in wire.arrivals(len(data), now):
                self.call_at(
                    at, functools.partial(self._arrive, sender, receiver, data, source, target)
                )

    def call_at(self, at: float, call: Callable[[], None]) -> None:
        """Have the LAN's task call `call` when `trio.current_time()` reaches `at`."""
        heapq.heappush(self._due, (at, next(self._order), call))
        if self._due[0][0] == at:
            self._sooner.set()

    async def run(self) -> None:
        """Deliver what is due, for ever."""
        while True:
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            self._sooner = trio.Event()
            with trio.move_on_at(self._due[0][0] if self._due else math.inf):
                await self._sooner.wait()

    async def stop_peers(self) -> None:
        """Shut all peers down in order, at once."""
        async with trio.open_nursery() as nursery:
            for peer in self._peers:
                nursery.start_soon(peer.stop)

    def remove_files(self) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _temporary(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="lanspread-lan-"))
        return self._folder

    def _arrive(
        self,
        sender: VirtualHost,
        receiver: VirtualHost,
        data: bytes,
        source: Address,
        target: Address,
    ) -> None:
        # Asked again: a cable pulled while the datagram was on its way loses it.
        socket = receiver.socket_at(target) if self.reachable(sender, receiver) else None
        if socket is None:
            self.unreachable += 1
        else:
            socket.deliver(data, source)

    def _wire(self, sender: VirtualHost, receiver: VirtualHost) -> Wire:
        key = (sender.name, receiver.name)
        wire = self._wires.get(key)
        if wire is None:
            wire = self._wires[key] = Wire(self._default_link, self.random_source(*key))
        return wire


@asynccontextmanager
async def open_virtual_lan(
    *,
    seed: int = 0,
    link: Link | None = None,
    mdns: Multicast | None = None,
    socket_buffer_bytes: int = 4 * _MIB,
) -> AsyncIterator[VirtualLan]:
    """A LAN that lives as long as the block; leaving it shuts its peers down in order.

    The same seed gives the same run: the same datagrams at the same times and the same events, as
    long as the block itself does the same. trio's scheduler is seeded for all tasks of this run of
    trio meanwhile, so one LAN at a time. What a peer's task raises ends the block.
    """
    seeds = opened_seeds.get()
    if seeds is not None:
        seeds.append(seed)
    lan = VirtualLan(seed, link or Link(), mdns or Multicast(), socket_buffer_bytes)
    try:
        with seeded_scheduler(seed):
            async with trio.open_nursery() as nursery:
                lan.nursery = nursery
                nursery.start_soon(lan.run)
                nursery.start_soon(Standstill().watch)
                try:
                    yield lan
                finally:
                    deadline = trio.current_time() + _LEAVE_S
                    with trio.CancelScope(deadline=deadline, shield=True):
                        await lan.stop_peers()
                    nursery.cancel_scope.cancel()
    finally:
        lan.remove_files()
