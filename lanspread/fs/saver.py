"""Writes to the index what changed, many games in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import trio

from lanspread.seams import Index, IndexKey, Threads

# What a crash may cost: a walk and the digests of this many seconds.
_PAUSE_S: Final = 1.0
# Rows are made in pieces, so that the event loop is not kept.
_ROWS_A_STEP: Final = 256


class Saver:
    """`row_of(key)` gives a game's row as it is now, None if there is nothing to keep."""

    def __init__(
        self,
        index: Index,
        key: IndexKey,
        threads: Threads,
        row_of: Callable[[str], bytes | None],
    ) -> None:
        self._index = index
        self._key = key
        self._threads = threads
        self._row_of = row_of
        self._touched: dict[str, None] = {}
        self._ready: dict[str, bytes | None] = {}
        self._stored: set[str] = set()
        self._more = trio.Event()

    async def load(self, games: Iterable[str] | None) -> dict[str, bytes]:
        """The rows of some games, or of all; also those that are not written yet."""
        wanted = None if games is None else frozenset(games)
        rows = await self._threads.run(self._index.load, self._key, wanted)
        self._stored.update(rows)
        waiting = {
            game: row
            for game, row in self._ready.items()
            if row is not None and (wanted is None or game in wanted)
        }
        return {**rows, **waiting}

    def touch(self, game: str) -> None:
        """A game's row is another now."""
        self._touched[game] = None
        self._more.set()

    def freeze(self) -> None:
        """Make the rows now: what they are made of is about to be forgotten."""
        for game in self._touched:
            row = self._row_of(game)
            if row is not None:
                self._ready[game] = row
        self._touched.clear()

    def keep_only(self, games: frozenset[str]) -> None:
        """Forget the games that are no more."""
        gone = (self._stored | self._ready.keys()) - games
        for game in gone:
            self._ready[game] = None
            self._touched.pop(game, None)
        self._stored -= gone
        if gone:
            self._more.set()

    async def run(self) -> None:
        """Write until cancelled; what is left then is `flush`'s."""
        while True:
            await self._more.wait()
            await trio.sleep(_PAUSE_S)
            self._more = trio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Write what there is to write."""
        while self._touched or self._ready:
            for game in tuple(self._touched)[:_ROWS_A_STEP]:
                del self._touched[game]
                row = self._row_of(game)
                if row is not None:
                    self._ready[game] = row
            if len(self._ready) >= _ROWS_A_STEP or not self._touched:
                rows, self._ready = self._ready, {}
                self._stored.update(game for game, row in rows.items() if row is not None)
                try:
                    await self._threads.run(self._index.store, self._key, rows)
                except BaseException:
                    # Cancelled before it began, perhaps.
                    self._ready = {**rows, **self._ready}
                    raise
            else:
                await trio.lowlevel.checkpoint()
