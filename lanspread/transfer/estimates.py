"""How fast one source is, as far as it has shown. Pure: times come in."""

from __future__ import annotations

import math

# What was seen this many seconds of work ago counts 1/e of what is seen now.
_MEMORY_S = 3.0
# Of how much a new latency counts against what was known.
_LATENCY_WEIGHT = 0.25
_LATENCY_MOST_S = 1.0
_SHORTEST_S = 1e-6


class Estimate:
    """Throughput and latency of a source of which several answers may be out at once.

    The throughput is what arrived by the time in which something was out, both forgotten slowly, so
    pauses of our own making do not count and large answers count for what they are.
    """

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.out = 0
        self.out_bytes = 0
        self._bytes = 0.0
        self._busy_s = 0.0
        # Since when something has been out and nothing has arrived.
        self._since = 0.0

    def ask(self, now: float, length: int) -> None:
        """So many bytes are asked for."""
        if self.out == 0:
            self._since = now
        self.out += 1
        self.out_bytes += length

    def answer(self, now: float, length: int, asked_at: float, ahead_bytes: int) -> None:
        """They are here; `ahead_bytes` were out before them when they were asked for."""
        passed = max(now - self._since, _SHORTEST_S)
        kept = math.exp(-passed / _MEMORY_S)
        self._bytes = self._bytes * kept + length
        self._busy_s = self._busy_s * kept + passed
        self._since = now
        self._remove(length)
        expected = (ahead_bytes + length) * self._busy_s / self._bytes if self._bytes else 0.0
        sample = min(max(now - asked_at - expected, 0.0), _LATENCY_MOST_S)
        self.latency_s += (sample - self.latency_s) * _LATENCY_WEIGHT

    def give_up(self, length: int) -> None:
        """They will not come."""
        self._remove(length)

    def _remove(self, length: int) -> None:
        self.out -= 1
        self.out_bytes -= length

    def rate(self, now: float) -> float | None:
        """Bytes a second; None before anything has arrived.

        Where what is out should have arrived long ago, it falls with each moment that passes.
        """
        if not self._bytes:
            return None
        late = 0.0
        if self.out:
            late = max(0.0, now - self._since - self.out_bytes * self._busy_s / self._bytes)
        return self._bytes / (self._busy_s + late)

    def seconds_for(self, now: float, length: int) -> float:
        """How long so many more bytes would take, behind what is out; infinite if not known."""
        rate = self.rate(now)
        if rate is None:
            return math.inf
        return self.latency_s + (self.out_bytes + length) / rate
