"""The ports that lanspread listens on: free, held by our own running peer, or by somebody else."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence
from typing import Literal

import attrs

from lanspread import limits
from lanspread.config import parse_host_port
from lanspread.doctor.findings import Finding, fault, note, ok, warning
from lanspread.doctor.running import Running, RunningPeer
from lanspread.doctor.wanted import Wanted
from lanspread.seams import Address
from lanspread.transport import addresses, udp

CHECK = "ports"
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


@attrs.frozen
class Port:
    """One port that was tried. `given` says that the settings name it; `error` is 0 if free."""

    use: Literal["peers", "bulk data", "page and API"]
    address: Address
    given: bool
    error: int


def look_at_ports(wanted: Wanted) -> tuple[Port, ...]:
    """Bind what `run` would bind, and let go of it at once; nothing is sent or listened to."""
    found = []
    for address in _listeners(wanted):
        if address.port:
            error = _try(address, socket.SOCK_DGRAM)
            optional = wanted.listen is None and address.host == "::"
            if not (optional and error in _NO_SUCH_FAMILY):
                found.append(Port("peers", address, wanted.listen is not None, error))
                if wanted.bulk and not error:
                    # The same number, or any other that is free.
                    error = _try(address, socket.SOCK_STREAM)
                    found.append(Port("bulk data", address, False, error))
    api = wanted.api or Address("127.0.0.1", limits.DEFAULT_API_PORT)
    if api.host == "localhost":
        api = Address("127.0.0.1", api.port)
    if api.port and addresses.parse_host(api.host) is not None:
        found.append(
            Port("page and API", api, wanted.api is not None, _try(api, socket.SOCK_STREAM))
        )
    return tuple(found)


def _listeners(wanted: Wanted) -> Sequence[Address]:
    if wanted.listen is not None:
        return wanted.listen
    hosts = wanted.interfaces or ("0.0.0.0", "::")
    return [Address(host, limits.DEFAULT_PORT) for host in hosts]


def _try(address: Address, kind: socket.SocketKind) -> int:
    host, _, scope = address.host.partition("%")
    family = socket.AF_INET6 if addresses.is_ipv6(host) else socket.AF_INET
    try:
        with socket.socket(family, kind) as sock:
            if kind is socket.SOCK_STREAM and sys.platform != "win32":
                # As a server does: what only waits for late packets of an old connection is free.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((host, address.port, 0, udp.interface_index(scope) or 0 if scope else 0))
            else:
                sock.bind((host, address.port))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def judge_ports(found: Sequence[Port], peer: RunningPeer) -> list[Finding]:
    """What each port means; `peer` is the running peer of the same state folder."""
    findings = []
    for use in ("peers", "bulk data", "page and API"):
        of_use = [port for port in found if port.use == use]
        # Both families of one port are one thing to people.
        for number in dict.fromkeys(port.address.port for port in of_use):
            same = [port for port in of_use if port.address.port == number]
            findings.append(_judge(next((port for port in same if port.error), same[0]), peer))
    return findings


def _judge(port: Port, peer: RunningPeer) -> Finding:
    kind = "UDP" if port.use == "peers" else "TCP"
    what = f"{kind} port {port.address.port} ({port.use})"
    number = port.address.port
    if isinstance(peer, Running) and number in _ports_of(peer, port.use):
        return ok(CHECK, "port_ours", f"{what} is held by our own running peer")
    if not port.error:
        if isinstance(peer, Running):
            others = ", ".join(map(str, _ports_of(peer, port.use)))
            return note(
                CHECK,
                "port_other",
                f"{what} is free, and the running peer uses {others or 'another'} instead",
                "start the peer again to have the usual port, which firewalls may be set up for",
            )
        return ok(CHECK, "port_free", f"{what} is free")
    if port.error != errno.EADDRINUSE:
        why = os.strerror(port.error)
        return fault(
            CHECK,
            "port_unusable",
            f"{what} cannot be used at {port.address}: {why}",
            "give --listen or --api an address of this machine and a port from 1024 up",
        )
    message = f"{what} is held by another program, maybe a lanspread with another state folder"
    if port.given:
        return fault(
            CHECK, "port_taken", message, "end that program, or give lanspread another port"
        )
    return warning(
        CHECK,
        "port_taken",
        f"{message}; lanspread picks a free one instead",
        "end that program, or give a port that is free and that the firewall passes",
    )


def ports_of_peers(wanted: Wanted, peer: RunningPeer) -> list[int]:
    """The UDP ports that others reach us at: those that are in use, else those that are set."""
    used = _ports_of(peer, "peers") if isinstance(peer, Running) else []
    given = [address.port for address in wanted.listen or () if address.port]
    return used or list(dict.fromkeys(given)) or [limits.DEFAULT_PORT]


def _ports_of(peer: Running, use: str) -> list[int]:
    texts = (peer.api,) if use == "page and API" else peer.listen
    found = []
    for text in texts:
        try:
            found.append(parse_host_port(text).port)
        except ValueError:
            continue
    return list(dict.fromkeys(found))
