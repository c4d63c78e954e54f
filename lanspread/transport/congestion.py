"""Congestion control of aioquic's connections: its New Reno and its pacer, with two additions.

The control notices when large packets vanish while small ones pass; the pacer fits a clock that
ticks in milliseconds. Source: RFC 9002; RFC 8899 section 4.3; ARCHITECTURE.md, "Transport".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aioquic.quic.congestion.base import register_congestion_control
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer

from lanspread.transport.path_mtu import SMALLEST_PAYLOAD_BYTES

# The name under which aioquic finds ours.
ALGORITHM: Final = "lanspread"
MINIMUM_WINDOW_PACKETS: Final = 2
# So many times large packets were lost, each time with a small one after them that arrived.
SUSPICIOUS_LOSSES: Final = 3
# The finest sleep of the event loop (epoll counts milliseconds), and the most datagrams sent in it.
TICK_S: Final = 0.001
MAX_BURST_DATAGRAMS: Final = 64


class Reno(RenoCongestionControl):
    """New Reno that tells a full queue from a path that swallows large packets.

    A queue that overflows drops large and small alike, and a large packet that was sent after the
    lost ones arrives. Where no such one ever does, and small ones do, size is what kills them.
    """

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._last_large_acked = -1
        self._suspicious = 0

    @property
    def large_vanish(self) -> bool:
        return self._suspicious >= SUSPICIOUS_LOSSES

    def set_datagram_size(self, size: int) -> None:
        """From now on packets are so large."""
        self._max_datagram_size = size
        self.congestion_window = max(self.congestion_window, MINIMUM_WINDOW_PACKETS * size)
        self._suspicious = 0

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        if packet.sent_bytes > SMALLEST_PAYLOAD_BYTES:
            self._suspicious = 0
            if packet.packet_number > self._last_large_acked:
                self._last_large_acked = packet.packet_number
        super().on_packet_acked(now=now, packet=packet)

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        lost = list(packets)
        for packet in lost:
            if (
                packet.sent_bytes > SMALLEST_PAYLOAD_BYTES
                and packet.packet_number > self._last_large_acked
            ):
                self._suspicious += 1
                break
        super().on_packets_lost(now=now, packets=lost)


register_congestion_control(ALGORITHM, Reno)


class Pacer(QuicPacketPacer):
    """aioquic's pacer, for a clock that ticks in milliseconds and for senders with many turns.

    The original holds at most 16 datagrams for a burst, then asks for a sleep of microseconds; as
    the loop sleeps a millisecond at least, that is a limit of 24 MB/s. And a busy sender comes to
    each of many connections so late that 16 datagrams are all it ever sends of one, each time
    waking a receiver, which costs as much again. Here a burst is what the rate allows in one tick,
    or half a window; at most the same for all, so that of many connections none gets more of the
    processor for having the wider window. RFC 9002 section 7.7 leaves the size of bursts to a
    sender that knows its path: here a local network.
    """

    def set_datagram_size(self, size: int) -> None:
        self._max_datagram_size = size

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        super().update_rate(congestion_window, smoothed_rtt)
        assert self.packet_time is not None
        burst_s = min(TICK_S, MAX_BURST_DATAGRAMS * self.packet_time)
        half_window = congestion_window / 2 / self._max_datagram_size
        turn_s = min(MAX_BURST_DATAGRAMS, half_window) * self.packet_time
        self.bucket_max = max(self.bucket_max, burst_s, turn_s)
