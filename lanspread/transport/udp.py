"""Real UDP: `DatagramSocket` and `Network` over the system's sockets.

Where the kernel has them (Linux), segmentation offload does the work: one `sendmsg` carries up to
64 datagrams (UDP_SEGMENT) and one `recvmsg` returns as many (UDP_GRO); elsewhere, and wherever the
kernel refuses, datagrams go one by one. Which path is in use is never visible to the caller.

Fragmentation is left to the kernel's default: it sets "don't fragment" as long as a datagram fits
the path it knows, and fragments when a router said that the path is narrower. The QUIC engine asks
for that size (`path_payload`) and stays below it; forcing the bit on would only shut out paths that
carry less than QUIC's smallest packet.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import cast

import attrs
import ifaddr
import trio

from lanspread import limits
from lanspread.seams import Address, LocalAddress, Threads
from lanspread.transport import addresses

_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_IP_MTU = 14
_IPV6_MTU = 24
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IS_LINUX = sys.platform == "linux"

SOCKET_BUFFER_BYTES = 4 * limits.MIB
MAX_SEGMENTS = 64
MAX_SEGMENTED_BYTES = 65_000
_RECEIVE_BYTES = 65_536
_MAX_PLAIN_TARGETS = 256
# With the 8 bytes of UDP.
_IPV4_HEADER_BYTES = 28
_IPV6_HEADER_BYTES = 48

# The kernel knows the option and the socket has it, but not for this way out (checksums in
# hardware missing, for example).
_OFFLOAD_BROKEN = frozenset({errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
_RawAddress = tuple[str, int] | tuple[str, int, int, int]


@attrs.frozen(kw_only=True)
class UdpStatistics:
    """`refused` counts datagrams that the system would not send, by errno name."""

    sent: int
    received: int
    receive_errors: int
    refused: dict[str, int]
    sends_offloaded: bool
    receives_offloaded: bool


class UdpSocket:
    """`DatagramSocket` over one bound, non-blocking socket. Made by `UdpNetwork.bind`."""

    def __init__(self, sock: socket.socket, *, offload: bool = True) -> None:
        self._sock = sock
        self._ipv6 = sock.family == socket.AF_INET6
        self._address = _from_raw(sock.getsockname())
        self._closed = False
        self._left: deque[tuple[bytes, Address]] = deque()
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._offload_send, self._offload_receive = offloads(sock) if offload else (False, False)
        # The smallest size of segments that the kernel refused on the way to an address.
        self._plain_targets: dict[Address, int] = {}
        self._last_raw: _RawAddress | None = None
        self._last_source = self._address
        self._sent = self._received = self._receive_errors = 0
        self._refused: Counter[str] = Counter()

    @property
    def address(self) -> Address:
        return self._address

    def statistics(self) -> UdpStatistics:
        return UdpStatistics(
            sent=self._sent,
            received=self._received,
            receive_errors=self._receive_errors,
            refused=dict(self._refused),
            sends_offloaded=self._offload_send,
            receives_offloaded=self._offload_receive,
        )

    def reaches(self, address: Address) -> bool:
        return addresses.can_reach(self._address, address)

    def path_payload(self, address: Address) -> int | None:
        """See `DatagramSocket.path_payload`: the MTU of the route, or what a router reported."""
        target = self._to_raw(address)
        if not _IS_LINUX or target is None:
            return None
        try:
            # Of its own, because only a connected socket is asked, and ours talks to everyone.
            with socket.socket(self._sock.family, socket.SOCK_DGRAM) as asked:
                asked.connect(target)
                if self._ipv6:
                    return asked.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU) - _IPV6_HEADER_BYTES
                return asked.getsockopt(socket.IPPROTO_IP, _IP_MTU) - _IPV4_HEADER_BYTES
        except OSError:
            return None

    # -- receiving --------------------------------------------------------------------------------

    async def receive(self) -> list[tuple[bytes, Address]]:
        """See `DatagramSocket.receive`. Raises `trio.BusyResourceError` on a second receiver."""
        # Datagrams leave the socket after the last await: a cancelled receive loses none.
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise trio.ClosedResourceError
            batch = self._drain()
            if batch:
                return batch
            await trio.lowlevel.wait_readable(self._sock)

    def _drain(self) -> list[tuple[bytes, Address]]:
        """What is there now, up to a batch. One offloaded read may bring more than is left of it;
        the rest waits for the next call."""
        left = self._left
        while len(left) < limits.DATAGRAM_BATCH:
            try:
                if self._offload_receive:
                    self._read_segments()
                else:
                    size, raw = self._sock.recvfrom_into(self._buffer)
                    left.append((bytes(self._view[:size]), self._source(raw)))
            except BlockingIOError:
                break
            except OSError as error:
                if self._closed or error.errno == errno.EBADF:
                    raise trio.ClosedResourceError from None
                # "Port unreachable" in answer to something sent earlier (Windows: ECONNRESET), or a
                # passing shortage. Counted; the caller waits and reads again.
                self._receive_errors += 1
                break
        count = min(len(left), limits.DATAGRAM_BATCH)
        self._received += count
        return [left.popleft() for _ in range(count)]

    def _read_segments(self) -> None:
        size, control, flags, raw = self._sock.recvmsg_into([self._buffer], _GRO_CONTROL_BYTES)
        if flags & socket.MSG_TRUNC:
            self._receive_errors += 1
            return
        segment = _segment_size(control) or max(size, 1)
        source = self._source(raw)
        if size <= segment:
            self._left.append((bytes(self._view[:size]), source))
            return
        for start in range(0, size, segment):
            self._left.append((bytes(self._view[start : min(start + segment, size)]), source))

    def _source(self, raw: _RawAddress) -> Address:
        # Datagrams come in runs from one sender.
        if raw != self._last_raw:
            self._last_raw = raw
            self._last_source = _from_raw(raw)
        return self._last_source

    # -- sending ----------------------------------------------------------------------------------

    async def send(self, datagrams: Sequence[bytes], address: Address) -> None:
        """See `DatagramSocket.send`. Cancelled, it has sent the first of them or none."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError
        target = self._to_raw(address)
        if target is None:
            self._refuse("no such scope", len(datagrams))
            return
        for start, stop in runs(datagrams):
            run = datagrams[start:stop]
            offload = len(run) > 1 and self._offload_send
            if self._plain_targets and len(run[0]) >= self._plain_targets.get(address, 1 << 16):
                offload = False
            if offload and await self._send_run(run, target, address):
                continue
            for datagram in run:
                await self._send_one(datagram, target)

    async def _send_run(
        self, datagrams: Sequence[bytes], target: _RawAddress, address: Address
    ) -> bool:
        """Send all in one call; False if the kernel will not, and each has to go on its own."""
        control = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", len(datagrams[0])))]
        while True:
            try:
                self._sock.sendmsg(datagrams, control, 0, target)
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                if error.errno in _OFFLOAD_BROKEN:
                    self._offload_send = False
                    return False
                if error.errno in (errno.EINVAL, errno.EMSGSIZE):
                    # A segment is larger than this path's packets: plain sends get fragmented.
                    self._remember_plain(address, len(datagrams[0]))
                    return False
                self._count_error(error, len(datagrams))
                return True
            else:
                self._sent += len(datagrams)
                return True

    async def _send_one(self, datagram: bytes, target: _RawAddress) -> None:
        while True:
            try:
                self._sock.sendto(datagram, target)
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                self._count_error(error, 1)
                return
            else:
                self._sent += 1
                return

    async def _writable(self) -> None:
        await trio.lowlevel.wait_writable(self._sock)
        if self._closed:
            raise trio.ClosedResourceError

    def _remember_plain(self, address: Address, size: int) -> None:
        if len(self._plain_targets) >= _MAX_PLAIN_TARGETS:
            # So many narrow paths are unlikely, and a table that only grows is a leak.
            self._offload_send = False
            self._plain_targets.clear()
        self._plain_targets[address] = size

    def _count_error(self, error: OSError, count: int) -> None:
        if self._closed or error.errno == errno.EBADF:
            raise trio.ClosedResourceError from None
        self._refuse(_errno_name(error), count)

    def _refuse(self, reason: str, count: int) -> None:
        self._refused[reason] += count

    def _to_raw(self, address: Address) -> _RawAddress | None:
        if not self._ipv6:
            return address.host, address.port
        host, _, scope = address.host.partition("%")
        if not scope:
            return host, address.port, 0, 0
        index = interface_index(scope)
        return None if index is None else (host, address.port, 0, index)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._left.clear()
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


def runs(datagrams: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Cut into [start, stop) that one segmented send can carry: equal sizes, the last may be less.

    At most 64 datagrams and 65,000 bytes each; an empty datagram always goes on its own.
    """
    start = 0
    while start < len(datagrams):
        size = total = len(datagrams[start])
        stop = start + 1
        while size and stop < len(datagrams) and stop - start < MAX_SEGMENTS:
            length = len(datagrams[stop])
            if not 0 < length <= size or total + length > MAX_SEGMENTED_BYTES:
                break
            total += length
            stop += 1
            if length < size:
                break
        yield start, stop
        start = stop


def _from_raw(raw: _RawAddress) -> Address:
    if len(raw) == 4 and raw[3]:
        return Address(f"{raw[0].partition('%')[0]}%{interface_name(raw[3])}", raw[1])
    return Address(raw[0], raw[1])


def interface_name(index: int) -> str:
    """The name of an interface, or its number where it has none any more."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def interface_index(scope: str) -> int | None:
    """The number behind a scope, which may be a number already."""
    if scope.isdigit():
        return int(scope) if len(scope) < 10 else None
    try:
        return socket.if_nametoindex(scope)
    except OSError:
        return None


class UdpNetwork:
    """`Network` of the machine. `offload=False` sends and receives one by one everywhere."""

    def __init__(self, threads: Threads, *, offload: bool = True) -> None:
        self._threads = threads
        self._offload = offload

    async def bind(self, address: Address) -> UdpSocket:
        """Bind one socket; port 0 picks a free one. Raises `OSError`.

        IPv6 sockets take no IPv4 (IPV6_V6ONLY), so both wildcards can share a port.
        """
        await trio.lowlevel.checkpoint()
        parsed = addresses.parse_host(address.host)
        if parsed is None:
            raise OSError(errno.EINVAL, f"not an IP address: {address.host}")
        ip, scope = parsed
        index = interface_index(scope) if scope else 0
        if index is None:
            raise OSError(errno.ENODEV, f"no interface {scope}")
        family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if ip.version == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((str(ip), address.port, 0, index))
            else:
                sock.bind((str(ip), address.port))
            grow_buffers(sock)
            return UdpSocket(sock, offload=self._offload)
        except BaseException:
            sock.close()
            raise

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses behind a name or an IP literal, best first. Raises `OSError`.

        Cancellation leaves a name server's answer to nobody; it holds nothing up.
        """
        if addresses.parse_host(host) is not None:
            await trio.lowlevel.checkpoint()
            return [Address(host, port)]
        try:
            answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except UnicodeError as error:
            raise OSError(errno.EINVAL, f"not a host name: {host!r}") from error
        found: dict[Address, None] = {}
        for family, _, _, _, raw in answers:
            if family in (socket.AF_INET, socket.AF_INET6):
                found[_from_raw(cast("_RawAddress", raw))] = None
        return list(found)

    async def local_addresses(self) -> list[LocalAddress]:
        """Addresses of this machine, loopback included, VPN and container interfaces left out."""
        found = await self._threads.run(machine_addresses, pool="discovery")
        return addresses.without_virtual(found)


def machine_addresses() -> list[LocalAddress]:
    """Every usable address of every interface. Blocks for a moment."""
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            name = adapter.nice_name
            if isinstance(ip.ip, str):
                found.append(LocalAddress(ip.ip, name))
                continue
            host, _, scope = ip.ip
            if scope:
                host = f"{host.partition('%')[0]}%{interface_name(scope)}"
            parsed = addresses.parse_host(host)
            # A link-local address is of use only with the interface it is on.
            if parsed is not None and parsed[0].is_link_local == bool(parsed[1]):
                found.append(LocalAddress(host, name))
    return found


def grow_buffers(sock: socket.socket) -> None:
    """Give a UDP socket the buffers that a peer wants, as far as the system lets it."""
    _grow_buffer(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE)
    _grow_buffer(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE)


def offloads(sock: socket.socket) -> tuple[bool, bool]:
    """Switch on what the kernel has of segmentation offload: (sending, receiving)."""
    return _has_option(sock, _UDP_SEGMENT, 0), _has_option(sock, _UDP_GRO, 1)


def _grow_buffer(sock: socket.socket, option: int, forced: int) -> None:
    """4 MiB, or what the system allows; root may pass its limit (Linux)."""
    if _IS_LINUX:
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
        except PermissionError:
            pass
        else:
            return
    size = SOCKET_BUFFER_BYTES
    while size >= 64 * limits.KIB:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, size)
        except OSError:
            # BSD refuses what Linux would cut down.
            size //= 2
        else:
            return


def _has_option(sock: socket.socket, option: int, value: int) -> bool:
    if not _IS_LINUX:
        return False
    try:
        sock.setsockopt(_SOL_UDP, option, value)
    except OSError:
        return False
    return True


_GRO_CONTROL_BYTES = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0


def _segment_size(control: list[tuple[int, int, bytes]]) -> int:
    """The segment size of an offloaded read; 0 if it brought one datagram."""
    for level, kind, data in control:
        if level == _SOL_UDP and kind == _UDP_GRO and len(data) >= 4:
            return int(struct.unpack_from("=i", data)[0])
    return 0


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))
