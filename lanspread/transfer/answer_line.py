"""Whose turn it is among the answers of one session: one after the other, as they were asked for.

Who asks for several chunks at once wants them to follow one another without a pause, not to come
side by side, all of them late: what is half here is worth nothing, to show or when the source
vanishes. It also is what the asker reckons with (`lanspread.transfer.estimates`).
Source: ARCHITECTURE.md, "Serving".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from lanspread import limits


class AnswerLine:
    """The answers of one session that are under way, the oldest first."""

    def __init__(self) -> None:
        self._places: deque[Place] = deque()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Stand in the line inside the block, behind those that are there."""
        place = Place()
        self._places.append(place)
        self._call_first()
        try:
            yield place
        finally:
            self._places.remove(place)
            self._call_first()

    def _call_first(self) -> None:
        if self._places:
            self._places[0].called.set()


class Place:
    """One answer's place; `called` once nothing is before it."""

    def __init__(self) -> None:
        self.called = trio.Event()

    async def turn(self) -> None:
        """Wait until a little may be sent: nothing is before it, or it waited for long.

        So nobody takes a source for silent because a long answer, or one that its asker does not
        read at the moment, comes first. Returns at once where nothing is before it.
        """
        if not self.called.is_set():
            with trio.move_on_after(limits.ANSWER_PATIENCE_S):
                await self.called.wait()
