"""A virtual LAN: hosts, wires, partitions and crashes, under trio's mock clock, from a seed.

    async with open_virtual_lan(seed=1) as lan:
        anna, ben = lan.add_host("anna"), lan.add_host("ben")
        ...  lan.seams(anna) ...

One task owns the whole LAN: deliveries wait in a heap until `trio.current_time()` reaches them.
"""

from __future__ import annotations

import errno
import functools
import heapq
import itertools
import math
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import trio

from lanspread.fs.disk import DiskFileSystem
from lanspread.seams import Address, FileSystem, Seams, Watcher
from lanspread.testing import network
from lanspread.testing.link import Link, Wire
from lanspread.testing.mdns import VirtualMdns, VirtualMulticast
from lanspread.testing.network import VirtualNetwork, VirtualSocket
from lanspread.testing.parts import (
    InlineThreads,
    MemoryIndex,
    SilentWatcher,
    VirtualSuspendClock,
    VirtualWallClock,
)
from lanspread.transport.addresses import is_ipv6, is_loopback

_MIB = 1024 * 1024


class VirtualHost:
    """One machine of the LAN. Made by `VirtualLan.add_host`."""

    def __init__(self, lan: VirtualLan, name: str, addresses: Iterable[str]) -> None:
        self.name = name
        self.alive = True
        self.plugged_in = True
        self.suspend_clock = VirtualSuspendClock()
        self._lan = lan
        self._addresses = tuple(addresses)
        self._sockets: list[VirtualSocket] = []
        self._indexes: dict[str, MemoryIndex] = {}

    def __repr__(self) -> str:
        return f"<VirtualHost {self.name} {'/'.join(self._addresses)}>"

    @property
    def lan(self) -> VirtualLan:
        return self._lan

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._addresses

    @property
    def sockets(self) -> tuple[VirtualSocket, ...]:
        """The open sockets, for their statistics."""
        return tuple(self._sockets)

    def vanish(self) -> None:
        """Power off. Its open sockets never send or receive again and their ports are free.

        The tasks that used them are the test's to cancel; nobody is told, and mDNS records of this
        host stay in the others' caches.
        """
        self.alive = False
        self._sockets.clear()
        self._lan.multicast.forget_host(self)

    def come_back(self) -> None:
        """Power on again after `vanish`. What is bound or advertised from now on works."""
        self.alive = True

    def unplug(self) -> None:
        """Pull the cable: sockets stay, loopback works, nothing else passes."""
        self.plugged_in = False

    def plug_in(self) -> None:
        self.plugged_in = True
        self._lan.multicast.refresh()

    def change_addresses(self, *addresses: str) -> None:
        """Replace the host's addresses, as a new DHCP lease does. Wildcard sockets go on."""
        self._lan.claim_addresses(self, addresses)
        self._addresses = addresses

    # -- used by the sockets ----------------------------------------------------------------------

    def bind(self, address: Address) -> VirtualSocket:
        """Raises `OSError`: the address is not this host's, or the port is taken."""
        host, port = address
        own = network.is_wildcard(host) or is_loopback(host) or host in self._addresses
        if not own:
            raise network.address_error(errno.EADDRNOTAVAIL)
        family = [
            held.address for held in self._sockets if is_ipv6(held.address.host) == is_ipv6(host)
        ]
        if port == 0:
            port = network.free_port({held.address.port for held in self._sockets})
        for held in family:
            overlap = held.host == host or any(map(network.is_wildcard, (held.host, host)))
            if held.port == port and overlap:
                raise network.address_error(errno.EADDRINUSE)
        socket = VirtualSocket(self, Address(host, port), self._lan.socket_buffer_bytes)
        self._sockets.append(socket)
        return socket

    def release(self, socket: VirtualSocket) -> None:
        if socket in self._sockets:
            self._sockets.remove(socket)

    def transmit(self, socket: VirtualSocket, datagrams: Sequence[bytes], target: Address) -> None:
        source = network.source_host(socket, target.host, self._addresses)
        # A socket that is not held any more belongs to a machine that was switched off.
        if source is None or socket not in self._sockets:
            return
        self._lan.transmit(self, datagrams, Address(source, socket.address.port), target)

    def socket_at(self, address: Address) -> VirtualSocket | None:
        """The socket that gets datagrams to `address`, the most specific one first."""
        if address.host not in self._addresses and not is_loopback(address.host):
            return None
        wildcard = "::" if is_ipv6(address.host) else "0.0.0.0"
        for host in (address.host, wildcard):
            for socket in self._sockets:
                if socket.address == (host, address.port):
                    return socket
        return None

    def open_index(self, state: str) -> MemoryIndex:
        """The same index for the same state folder, so that a restarted peer finds its digests."""
        return self._indexes.setdefault(state, MemoryIndex())


class VirtualLan:
    """All hosts and the wires between them. Made by `open_virtual_lan`."""

    def __init__(self, seed: int, link: Link, socket_buffer_bytes: int) -> None:
        self.seed = seed
        self.socket_buffer_bytes = socket_buffer_bytes
        self.wall_clock = VirtualWallClock()
        self.multicast = VirtualMulticast(self)
        self.unreachable = 0
        self._default_link = link
        self._wires: dict[tuple[str, str], Wire] = {}
        self._hosts: dict[str, VirtualHost] = {}
        self._groups: tuple[frozenset[VirtualHost], ...] = ()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._sooner = trio.Event()

    # -- what a test does -------------------------------------------------------------------------

    def add_host(self, name: str, addresses: Iterable[str] | None = None) -> VirtualHost:
        """A new machine, by default with one IPv4 and one IPv6 address."""
        if name in self._hosts:
            raise ValueError(f"there is a host {name!r} already")
        number = len(self._hosts) + 1
        if addresses is None:
            addresses = (f"10.0.{number >> 8}.{number & 255}", f"fd00::{number:x}")
        host = VirtualHost(self, name, addresses)
        self.claim_addresses(host, host.addresses)
        self._hosts[name] = host
        return host

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
        """End the partition."""
        self._groups = ()
        self.multicast.refresh()

    def host_named(self, name: str) -> VirtualHost | None:
        """The host of this name, upper or lower case, as a name service would find it."""
        return next((h for h in self._hosts.values() if h.name.lower() == name.lower()), None)

    def reachable(self, first: VirtualHost, second: VirtualHost) -> bool:
        """Whether a datagram would pass between two hosts now, loss aside."""
        if not (first.alive and second.alive):
            return False
        if first is second:
            return True
        if not (first.plugged_in and second.plugged_in):
            return False
        return all((first in group) == (second in group) for group in self._groups)

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
        )

    # -- used by hosts and discovery --------------------------------------------------------------

    def claim_addresses(self, host: VirtualHost, addresses: Iterable[str]) -> None:
        for address in addresses:
            owner = self._owner(address)
            if owner is not None and owner is not host:
                raise ValueError(f"{address} belongs to {owner.name}")

    def transmit(
        self, sender: VirtualHost, datagrams: Sequence[bytes], source: Address, target: Address
    ) -> None:
        receiver = sender if is_loopback(target.host) else self._owner(target.host)
        if receiver is None or not self.reachable(sender, receiver):
            self.unreachable += len(datagrams)
            return
        now = trio.current_time()
        wire = self._wire(sender, receiver)
        for data in datagrams:
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
        """Deliver what is due, for ever. Runs as the LAN's only task."""
        while True:
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            self._sooner = trio.Event()
            with trio.move_on_at(self._due[0][0] if self._due else math.inf):
                await self._sooner.wait()

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

    def _owner(self, address: str) -> VirtualHost | None:
        for host in self._hosts.values():
            if address in host.addresses:
                return host
        return None

    def _wire(self, sender: VirtualHost, receiver: VirtualHost) -> Wire:
        key = (sender.name, receiver.name)
        wire = self._wires.get(key)
        if wire is None:
            # A random source per wire: traffic elsewhere does not change what happens here.
            source = random.Random(f"{self.seed}/{sender.name}/{receiver.name}")
            wire = self._wires[key] = Wire(self._default_link, source)
        return wire


@asynccontextmanager
async def open_virtual_lan(
    *, seed: int = 0, link: Link | None = None, socket_buffer_bytes: int = 4 * _MIB
) -> AsyncIterator[VirtualLan]:
    """A LAN that lives as long as the block. The same seed loses and delays the same datagrams.

    That holds as far as the datagrams are the same: trio shuffles tasks that are ready at once.
    """
    lan = VirtualLan(seed, link or Link(), socket_buffer_bytes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lan.run)
        yield lan
        nursery.cancel_scope.cancel()
