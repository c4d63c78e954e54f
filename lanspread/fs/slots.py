"""What the library keeps of one game beside its published value: walks, holds, known digests."""

from __future__ import annotations

import attrs
import trio

from lanspread.fs.errors import FsError
from lanspread.fs.local_game import Digests
from lanspread.fs.scan import Fingerprint, ScanWarning


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
