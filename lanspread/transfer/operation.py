"""A running operation on one game, as the rest of the program and the API see it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import attrs
import trio

from lanspread.model import GameSummary
from lanspread.seams import Entropy
from lanspread.views import OperationKind, OperationState, OperationView


def new_operation_id(entropy: Entropy) -> str:
    """A fresh random id."""
    return entropy.token_bytes(16).hex()


@attrs.define(eq=False)
class Operation:
    """Changed by the task that performs it; `cancel` is for everybody else."""

    id: str
    game_id: str
    kind: OperationKind
    # What is being fetched, as it was offered; None where the game is here.
    offered: GameSummary | None = None
    state: OperationState = OperationState.RUNNING
    done_bytes: int = 0
    total_bytes: int = 0
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    def cancel(self) -> None:
        """Ask it to stop; it says so by its terminal event."""
        self.scope.cancel()

    def view(self) -> OperationView:
        return OperationView(
            operation_id=self.id,
            kind=self.kind,
            state=self.state,
            done_bytes=self.done_bytes,
            total_bytes=self.total_bytes,
        )


class RateMeter:
    """Bytes a second over the last few seconds. Pure: times come in."""

    def __init__(self, window_s: float = 5.0) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, total: int) -> float:
        """Take note that `total` bytes have moved by `now`; returns the rate."""
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[0][0] > self._window_s:
            self._samples.popleft()
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0


class SourceRates:
    """Bytes a second of each source over the last few seconds. Pure: times come in."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._meters: dict[str, RateMeter] = {}
        self._totals: dict[str, int] = {}

    def add(self, peer_id: str, count: int) -> None:
        """Take note that a source delivered `count` bytes."""
        self._totals[peer_id] = self._totals.get(peer_id, 0) + count

    def measure(self, now: float) -> Mapping[str, float]:
        """The rates by peer_id, of those that delivered something lately; asked regularly."""
        rates = {}
        for peer_id, total in self._totals.items():
            if peer_id not in self._meters:
                # What came since the last look may have been on its way for longer.
                # For who joined late that is too low, until the next look.
                self._meters[peer_id] = RateMeter()
                self._meters[peer_id].add(self._began, 0)
            rate = self._meters[peer_id].add(now, total)
            if rate > 0:
                rates[peer_id] = rate
        return rates
