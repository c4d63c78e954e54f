"""Waiting in virtual time: for a condition, for an event of a peer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from lanspread.eventhub import PublishedEvent
from lanspread.peer import Peer

DOWNLOAD_ENDS = ("download.finished", "download.failed", "download.cancelled")
_LOOK_EVERY_S = 0.05


async def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until `condition()` is true; it is looked at every 0.05 s. Raises `trio.TooSlowError`.

    Under the mock clock all times are virtual, and a wait takes no longer than what happens in it.
    """
    with trio.move_on_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - anything may make it true
            await trio.sleep(_LOOK_EVERY_S)
        return
    raise trio.TooSlowError(f"not true within {timeout_s:g} s")


class EventLog:
    """Everything that a peer reports from the moment this is made. `seen` is what was read of it.

    A state event is never left out: a log that is not read while a thousand events come fails with
    `SubscriberTooSlow`.
    """

    def __init__(self, peer: Peer) -> None:
        self._subscription = peer.events.subscribe(None)
        self._pending: deque[PublishedEvent] = deque()
        self.seen: list[PublishedEvent] = []

    async def next(self) -> PublishedEvent:
        """The next event of any type. Cancellation loses none."""
        while not self._pending:
            self._pending.extend(await self._subscription.next_batch())
        event = self._pending.popleft()
        self.seen.append(event)
        return event

    async def wait_for(self, *types: str, timeout_s: float = 300.0) -> PublishedEvent:
        """The next event of one of these types; those before it are in `seen`.

        Raises `trio.TooSlowError`.
        """
        with trio.move_on_after(timeout_s):
            while True:
                event = await self.next()
                if event.type in types:
                    return event
        raise trio.TooSlowError(f"none of {', '.join(types)} within {timeout_s:g} s")

    def types(self) -> list[str]:
        """The types of what was seen, in order."""
        return [event.type for event in self.seen]

    def of(self, kind: str) -> list[PublishedEvent]:
        """What was seen of one type."""
        return [event for event in self.seen if event.type == kind]

    def close(self) -> None:
        """Stop listening; the peer ending does as well."""
        self._subscription.close()
