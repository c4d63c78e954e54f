"""What the library keeps of one game beside its published value."""

from __future__ import annotations

import attrs
import trio

from lanspread.fs.errors import FsError
from lanspread.fs.gate import Gate
from lanspread.fs.local_game import Digests, GameFiles
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
    """One game's bookkeeping.

    `loaded`: its row of the index was asked for. `settled`: two walks, far enough apart, saw the
    same files; `changed_at` is when that began to count. `problem` is the last walk's own.
    `walked` tells who was walked longest ago. `unreadable` is (path, why, until when that is
    believed).
    """

    id: str
    gate: Gate = attrs.field(factory=Gate)
    walk: Walk | None = None
    next_walk: Walk | None = None
    loaded: bool = False
    settled: bool = False
    changed_at: float = 0.0
    walked: int = 0
    fingerprint: Fingerprint = b""
    problem: str | None = None
    warnings: tuple[ScanWarning, ...] = ()
    unreadable: tuple[str, str, float] | None = None
    told_unreadable: bool = False
    _known: Digests = attrs.field(factory=dict)
    _remembered: GameFiles | None = None
    _news: _News | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with the slot."""
        return self.gate.is_idle and self._news is None

    @property
    def known(self) -> Digests:
        """The digests that are known of its files; of a file that is not done, the first ones."""
        remembered, self._remembered = self._remembered, None
        if remembered is not None:
            # Verified digests may have been handed in before the row was read.
            self._known = {**remembered.known, **self._known}
        return self._known

    @known.setter
    def known(self, digests: Digests) -> None:
        self._remembered = None
        self._known = digests

    def remember(self, files: GameFiles) -> None:
        """Take over what the index knows; it is decoded when it is needed."""
        self._remembered = files
        self.loaded = True

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
        self.loaded = self.settled = False
        self.fingerprint = b""
