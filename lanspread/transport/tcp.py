"""Real TCP sockets for bulk data: `BulkNetwork` over the system's sockets.

Source: ARCHITECTURE.md, "The second path for bulk data".
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys

import trio

from lanspread.seams import Address
from lanspread.transport import addresses
from lanspread.transport.udp import interface_index

try:
    import fcntl
    import termios
except ImportError:  # Windows
    _OUTQ = None
else:
    # Elsewhere than on Linux the request of that name is about terminals alone.
    _OUTQ = termios.TIOCOUTQ if sys.platform == "linux" else None

_BACKLOG = 128


class TcpNetwork:
    """`BulkNetwork` of the machine."""

    def listen(self, address: Address) -> socket.socket:
        """A bound, listening, non-blocking socket; port 0 picks a free one. Raises `OSError`."""
        sock, raw = _make(address)
        try:
            # Of connections that ended: without it a restart would have to wait for them.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(raw)
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock

    async def connect(self, address: Address) -> socket.socket:
        """A connected, non-blocking socket. Raises `OSError`; cancelled, nothing stays open."""
        sock, raw = _make(address)
        try:
            try:
                sock.connect(raw)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, f"cannot connect to {address}") from None
            send_at_once(sock)
        except BaseException:
            sock.close()
            raise
        return sock


async def accept(listener: socket.socket) -> tuple[socket.socket, str]:
    """The next connection, non-blocking, and the host that it came from. Raises `OSError`."""
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, raw = listener.accept()
        except BlockingIOError:
            continue
        sock.setblocking(False)
        send_at_once(sock)
        return sock, str(raw[0])


def send_at_once(sock: socket.socket) -> None:
    """No waiting for an acknowledgement before the last, short segment of a message goes out.

    The other side holds its acknowledgements back for 40 ms, and asks for nothing more meanwhile.
    """
    with contextlib.suppress(OSError):  # It may have been reset already; who reads it will see.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _make(address: Address) -> tuple[socket.socket, tuple[str, int] | tuple[str, int, int, int]]:
    parsed = addresses.parse_host(address.host)
    if parsed is None:
        raise OSError(errno.EINVAL, f"not an IP address: {address.host}")
    ip, scope = parsed
    index = interface_index(scope) if scope else 0
    if index is None:
        raise OSError(errno.ENODEV, f"no interface {scope}")
    sock = socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET)
    sock.setblocking(False)
    if ip.version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock, (str(ip), address.port, 0, index)
    return sock, (str(ip), address.port)


def unacknowledged_bytes(sock: socket.socket) -> int:
    """What the other side has not taken yet of all that was sent; 0 where the system does not say.

    Who waits for room in a full buffer is woken only when a good part of it is free, which takes a
    slow reader a minute; this changes all the time.
    """
    if _OUTQ is None:
        return 0
    try:
        count: int = struct.unpack("=i", fcntl.ioctl(sock.fileno(), _OUTQ, bytes(4)))[0]
    except (OSError, ValueError):
        return 0
    return count
