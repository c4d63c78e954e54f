"""One machine of a virtual LAN: its addresses, its sockets, its cable and its clock."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from lanspread import limits
from lanspread.seams import Address
from lanspread.testing import network
from lanspread.testing.entropy import SeededEntropy
from lanspread.testing.network import VirtualSocket, is_ipv6, is_loopback
from lanspread.testing.parts import MemoryIndex, VirtualSuspendClock

if TYPE_CHECKING:
    from lanspread.testing.lan import VirtualLan


class VirtualHost:
    """One machine of the LAN. Made by `VirtualLan.add_host`; a `VirtualPeer` runs on it."""

    def __init__(self, lan: VirtualLan, name: str, addresses: Iterable[str]) -> None:
        self.name = name
        self.alive = True
        self.plugged_in = True
        # What the card carries over IPv4, without headers; 8,972 where jumbo frames are on.
        self.payload_bytes = limits.QUIC_PAYLOAD_BYTES
        self.suspend_clock = VirtualSuspendClock()
        self.entropy = SeededEntropy(f"{lan.seed}/entropy/{name}")
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
        """Replace the host's addresses, as a new DHCP lease does. Wildcard sockets go on.

        None given: two that nobody has. Raises `ValueError` for one that another host has.
        """
        if not addresses:
            addresses = self._lan.free_addresses()
        self._lan.claim_addresses(self, addresses)
        self._addresses = addresses

    async def sleep_machine(self, seconds: float, *, missed_s: float | None = None) -> None:
        """Sleep and wake up: nothing passes meanwhile, then the suspend clock has jumped.

        `missed_s` is how long the others waited in virtual time, by default as long. All hosts
        share trio's clock, so timers of the sleeper go on, which a sleeping machine's do not; a
        short `missed_s` shows what its suspend detector does, before those timers did it.
        Cancelled, the machine wakes up at once.
        """
        was_plugged_in = self.plugged_in
        self.unplug()
        try:
            await trio.sleep(seconds if missed_s is None else missed_s)
        finally:
            self.suspend_clock.sleep_machine(seconds)
            if was_plugged_in:
                self.plug_in()

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

    def forget_index(self, state: str) -> None:
        """The state folder is gone, and what was indexed in it."""
        self._indexes.pop(state, None)

    def open_index(self, state: str) -> MemoryIndex:
        """The same index for the same state folder, so that a restarted peer finds its digests."""
        return self._indexes.setdefault(state, MemoryIndex())
