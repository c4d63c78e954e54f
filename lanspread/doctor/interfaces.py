"""Interfaces: which there are, which lanspread uses, and why others are left out."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable, Sequence

import attrs
import ifaddr

from lanspread.doctor.findings import Finding, fault, note, ok, warning
from lanspread.seams import LocalAddress
from lanspread.transport import addresses, udp

CHECK = "interfaces"
# linux/sockios.h, linux/if.h
_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1
_IFF_MULTICAST = 0x1000


@attrs.frozen
class OwnAddress:
    """An address of this machine and the network it is in.

    `up` and `multicast` are the interface's flags, None where the system does not tell.
    """

    host: str
    interface: str
    prefix: int
    up: bool | None = None
    multicast: bool | None = None

    @property
    def local(self) -> LocalAddress:
        return LocalAddress(self.host, self.interface)

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        plain = self.host.partition("%")[0]
        return ipaddress.ip_network(f"{plain}/{self.prefix}", strict=False)

    def holds(self, host: str) -> bool:
        """Whether `host` is in this network; link-local IPv6 counts only on its own interface."""
        parsed = addresses.parse_host(host)
        if parsed is None or parsed[0].version != self.network.version:
            return False
        same_link = not parsed[0].is_link_local or self.host.partition("%")[2] in ("", parsed[1])
        return same_link and parsed[0] in self.network

    def __str__(self) -> str:
        return f"{self.interface} {self.host}"


def look_at_interfaces() -> tuple[OwnAddress, ...]:
    """Every usable address of this machine. Blocks for a moment."""
    prefixes: dict[tuple[str, str], int] = {}
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            host = ip.ip if isinstance(ip.ip, str) else ip.ip[0].partition("%")[0]
            prefixes[adapter.nice_name, host] = ip.network_prefix
    found = []
    flags: dict[str, int | None] = {}
    for one in udp.machine_addresses():
        if one.interface not in flags:
            flags[one.interface] = _flags(one.interface)
        bits = flags[one.interface]
        prefix = prefixes.get((one.interface, one.host.partition("%")[0]))
        alone = 128 if addresses.is_ipv6(one.host) else 32
        found.append(
            OwnAddress(
                one.host,
                one.interface,
                alone if prefix is None else prefix,
                None if bits is None else bool(bits & _IFF_UP),
                None if bits is None else bool(bits & _IFF_MULTICAST),
            )
        )
    return tuple(found)


def _flags(name: str) -> int | None:
    # Asked of the socket layer: /sys may show the interfaces of another network namespace.
    if sys.platform != "linux":
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode()[:15], 0))
        except OSError:
            return None
    return int(struct.unpack_from("=16xH", answer)[0])


def used_addresses(own: Iterable[OwnAddress], given: Sequence[str]) -> list[OwnAddress]:
    """What lanspread listens on and announces: the given ones, else all but VPNs and containers."""
    every = list(own)
    if given:
        return [one for one in every if one.host in given]
    kept = addresses.without_virtual(one.local for one in every)
    return [one for one in every if one.local in kept]


def judge_interfaces(own: Sequence[OwnAddress], given: Sequence[str]) -> list[Finding]:
    used = used_addresses(own, given)
    findings = [_missing(host) for host in given if all(one.host != host for one in own)]
    near = [one for one in used if not addresses.is_loopback(one.host)]
    if near:
        shown = ", ".join(f"{one}/{one.prefix}" for one in near)
        findings.append(ok(CHECK, "interfaces", f"in use: {shown}"))
    elif given:
        if used:
            findings.append(
                note(CHECK, "loopback_only", "only loopback is to be used: no other machine counts")
            )
    else:
        findings.append(
            fault(
                CHECK,
                "no_network",
                "this machine has no network address but loopback",
                "plug the cable in or join the Wi-Fi, and see that an address is given (DHCP)",
            )
        )
    if not given:
        findings += _left_out(own, used)
        findings += _doubtful(near)
    return findings


def _missing(host: str) -> Finding:
    return fault(
        CHECK,
        "interface_missing",
        f"{host} was given as an interface, and is no address of this machine",
        "give --interface an address that this machine has, or leave it out",
    )


def _left_out(own: Sequence[OwnAddress], used: Sequence[OwnAddress]) -> list[Finding]:
    by_name: dict[str, list[str]] = {}
    for one in own:
        if one not in used:
            by_name.setdefault(one.interface, []).append(one.host)
    return [
        note(
            CHECK,
            "left_out",
            f"{name} ({', '.join(hosts)}) is left out: its name is that of a VPN or of containers",
            f"if others are reached through it, give --interface {hosts[0]}",
        )
        for name, hosts in by_name.items()
    ]


def _doubtful(near: Sequence[OwnAddress]) -> list[Finding]:
    findings = []
    plain = [one for one in near if not addresses.is_ipv6(one.host)]
    if near and all(addresses.is_virtual(one.interface) for one in near):
        findings.append(
            warning(
                CHECK,
                "only_virtual",
                "there are only VPN or container interfaces, so those are used",
                "plug the cable in or join the Wi-Fi",
            )
        )
    if plain and all(ipaddress.ip_address(one.host).is_link_local for one in plain):
        findings.append(
            note(
                CHECK,
                "no_lease",
                f"{plain[0]} is an address that this machine gave itself: there was no DHCP server",
                "it works if all machines have one like it; otherwise see to the DHCP server",
            )
        )
    return findings
