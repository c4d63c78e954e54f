"""Addresses as text, and which addresses of a peer are worth keeping. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from lanspread import limits
from lanspread.seams import Address


def parse_address(text: str) -> Address:
    """`HOST:PORT` with an IP literal (IPv6 in brackets). Raises `ValueError`."""
    host, port = split_host_port(text)
    ipaddress.ip_address(host)
    return Address(host, port)


def split_host_port(text: str) -> tuple[str, int]:
    """`HOST:PORT`, the host a name or an IP literal (IPv6 in brackets). Raises `ValueError`."""
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is not HOST:PORT (an IPv6 address needs brackets)")
    if not colon or not host or not (port.isascii() and port.isdigit()):
        raise ValueError(f"{text!r} is not HOST:PORT")
    if not 0 <= int(port) <= 65_535:
        raise ValueError(f"{text!r} has a port out of range")
    return host, int(port)


def usable_addresses(texts_untrusted: Iterable[str], *, from_host: str) -> tuple[Address, ...]:
    """Listener addresses from a Hello that came from `from_host`, cleaned.

    Kept: unicast, port not 0; loopback only from a peer on loopback, where others make no sense to
    leave out. An address that cannot be parsed is left out, not an error: it is only a hint.
    """
    near = _is_loopback(from_host)
    found: list[Address] = []
    for text in texts_untrusted:
        try:
            address = parse_address(text)
            ip = ipaddress.ip_address(address.host)
        except ValueError:
            continue
        if address.port == 0 or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
            continue
        if ip.is_loopback and not near:
            continue
        if address.host == "255.255.255.255":
            continue
        found.append(address)
    return tuple(dict.fromkeys(found))[: limits.MAX_ADDRESSES_PER_PEER]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
