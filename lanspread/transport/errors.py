"""What can go wrong on a connection, and who is to blame.

Everything here is raised to callers of `lanspread.transport`; errors of the QUIC engine never cross
the package's edge. Source: ARCHITECTURE.md, "Transport"; RFC 9000 sections 10, 11, 19.4, 19.5.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

import attrs
import trio

from lanspread.seams import Address

MAX_REASON_CHARS: Final = 200
MAX_CODE: Final = (1 << 62) - 1


class TransportCode(enum.IntEnum):
    """Application close and stream codes that this layer itself uses; others are the protocol's."""

    NONE = 0
    # A connection made us hold more unread data than one connection, or all together, may.
    BUFFER_LIMIT = 0x6C70_0001


@attrs.frozen
class CloseInfo:
    """How a connection ended.

    `code` is an application code where `application` is true, otherwise a transport error code of
    RFC 9000 section 20.1. `reason` is text for people: printable and bounded, but written by the
    peer where `by` is "peer". "timeout" is silence (of the peer, or in the handshake), "error" a
    violation of the protocol or of a bound that our side answered by closing.
    """

    code: int
    reason: str
    by: Literal["us", "peer", "timeout", "error"]
    application: bool

    def __str__(self) -> str:
        kind = "application" if self.application else "transport"
        text = f": {self.reason}" if self.reason else ""
        return f"closed by {self.by} ({kind} code {self.code:#x}{text})"


class TransportError(Exception):
    """The root of this package's errors."""


class ConnectFailed(TransportError):
    """A connection could not be made; the subclass says why."""

    def __init__(self, address: Address, message: str) -> None:
        super().__init__(f"{address}: {message}")
        self.address = address


class Unreachable(ConnectFailed):
    """No socket of this endpoint reaches the address; nothing was sent."""


class ConnectTimeout(ConnectFailed):
    """Nobody finished the handshake within its time."""


class ConnectRefused(ConnectFailed):
    """The other side closed the attempt; `info` has its code and reason."""

    def __init__(self, address: Address, info: CloseInfo) -> None:
        super().__init__(address, str(info))
        self.info = info


class HandshakeFailed(ConnectFailed):
    """What the other side sent is no handshake that we take."""

    def __init__(self, address: Address, info: CloseInfo) -> None:
        super().__init__(address, str(info))
        self.info = info


class EndpointFull(ConnectFailed):
    """This endpoint holds as many connections as it may (`limits.MAX_CONNECTIONS`)."""


class ConnectionLost(TransportError, trio.BrokenResourceError):
    """The connection has ended; `info` says who ended it and why."""

    def __init__(self, info: CloseInfo) -> None:
        super().__init__(str(info))
        self.info = info


class StreamReset(TransportError, trio.BrokenResourceError):
    """The peer abandoned its sending half (RESET_STREAM): what was to come will not."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the peer reset the stream with code {code:#x}")
        self.code = code


class StreamStopped(TransportError, trio.BrokenResourceError):
    """The peer does not want what we send (STOP_SENDING); our sending half is over."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the peer stopped the stream with code {code:#x}")
        self.code = code


def clean_reason(reason_untrusted: str) -> str:
    """A reason phrase as one short line of printable characters."""
    text = reason_untrusted[: 4 * MAX_REASON_CHARS]
    return "".join(char for char in text if char.isprintable())[:MAX_REASON_CHARS]
