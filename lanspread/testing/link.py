"""What one direction of a wire does to datagrams: delay, loss, doubling, reordering, a rate.

Pure: time and randomness come in, arrival times go out.
"""

from __future__ import annotations

import random

import attrs


@attrs.frozen(kw_only=True)
class Link:
    """The properties of a wire. Times in seconds, probabilities from 0 to 1.

    A reordered datagram arrives `reorder_s` later than it would have. With a rate, datagrams queue
    for at most `queue_s` before the wire and are dropped beyond that, as a switch does. Datagrams
    above `payload_bytes` vanish and nobody is told, as where a bridge takes no jumbo frames.
    """

    latency_s: float = 0.000_5
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    payload_bytes: int | None = None
    queue_s: float = 0.05
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    reorder_s: float = 0.005


@attrs.define
class Wire:
    """One direction between two hosts: its link, its own random source, when it is free again."""

    link: Link
    random: random.Random
    free_at: float = 0.0
    dropped: int = 0

    def arrivals(self, size_bytes: int, now: float) -> list[float]:
        """When a datagram sent now arrives: never, once or twice."""
        link = self.link
        if link.payload_bytes is not None and size_bytes > link.payload_bytes:
            self.dropped += 1
            return []
        sent_at = now
        if link.bytes_per_s is not None:
            begins = max(now, self.free_at)
            if begins - now > link.queue_s:
                self.dropped += 1
                return []
            self.free_at = sent_at = begins + size_bytes / link.bytes_per_s
        if link.loss and self.random.random() < link.loss:
            self.dropped += 1
            return []
        times = [self._arrival(sent_at)]
        if link.duplication and self.random.random() < link.duplication:
            times.append(self._arrival(sent_at))
        return times

    def _arrival(self, sent_at: float) -> float:
        at = sent_at + self.link.latency_s
        if self.link.jitter_s:
            at += self.random.uniform(0.0, self.link.jitter_s)
        if self.link.reordering and self.random.random() < self.link.reordering:
            at += self.link.reorder_s
        return at
