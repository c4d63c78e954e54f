"""How large packets a path carries: what to try, what passed, what vanished. Pure.

A connection begins with what every path must carry, then sends one packet as large as the kernel
says that the path takes; only when that was acknowledged do others follow. A size of which three
probes were lost, or that carried packets once and then swallowed them (a black hole: a narrower way
that says nothing), is left alone for a while that doubles each time, and the next smaller is tried.
Source: RFC 8899 sections 4 and 5; RFC 9000 section 14.
"""

from __future__ import annotations

import math
from typing import Final

from lanspread import limits

SMALLEST_PAYLOAD_BYTES: Final = limits.QUIC_SMALLEST_PAYLOAD_BYTES
IPV6_EXTRA_HEADER_BYTES: Final = 20
# Tried below what the kernel says: Ethernet over IPv4 (over IPv6 less its header), and what is left
# of it in most tunnels.
TUNNEL_PAYLOAD_BYTES: Final = 1_350
# RFC 8899 section 5.1.2, MAX_PROBES; one lost packet says nothing.
MAX_PROBES: Final = 3
# How long a size that failed is left alone: a cable that was out for a second must not cost more
# than this, and a path that swallows large packets is not to be tried all the time.
FIRST_PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 600.0


class PathMtu:
    """The largest UDP payload of one connection, `size`. `cap` is what we send at most, in bytes.

    `next_probe` says what to try; the answer is told by `probe_acked` or `probe_lost`.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._peer_limit = cap
        self._path_limit = SMALLEST_PAYLOAD_BYTES
        self._ethernet = limits.QUIC_PAYLOAD_BYTES
        self.size = SMALLEST_PAYLOAD_BYTES
        self._probing: int | None = None
        self._lost_probes = 0
        self._failed: float = math.inf
        self._failed_until = -math.inf
        self._pause_s = FIRST_PAUSE_S

    @property
    def is_base(self) -> bool:
        """Whether there is nothing smaller to fall back to."""
        return self.size <= SMALLEST_PAYLOAD_BYTES

    def peer_takes(self, payload: int) -> None:
        """The peer's max_udp_payload_size (RFC 9000 section 18.2)."""
        self._peer_limit = payload
        self.size = max(SMALLEST_PAYLOAD_BYTES, min(self.size, payload))

    def path_is(self, payload: int | None, *, ipv6: bool) -> None:
        """What the kernel knows of the path; None where it does not say: then Ethernet is tried."""
        self._ethernet = limits.QUIC_PAYLOAD_BYTES - (IPV6_EXTRA_HEADER_BYTES if ipv6 else 0)
        self._path_limit = self._ethernet if payload is None else payload
        self.size = max(SMALLEST_PAYLOAD_BYTES, min(self.size, self._path_limit))

    def moved(self) -> None:
        """Another path: nothing that was found out holds there."""
        self.size = SMALLEST_PAYLOAD_BYTES
        self._probing, self._lost_probes = None, 0
        self._failed, self._failed_until = math.inf, -math.inf

    def next_probe(self, now: float) -> int | None:
        """The size to try now, if any; it counts as sent."""
        if self._probing is not None:
            return None
        if self._failed_until <= now:
            self._failed = math.inf
        ceiling = min(self._cap, self._peer_limit, self._path_limit)
        if self.size >= min(ceiling, self._failed - 1):
            return None
        for size in (ceiling, self._ethernet, TUNNEL_PAYLOAD_BYTES):
            if self.size < size <= ceiling and size < self._failed:
                self._probing = size
                return size
        return None

    def probe_acked(self, size: int) -> bool:
        """A probe arrived; True if packets may be larger now."""
        if size != self._probing:
            return False
        self._probing, self._lost_probes = None, 0
        if size > min(self._cap, self._peer_limit, self._path_limit):
            # The path became narrower in the meantime, or so the kernel says.
            return False
        self.size = size
        return True

    def probe_lost(self, size: int, now: float) -> None:
        if size != self._probing:
            return
        self._probing = None
        self._lost_probes += 1
        if self._lost_probes >= MAX_PROBES:
            self._leave_alone(size, now)

    def vanished(self, now: float) -> None:
        """Packets of this size do not arrive any more."""
        self._leave_alone(self.size, now)
        self.size = SMALLEST_PAYLOAD_BYTES
        self._probing = None

    def _leave_alone(self, size: int, now: float) -> None:
        self._lost_probes = 0
        self._failed = size
        self._failed_until = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
