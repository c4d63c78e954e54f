"""What the library keeps of one game beside its published value, and who walks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from lanspread.fs.errors import FsError
from lanspread.fs.local_game import Digests
from lanspread.fs.scan import Fingerprint, ScanWarning

# Walks at the same time; more would only make a disk's head travel.
_WALKS: Final = 4


@attrs.define(eq=False)
class Walk:
    """A walk that is asked for; those who wait share it. `finished` is False if it never was."""

    done: trio.Event = attrs.field(factory=trio.Event)
    finished: bool = False


@attrs.define(eq=False)
class _News:
    event: trio.Event = attrs.field(factory=trio.Event)
    error: FsError | None = None


@attrs.define(eq=False)
class Slot:
    """One game's bookkeeping. `unreadable` is (path, why, until when that is believed)."""

    id: str
    known: Digests = attrs.field(factory=dict)
    loaded: bool = False
    unsaved: bool = False
    fingerprint: Fingerprint = ()
    warnings: tuple[ScanWarning, ...] = ()
    unreadable: tuple[str, str, float] | None = None
    told_unreadable: bool = False
    next_walk: Walk | None = None
    walking: bool = False
    holds: int = 0
    missed: bool = False
    _news: _News | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with the slot."""
        return not (self.holds or self.walking or self.unsaved or self._news)

    async def wait_for_news(self) -> None:
        """Wait until the game was published anew; raises what went wrong instead."""
        if self._news is None:
            self._news = _News()
        news = self._news
        await news.event.wait()
        if news.error is not None:
            raise news.error

    def tell(self, error: FsError | None) -> None:
        """Wake those who wait for news."""
        news, self._news = self._news, None
        if news is not None:
            news.error = error
            news.event.set()

    def forget(self) -> None:
        """The game is out of sight: what is known of its files is in the index."""
        self.known = {}
        self.loaded = False
        self.unsaved = False
        self.fingerprint = ()


class Walks:
    """One task per game that is being walked; a walk asked for meanwhile follows it."""

    def __init__(
        self,
        nursery: trio.Nursery,
        walk: Callable[[Slot], Awaitable[None]],
        walked: Callable[[Slot], None],
    ) -> None:
        self._nursery = nursery
        self._walk = walk
        self._walked = walked
        self._limiter = trio.CapacityLimiter(_WALKS)
        self._closed = False

    def ask(self, slot: Slot) -> Walk:
        """A walk of a game that begins after now; one that is never done once closed."""
        if slot.next_walk is None:
            slot.next_walk = Walk()
        walk = slot.next_walk
        if self._closed:
            slot.next_walk = None
            walk.done.set()
        elif not slot.walking:
            slot.walking = True
            self._nursery.start_soon(self._walk_while_asked, slot)
        return walk

    def close(self) -> None:
        """No walk begins any more."""
        self._closed = True

    async def _walk_while_asked(self, slot: Slot) -> None:
        try:
            while slot.next_walk is not None:
                async with self._limiter:
                    walk, slot.next_walk = slot.next_walk, None
                    try:
                        await self._walk(slot)
                        walk.finished = True
                    finally:
                        walk.done.set()
        finally:
            slot.walking = False
            if slot.next_walk is not None:  # Only when the library ends.
                slot.next_walk.done.set()
                slot.next_walk = None
            self._walked(slot)
