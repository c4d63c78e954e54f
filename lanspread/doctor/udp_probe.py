"""Whether UDP reaches a QUIC listener, told apart from whether QUIC then works.

The probe is a packet of a version that nobody speaks: a listener answers it with those that it
speaks (RFC 9000 section 6), and keeps nothing. What the system says instead tells where it ends.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import secrets
import socket
import sys
from collections.abc import Sequence

import attrs
import trio

from lanspread.seams import Address
from lanspread.transport import addresses, udp

# RFC 9000 section 15: reserved, so that a listener has to answer with a negotiation.
_VERSION = bytes.fromhex("1a2a3a4a")
_PACKET_BYTES = 1_200
_CID_BYTES = 8
_SEND_AT_S = (0.0, 0.2, 0.5, 1.0, 1.8)
_AGAIN_S = 0.05
# One may be a stray packet.
_STRANGE_ANSWERS = 2
# A bit more than Linux takes to find that no machine has an address (three questions by ARP).
WAIT_S = 3.4

# linux/in.h, linux/in6.h
_IP_RECVERR = 11
_IPV6_RECVERR = 25

_OUTCOMES = {
    errno.ECONNREFUSED: "REFUSED",
    # Windows says so of the same answer.
    errno.ECONNRESET: "REFUSED",
    errno.ENETUNREACH: "NO_ROUTE",
    errno.EADDRNOTAVAIL: "NO_ROUTE",
    errno.EHOSTUNREACH: "NO_HOST",
    errno.EHOSTDOWN: "NO_HOST",
    errno.EACCES: "FORBIDDEN",
    errno.EPERM: "FORBIDDEN",
    # What a black hole in the routes gives on Linux.
    errno.EINVAL: "FORBIDDEN",
}


class Udp(enum.Enum):
    """How a probe ended."""

    ANSWERED = "a QUIC listener answered"
    STRANGE = "something else answered"
    SILENT = "nothing came back"
    REFUSED = "the machine said that nobody listens there"
    NO_ROUTE = "this machine has no route"
    NO_HOST = "no machine has this address, or a router said so"
    FORBIDDEN = "this machine's routes or firewall forbid it"
    OUT_OF_REACH = "the interfaces that may be used do not reach it"
    FAILED = "the system refused"


@attrs.frozen
class Attempt:
    """One address that was tried; `source` is our address on the way to it, if there is a way."""

    address: Address
    outcome: Udp
    source: str = ""
    error: int = 0


def outcome_of(error: OSError) -> Udp:
    return Udp[_OUTCOMES.get(error.errno or 0, "FAILED")]


async def probe(address: Address, interfaces: Sequence[str]) -> Attempt:
    """Probe one address for `WAIT_S` at most, from one of the interfaces if any are given."""
    source = _source(address, interfaces)
    if source is None:
        return Attempt(address, Udp.OUT_OF_REACH)
    family = socket.AF_INET6 if addresses.is_ipv6(address.host) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            _ask_for_errors(sock)
            if source:
                sock.bind(raw(Address(source, 0)))
            sock.connect(raw(address))
        except OSError as error:
            return Attempt(address, outcome_of(error), error=error.errno or 0)
        name = str(sock.getsockname()[0])
        try:
            outcome = await _exchange(sock)
        except OSError as error:
            return Attempt(address, outcome_of(error), name, error.errno or 0)
        return Attempt(address, outcome, name)


def has_route(host: str) -> bool:
    """Whether the system knows a way to an address. Nothing is sent."""
    family = socket.AF_INET6 if addresses.is_ipv6(host) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(raw(Address(host, 9)))
        except OSError:
            return False
    return True


def raw(address: Address) -> tuple[str, int] | tuple[str, int, int, int]:
    """An address as the socket module takes it."""
    host, _, scope = address.host.partition("%")
    if not addresses.is_ipv6(host):
        return host, address.port
    return host, address.port, 0, (udp.interface_index(scope) or 0) if scope else 0


def probe_packet(connection_id: bytes) -> bytes:
    """A first packet of a reserved version; answers come to `connection_id`."""
    ids = bytes([_CID_BYTES]) + secrets.token_bytes(_CID_BYTES) + bytes([_CID_BYTES])
    head = b"\xc0" + _VERSION + ids + connection_id
    return head + bytes(_PACKET_BYTES - len(head))


def is_negotiation(data_untrusted: bytes, connection_id: bytes) -> bool:
    """Whether this is the answer to our probe: long header, version 0, addressed to us."""
    expected = bytes(4) + bytes([len(connection_id)]) + connection_id
    return (
        len(data_untrusted) > len(expected)
        and bool(data_untrusted[0] & 0x80)
        and data_untrusted[1 : 1 + len(expected)] == expected
    )


async def receive_once(sock: socket.socket) -> bytes:
    """The next datagram of a connected socket. Raises `OSError` for what the system says instead.

    A socket may wake its reader with nothing to read: for a packet with a wrong checksum, or for an
    error that a send took.
    """
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            return sock.recv(65_535)
        except BlockingIOError:
            # It may go on waking us for the same reason.
            await trio.sleep(_AGAIN_S)


def _ask_for_errors(sock: socket.socket) -> None:
    """Linux keeps from UDP what routers and ARP say of a host, unless it is asked (ip(7))."""
    if sys.platform == "linux":
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def _source(address: Address, interfaces: Sequence[str]) -> str | None:
    """The interface to go by; "" if the system may choose, None if none of them leads there."""
    if not interfaces:
        return ""
    able = (one for one in interfaces if addresses.can_reach(Address(one, 0), address))
    return next(able, None)


async def _exchange(sock: socket.socket) -> Udp:
    outcomes: list[Udp] = []
    connection_id = secrets.token_bytes(_CID_BYTES)

    async def send() -> None:
        began = trio.current_time()
        for at in _SEND_AT_S:
            await trio.sleep_until(began + at)
            # What does not fit now is asked again soon.
            with contextlib.suppress(BlockingIOError):
                sock.send(probe_packet(connection_id))

    async def receive() -> None:
        while True:
            data = await receive_once(sock)
            outcome = Udp.ANSWERED if is_negotiation(data, connection_id) else Udp.STRANGE
            outcomes.append(outcome)
            if outcome is Udp.ANSWERED or len(outcomes) >= _STRANGE_ANSWERS:
                nursery.cancel_scope.cancel()
                return

    try:
        with trio.move_on_after(WAIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                nursery.start_soon(receive)
    except* OSError as group:
        error = group.exceptions[0]
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise OSError(error.errno, error.strerror) from None
    return outcomes[-1] if outcomes else Udp.SILENT
