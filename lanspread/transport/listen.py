"""Binding the listeners, and which addresses others can reach them by.

Source: docs/operators.md, "Ports".
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

import attrs

from lanspread import limits
from lanspread.errors import StartError
from lanspread.seams import Address, DatagramSocket, LocalAddress, Network
from lanspread.transport.addresses import is_ipv6, is_loopback

_WILDCARDS = ("0.0.0.0", "::")
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


@attrs.frozen
class Listeners:
    """Bound sockets. `picked` says that the default port was taken and another is used."""

    sockets: tuple[DatagramSocket, ...]
    picked: bool

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()


async def bind_listeners(
    network: Network, given: Sequence[Address] | None, interfaces: Sequence[str]
) -> Listeners:
    """Bind what was given, or the default port on the given interfaces, or on all.

    A default port that is taken is replaced by a free one. Raises `StartError`; then, and when
    cancelled, nothing stays bound.
    """
    if given is not None:
        return Listeners(await _bind_all(network, given, optional_ipv6=False), picked=False)
    hosts = tuple(interfaces) or _WILDCARDS
    try:
        wanted = [Address(host, limits.DEFAULT_PORT) for host in hosts]
        sockets = await _bind_all(network, wanted, optional_ipv6=not interfaces)
        return Listeners(sockets, picked=False)
    except StartError:
        first = await _bind_all(network, [Address(hosts[0], 0)], optional_ipv6=False)
        port = first[0].address.port
        try:
            rest = [Address(host, port) for host in hosts[1:]]
            others = await _bind_all(network, rest, optional_ipv6=not interfaces)
        except BaseException:
            first[0].close()
            raise
        return Listeners((*first, *others), picked=True)


async def _bind_all(
    network: Network, addresses: Iterable[Address], *, optional_ipv6: bool
) -> tuple[DatagramSocket, ...]:
    sockets: list[DatagramSocket] = []
    try:
        for address in addresses:
            try:
                sockets.append(await network.bind(address))
            except OSError as error:
                if optional_ipv6 and is_ipv6(address.host) and error.errno in _NO_SUCH_FAMILY:
                    continue
                raise StartError(_why(address, error)) from error
    except BaseException:
        for socket in sockets:
            socket.close()
        raise
    return tuple(sockets)


def _why(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {address}: the port is taken by another program"
    return f"cannot listen on {address}: {error.strerror or error}"


@attrs.define
class Reachable:
    """Where others reach this peer, as the machine's addresses come and go.

    `advertised` is what the network is told, `dialable` what a process of this machine can dial.
    """

    bound: tuple[Address, ...]
    advertised: tuple[Address, ...] = ()
    dialable: tuple[Address, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """`dialable` as people write it."""
        return tuple(str(address) for address in self.dialable)

    @property
    def outside(self) -> bool:
        """Whether other machines reach it at all."""
        return any(not is_loopback(address.host) for address in self.advertised)

    def look(self, local: Sequence[LocalAddress]) -> bool:
        """Take the machine's addresses as they are now; True if others are to be told others."""
        advertised = advertised_addresses(self.bound, local)
        # The system lists addresses in whatever order; only what there is counts.
        if set(advertised) == set(self.advertised):
            return False
        self.advertised = advertised
        self.dialable = dialable_addresses(self.bound, local)
        return True


def advertised_addresses(
    bound: Iterable[Address], local: Sequence[LocalAddress]
) -> tuple[Address, ...]:
    """What the network is told: loopback only where there is nothing else."""
    found = _spelled_out(bound, local)
    outside = [address for address in found if not is_loopback(address.host)]
    return tuple(outside or found)[: limits.MAX_ADDRESSES_PER_PEER]


def dialable_addresses(
    bound: Iterable[Address], local: Sequence[LocalAddress]
) -> tuple[Address, ...]:
    """What another process of this machine can dial, loopback first."""
    found = _spelled_out(bound, local)
    found.sort(key=lambda address: not is_loopback(address.host))
    return tuple(found)[: limits.MAX_ADDRESSES_PER_PEER]


def _spelled_out(bound: Iterable[Address], local: Sequence[LocalAddress]) -> list[Address]:
    """The addresses behind what is bound, wildcards replaced by this machine's addresses."""
    found: list[Address] = []
    for address in bound:
        if address.host not in _WILDCARDS:
            found.append(address)
            continue
        found.extend(
            Address(entry.host, address.port)
            for entry in local
            if is_ipv6(entry.host) == is_ipv6(address.host)
        )
    return list(dict.fromkeys(found))
