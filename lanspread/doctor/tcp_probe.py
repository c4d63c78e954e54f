"""Whether TCP reaches the port on which a peer serves bulk data.

Nothing is said on the connection: it is made and closed. So it tells of firewalls, which is what
keeps the bulk path from being used, and costs the peer a moment of one of its slots.
"""

from __future__ import annotations

import errno
import socket

import attrs
import trio

from lanspread.doctor.udp_probe import raw
from lanspread.seams import Address
from lanspread.transport import addresses

# What a non-blocking connect says that is under way; Windows has a word of its own.
_UNDER_WAY = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)}


@attrs.frozen
class Bulk:
    """What came of the connection; `error` is 0 if it was made, `ETIMEDOUT` for silence."""

    address: Address
    error: int = 0


async def connect(address: Address, source: str, within_s: float) -> Bulk:
    """Try for `within_s`; `source` is our address on the way, "" if the system may choose it."""
    family = socket.AF_INET6 if addresses.is_ipv6(address.host) else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_STREAM) as sock,
        trio.move_on_after(within_s),
    ):
        sock.setblocking(False)
        try:
            if source:
                sock.bind(raw(Address(source, 0)))
            error = sock.connect_ex(raw(address))
        except OSError as refused:
            return Bulk(address, refused.errno or errno.EIO)
        if error in _UNDER_WAY:
            await trio.lowlevel.wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return Bulk(address, error)
    return Bulk(address, errno.ETIMEDOUT)
