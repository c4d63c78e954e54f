"""The seams that need no LAN: threads that run at once, an index in memory, watchers, clocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar, TypeVarTuple

import attrs
import trio

from lanspread.seams import IndexKey, Pool

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@attrs.define
class InlineThreads:
    """`Threads` that runs the call where it stands: trio's autojump clock does not see threads.

    As with the real one, cancellation is seen before the call and never between call and result.
    """

    calls: int = 0

    async def run(
        self,
        call: Callable[[*Ts], T],
        *args: *Ts,
        pool: Pool = "disk",
        on_cancel: Callable[[], object] | None = None,
    ) -> T:
        await trio.lowlevel.checkpoint()
        self.calls += 1
        return call(*args)


@attrs.define
class MemoryIndex:
    """`Index` that lives as long as its object."""

    rows: dict[IndexKey, dict[str, bytes]] = attrs.field(factory=dict)

    def load(self, key: IndexKey, games: Collection[str] | None = None) -> dict[str, bytes]:
        rows = self.rows.get(key, {})
        return {game: row for game, row in rows.items() if games is None or game in games}

    def store(self, key: IndexKey, rows: Mapping[str, bytes | None]) -> None:
        kept = {**self.rows.get(key, {}), **rows}
        self.rows[key] = {game: row for game, row in kept.items() if row is not None}

    def close(self) -> None:
        """Nothing is held; what is known stays, as it would on a disk."""


class ManualWatcher:
    """`Watcher` that hints what the test tells it to."""

    def __init__(self) -> None:
        self._watches: list[tuple[_Hints, str]] = []

    @asynccontextmanager
    async def watch(
        self,
        games: str,
        on_warning: Callable[[str, str, str], None] | None = None,
        is_held: Callable[[str], bool] | None = None,
    ) -> AsyncIterator[trio.MemoryReceiveChannel[frozenset[str]]]:
        await trio.lowlevel.checkpoint()
        hints = _Hints()
        self._watches.append((hints, games))
        try:
            yield hints.receive
        finally:
            self._watches.remove((hints, games))
            hints.close()

    def changed(self, *names: str, games: str | None = None) -> None:
        """Hint that these folders may have changed, in one games folder or in all."""
        for hints, folder in self._watches:
            if games is None or games == folder:
                hints.put(frozenset(names))


class _Hints:
    """A channel of one entry; what does not fit becomes "anything may have changed"."""

    def __init__(self) -> None:
        self._send, self.receive = trio.open_memory_channel[frozenset[str]](1)

    def put(self, names: frozenset[str]) -> None:
        try:
            self._send.send_nowait(names)
        except trio.WouldBlock:
            self.receive.receive_nowait()
            self._send.send_nowait(frozenset({""}))

    def close(self) -> None:
        self._send.close()
        self.receive.close()


class SilentWatcher(ManualWatcher):
    """`Watcher` that never hints: the fallback scan has to find everything."""

    def changed(self, *names: str, games: str | None = None) -> None:
        """Nothing is told to anyone."""


@attrs.define
class VirtualWallClock:
    """`WallClock` that starts on a fixed day and follows trio's clock."""

    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    _since: float | None = None

    def now(self) -> datetime:
        if self._since is None:
            self._since = trio.current_time()
        return self.start + timedelta(seconds=trio.current_time() - self._since)


@attrs.define
class VirtualSuspendClock:
    """`SuspendClock` that follows trio's clock and jumps ahead when the machine "sleeps"."""

    slept_s: float = 0.0

    def now(self) -> float:
        return trio.current_time() + self.slept_s

    def sleep_machine(self, seconds: float) -> None:
        """As if the machine had slept: trio's clock stood still, this one did not."""
        self.slept_s += seconds
