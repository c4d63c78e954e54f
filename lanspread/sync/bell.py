"""Something to wait for that happens again and again."""

from __future__ import annotations

import trio


class Bell:
    """Wakes all who wait each time it rings. Take `next()` before looking at the state."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        self._event.set()
        self._event = trio.Event()

    def next(self) -> trio.Event:
        """An event that is set by the next ring."""
        return self._event
