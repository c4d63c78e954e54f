"""Writes to the index what changed, many games in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import trio

from lanspread.seams import Index, IndexKey, Threads

# What a crash may cost: a walk and the digests of this many seconds.
_PAUSE_S: Final = 1.0
# What rows are made of is taken in pieces, so that the event loop is not kept.
_ROWS_A_STEP: Final = 256

# Makes a row of what was given to it: called in a thread, for a game may have 250,000 files.
MakeRow = Callable[[], bytes]


class Saver:
    """`row_of(key)` gives what makes a game's row as it is now, None if there is nothing to keep.

    What that uses must not be changed any more.
    """

    def __init__(
        self,
        index: Index,
        key: IndexKey,
        threads: Threads,
        row_of: Callable[[str], MakeRow | None],
    ) -> None:
        self._index = index
        self._key = key
        self._threads = threads
        self._row_of = row_of
        self._touched: dict[str, None] = {}
        self._ready: dict[str, MakeRow | None] = {}
        self._stored: set[str] = set()
        self._more = trio.Event()

    async def load(self, games: Iterable[str] | None) -> dict[str, bytes]:
        """The rows of some games, or of all; also those that are not written yet."""
        wanted = None if games is None else frozenset(games)
        rows = await self._threads.run(self._index.load, self._key, wanted)
        self._stored.update(rows)
        waiting = {
            game: make
            for game, make in self._ready.items()
            if make is not None and (wanted is None or game in wanted)
        }
        if waiting:
            rows = {**rows, **await self._threads.run(_made, waiting)}
        return rows

    def touch(self, game: str) -> None:
        """A game's row is another now."""
        self._touched[game] = None
        self._more.set()

    def freeze(self) -> None:
        """Take what the rows are made of now: it is about to be forgotten."""
        for game in self._touched:
            make = self._row_of(game)
            if make is not None:
                self._ready[game] = make
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
                make = self._row_of(game)
                if make is not None:
                    self._ready[game] = make
            if len(self._ready) >= _ROWS_A_STEP or not self._touched:
                rows, self._ready = self._ready, {}
                self._stored.update(game for game, make in rows.items() if make is not None)
                try:
                    await self._threads.run(self._store, rows)
                except BaseException:
                    # Cancelled before it began, perhaps.
                    self._ready = {**rows, **self._ready}
                    raise
            else:
                await trio.lowlevel.checkpoint()

    def _store(self, rows: Mapping[str, MakeRow | None]) -> None:
        self._index.store(
            self._key, {game: None if make is None else make() for game, make in rows.items()}
        )


def _made(rows: Mapping[str, MakeRow]) -> dict[str, bytes]:
    return {game: make() for game, make in rows.items()}
