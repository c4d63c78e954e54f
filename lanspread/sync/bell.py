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


async def wait_any(*events: trio.Event) -> None:
    """Wait until one of these is set."""
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)
