"""Virtual UDP: the sockets of one virtual host.

Datagrams are handed to the LAN, which delivers them later; nothing here runs a task.
"""

from __future__ import annotations

import errno
import functools
import os
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from lanspread import limits
from lanspread.seams import Address, LocalAddress
from lanspread.transport import addresses as real
from lanspread.transport.addresses import parse_host
from lanspread.transport.path_mtu import IPV6_EXTRA_HEADER_BYTES

if TYPE_CHECKING:
    from lanspread.testing.host import VirtualHost

# Asked several times for each datagram, about a handful of addresses.
can_reach = functools.lru_cache(65_536)(real.can_reach)
is_ipv6 = functools.lru_cache(65_536)(real.is_ipv6)
is_loopback = functools.lru_cache(65_536)(real.is_loopback)

_FIRST_FREE_PORT = 49_152
_WILDCARDS = ("0.0.0.0", "::")
_LOOPBACKS = ("127.0.0.1", "::1")


@attrs.frozen(kw_only=True)
class SocketStatistics:
    """`overflowed` counts what arrived while the receive buffer was full."""

    sent: int
    received: int
    overflowed: int
    buffered_bytes: int


class VirtualSocket:
    """`DatagramSocket` on a virtual LAN."""

    def __init__(self, host: VirtualHost, address: Address, buffer_bytes: int) -> None:
        self._host = host
        self._address = address
        self._buffer: deque[tuple[bytes, Address]] = deque()
        self._buffer_bytes = buffer_bytes
        self._buffered_bytes = 0
        self._readable = trio.Event()
        self._receiving = False
        self._closed = False
        self._sent = self._received = self._overflowed = 0

    @property
    def address(self) -> Address:
        return self._address

    @property
    def closed(self) -> bool:
        return self._closed

    def statistics(self) -> SocketStatistics:
        return SocketStatistics(
            sent=self._sent,
            received=self._received,
            overflowed=self._overflowed,
            buffered_bytes=self._buffered_bytes,
        )

    def reaches(self, address: Address) -> bool:
        return can_reach(self._address, address)

    def path_payload(self, address: Address) -> int | None:
        """What the host's card carries; what the wire does is for the peers to find out."""
        extra = IPV6_EXTRA_HEADER_BYTES if is_ipv6(address.host) else 0
        return self._host.payload_bytes - extra

    async def receive(self) -> list[tuple[bytes, Address]]:
        """Raises `trio.BusyResourceError` if another task receives already."""
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this socket")
        self._receiving = True
        try:
            # Datagrams are taken after the last await, so a cancelled receive loses none.
            await trio.lowlevel.checkpoint()
            while not self._buffer:
                if self._closed:
                    raise trio.ClosedResourceError
                self._readable = trio.Event()
                await self._readable.wait()
        finally:
            self._receiving = False
        if self._closed:
            raise trio.ClosedResourceError
        count = min(len(self._buffer), limits.DATAGRAM_BATCH)
        batch = [self._buffer.popleft() for _ in range(count)]
        self._buffered_bytes -= sum(len(data) for data, _ in batch)
        return batch

    async def send(self, datagrams: Sequence[bytes], address: Address) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError
        self._sent += len(datagrams)
        if self.reaches(address):
            self._host.transmit(self, datagrams, address)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._buffer.clear()
            self._buffered_bytes = 0
            self._host.release(self)
            self._readable.set()

    def deliver(self, data: bytes, source: Address) -> None:
        """A datagram arrived. Dropped, and counted, if the buffer is full."""
        if self._closed:
            return
        if self._buffered_bytes + len(data) > self._buffer_bytes:
            self._overflowed += 1
            return
        self._received += 1
        self._buffered_bytes += len(data)
        self._buffer.append((data, source))
        self._readable.set()


class VirtualNetwork:
    """`Network` of one virtual host."""

    def __init__(self, host: VirtualHost) -> None:
        self._host = host

    async def bind(self, address: Address) -> VirtualSocket:
        await trio.lowlevel.checkpoint()
        return self._host.bind(address)

    async def resolve(self, host: str, port: int) -> list[Address]:
        """IP literals, `localhost`, and the names of the LAN's hosts. Raises `OSError`."""
        await trio.lowlevel.checkpoint()
        if parse_host(host) is not None:
            return [Address(host, port)]
        if host == "localhost":
            return [Address(one, port) for one in _LOOPBACKS]
        found = self._host.lan.host_named(host)
        if found is None:
            raise OSError(f"no host is called {host!r}")
        return [Address(one, port) for one in found.addresses]

    async def local_addresses(self) -> list[LocalAddress]:
        await trio.lowlevel.checkpoint()
        return [
            *(LocalAddress(host, "lo") for host in _LOOPBACKS),
            *(LocalAddress(host, "eth0") for host in self._host.addresses),
        ]


def is_wildcard(host: str) -> bool:
    return host in _WILDCARDS


def source_host(socket: VirtualSocket, target: str, addresses: Sequence[str]) -> str | None:
    """The address a datagram to `target` comes from; None if the host has none of that family."""
    if not is_wildcard(socket.address.host):
        return socket.address.host
    if is_loopback(target):
        return "::1" if is_ipv6(target) else "127.0.0.1"
    return next((own for own in addresses if is_ipv6(own) == is_ipv6(target)), None)


def free_port(taken: set[int]) -> int:
    """The lowest port of the dynamic range that is not taken. Raises `OSError`."""
    for port in range(_FIRST_FREE_PORT, 65_536):
        if port not in taken:
            return port
    raise address_error(errno.EADDRINUSE)


def address_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
