"""Multicast really tried: a question is sent on an interface, and what comes back is kept.

The question is one that every mDNS responder of the network takes, and it goes out of port 5353
like theirs, so that answers come by multicast too: that is the way by which peers are found.
"""

from __future__ import annotations

import errno
import secrets
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from lanspread.doctor import mdns_packets
from lanspread.doctor.udp_probe import receive_once
from lanspread.seams import Address
from lanspread.transport import addresses, udp

MDNS_PORT = 5353
GROUP_IPV4 = "224.0.0.251"
GROUP_IPV6 = "ff02::fb"
# Asked twice, because either may get lost. A responder that has just answered somebody else waits
# until a second has passed since then (RFC 6762 section 6).
_ASK_AT_S = (0.0, 0.7)
LISTEN_S = 1.6
_MAX_SENDERS = 256
# linux/in.h: without it a socket hears the groups that any process joined on any interface.
_IP_MULTICAST_ALL = 49


@attrs.frozen(kw_only=True)
class Tried:
    """What came of multicast on one interface.

    `failed` is the step that the system refused ("open", "join", "send"; empty if none) and `error`
    its errno. `own` says whether our question came back to us. `answers` holds, per sender, the
    peers that it named and their protocol versions.
    """

    host: str
    interface: str
    failed: str = ""
    error: int = 0
    own: bool = False
    answers: dict[str, dict[str, int | None]] = attrs.field(factory=dict)


async def try_multicast(host: str, interface: str) -> Tried:
    """Ask on one interface and listen for `LISTEN_S`. Nothing stays joined or bound."""
    heard = _Heard()
    step, failed, error = "open", "", 0
    try:
        with _socket_on(host) as sock:
            step = "join"
            index = _index(host, interface)
            _join(sock, host, index)
            step = "send"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(heard.listen, sock)
                began = trio.current_time()
                for at in _ASK_AT_S:
                    await trio.sleep_until(began + at)
                    sock.sendto(heard.question, _group(host, index))
                await trio.sleep_until(began + LISTEN_S)
                nursery.cancel_scope.cancel()
    except* OSError as group:
        failed, error = step, _first(group).errno or 0
    if failed:
        return Tried(host=host, interface=interface, failed=failed, error=error)
    return Tried(host=host, interface=interface, own=heard.own, answers=heard.answers)


class _Heard:
    """What one socket heard."""

    def __init__(self) -> None:
        self.question = mdns_packets.question(secrets.randbelow(0xFFFF) + 1)
        self.own = False
        self.answers: dict[str, dict[str, int | None]] = {}

    async def listen(self, sock: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                data, sender = sock.recvfrom(9_000)
            except BlockingIOError:
                continue
            if data == self.question:
                self.own = True
                continue
            answer = mdns_packets.read_answer(data)
            if answer is None or sender[1] != MDNS_PORT:
                continue
            self._note(host_of(sender), answer.peers)
            # A flood must not keep the others from their turn.
            await trio.lowlevel.checkpoint()

    def _note(self, host: str, peers: dict[str, int | None]) -> None:
        """Keep so much of what was heard, and no more: anybody can send anything."""
        if host not in self.answers and len(self.answers) >= _MAX_SENDERS:
            return
        known = self.answers.setdefault(host, {})
        for peer_id, version in peers.items():
            if peer_id in known or len(known) < mdns_packets.MAX_PEERS:
                known[peer_id] = version if version is not None else known.get(peer_id)


async def ask_directly(address: Address) -> bool:
    """Whether the mDNS responder of one machine answers a question sent to it alone.

    It does where its multicast is lost on the way (RFC 6762 section 5.5). The caller sets the
    deadline; raises `OSError`.
    """
    family = socket.AF_INET6 if addresses.is_ipv6(address.host) else socket.AF_INET
    packet = mdns_packets.question(secrets.randbelow(0xFFFF) + 1, anybody=False)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((address.host, MDNS_PORT))
        sock.send(packet)
        while True:
            answer = mdns_packets.read_answer(await receive_once(sock))
            if answer is not None:
                return True


def host_of(sender: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """The host of a sender, its scope included (the socket module leaves that out)."""
    if len(sender) == 4 and sender[3]:
        return f"{sender[0].partition('%')[0]}%{udp.interface_name(sender[3])}"
    return sender[0]


@contextmanager
def _socket_on(host: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if addresses.is_ipv6(host) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        # As responders share the port; Windows has no SO_REUSEPORT, and old kernels refuse it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            except OSError as error:
                if error.errno != errno.ENOPROTOOPT:
                    raise
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", MDNS_PORT))
        yield sock


def _join(sock: socket.socket, host: str, index: int) -> None:
    """Hear the group on this interface alone, and send there, heard on this machine too."""
    if addresses.is_ipv6(host):
        group = socket.inet_pton(socket.AF_INET6, GROUP_IPV6) + struct.pack("=I", index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        return
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    own = socket.inet_aton(host)
    membership = socket.inet_aton(GROUP_IPV4) + own
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)


def _group(host: str, index: int) -> tuple[str, int] | tuple[str, int, int, int]:
    if not addresses.is_ipv6(host):
        return GROUP_IPV4, MDNS_PORT
    return GROUP_IPV6, MDNS_PORT, 0, index


def _index(host: str, interface: str) -> int:
    """The number of an interface; 0 lets the system choose."""
    return udp.interface_index(host.partition("%")[2] or interface) or 0


def _first(group: BaseExceptionGroup[OSError]) -> OSError:
    part: BaseException = group
    while isinstance(part, BaseExceptionGroup):
        part = part.exceptions[0]
    assert isinstance(part, OSError)
    return part
