"""Which addresses may be dialed or advertised, and which interfaces count. Pure.

Everything here takes IP literals; an IPv6 scope is part of the host (`fe80::1%eth0`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence

from lanspread.seams import Address, LocalAddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Interfaces whose addresses the neighbours cannot reach, or only through a tunnel. Compared
# without case, at the start of the name.
VIRTUAL_INTERFACES = (
    "docker", "veth", "br-", "cni", "flannel", "cali", "lxc", "lxd", "podman", "virbr", "vnet",
    "vmnet", "vboxnet", "vmware", "virtualbox", "vethernet", "hyper-v", "tun", "tap", "utun", "wg",
    "ppp", "ipsec", "tailscale", "zt", "zerotier", "nordlynx", "proton", "awdl", "llw", "anpi",
)  # fmt: skip


def parse_host(host: str) -> tuple[IPAddress, str] | None:
    """(address, scope) of an IP literal; the scope is "" where there is none. None if it is not."""
    plain, percent, scope = host.partition("%")
    if percent and (not scope or len(scope) > 64 or not scope.isprintable() or "%" in scope):
        return None
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return None
    if percent and address.version == 4:
        return None
    return address, scope


def is_ipv6(host: str) -> bool:
    return ":" in host


def is_loopback(host: str) -> bool:
    parsed = parse_host(host)
    return parsed is not None and parsed[0].is_loopback


def is_wildcard(host: str) -> bool:
    parsed = parse_host(host)
    return parsed is not None and parsed[0].is_unspecified


def is_dialable(address: Address, *, allow_loopback: bool) -> bool:
    """Whether a peer's claim that it listens here may be tried: unicast, a port, known scope.

    A link-local IPv6 address without a scope names no interface, so it leads nowhere. Mapped IPv4
    addresses are refused: they would be a second spelling that dodges the other rules.
    """
    parsed = parse_host(address.host)
    if parsed is None or not 1 <= address.port <= 65_535:
        return False
    ip, scope = parsed
    if ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None or ip.is_link_local != bool(scope):
            return False
    elif ip.is_reserved or ip in _THIS_NETWORK:
        return False
    return allow_loopback or not ip.is_loopback


_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")


def can_reach(bound: Address, target: Address) -> bool:
    """Whether a socket bound to `bound` can send to `target`: the family, and loopback.

    Loopback and the rest of the world do not mix: Linux would let some of it through, others none.
    """
    ours, theirs = parse_host(bound.host), parse_host(target.host)
    if ours is None or theirs is None or ours[0].version != theirs[0].version:
        return False
    if theirs[0].version == 6 and theirs[0].is_link_local and not theirs[1]:
        return False
    return ours[0].is_unspecified or ours[0].is_loopback == theirs[0].is_loopback


def without_virtual(addresses: Iterable[LocalAddress]) -> list[LocalAddress]:
    """Leave out VPN and container interfaces, unless nothing but loopback would remain."""
    every = list(addresses)
    real = [one for one in every if not is_virtual(one.interface)]
    return real if any(not is_loopback(one.host) for one in real) else every


def is_virtual(interface: str) -> bool:
    """Whether an interface has the name of a VPN or of containers."""
    return interface.lower().startswith(VIRTUAL_INTERFACES)


def take_in_turns(groups: Sequence[Sequence[Address]], most: int) -> tuple[Address, ...]:
    """At most `most` different addresses: the first of each group, then the second of each, …

    So no group, however long, pushes out what the others say first.
    """
    taken: dict[Address, None] = {}
    for rank in range(max(map(len, groups), default=0)):
        for group in groups:
            if rank < len(group) and len(taken) < most:
                taken.setdefault(group[rank])
    return tuple(taken)


def named_scope(host: str, name_of: Callable[[int], str]) -> str:
    """`fe80::1%2` as `fe80::1%eth0`, so that one address has one spelling."""
    plain, percent, scope = host.partition("%")
    if not percent or not scope.isdigit():
        return host
    try:
        return f"{plain}%{name_of(int(scope))}"
    except (OSError, OverflowError):
        return host
