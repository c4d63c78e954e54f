"""Readers and writers of games: who serves a game to others, and who changes it here.

A writer cancels the readers, waits until they are gone, then begins; meanwhile nobody reads.
Source: ARCHITECTURE.md, "Readers and writers".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from lanspread.model import fold_id


class GameBusy(Exception):
    """The game is being changed: it cannot be read or changed by another now."""


class GameAccess:
    """The readers and the writer of every game."""

    def __init__(self) -> None:
        self._readers: dict[str, set[trio.CancelScope]] = {}
        self._writers: set[str] = set()
        self._closed = False
        self._gone = trio.lowlevel.ParkingLot()

    def is_written(self, game_id: str) -> bool:
        return fold_id(game_id) in self._writers

    def readers(self, game_id: str) -> int:
        return len(self._readers.get(fold_id(game_id), ()))

    @contextmanager
    def reading(self, game_id: str) -> Iterator[trio.CancelScope]:
        """Read inside the block; a writer cancels it. Raises `GameBusy` while one is there.

        Look at the scope's `cancelled_caught` behind the block to learn of the writer.
        """
        key = fold_id(game_id)
        if self._closed or key in self._writers:
            raise GameBusy(game_id)
        scope = trio.CancelScope()
        self._readers.setdefault(key, set()).add(scope)
        try:
            with scope:
                yield scope
        finally:
            readers = self._readers[key]
            readers.remove(scope)
            if not readers:
                del self._readers[key]
                self._gone.unpark_all()

    @asynccontextmanager
    async def writing(self, game_id: str) -> AsyncIterator[None]:
        """Change the game inside the block. Raises `GameBusy` if somebody else does."""
        key = fold_id(game_id)
        if self._closed or key in self._writers:
            raise GameBusy(game_id)
        self._writers.add(key)
        try:
            for scope in self._readers.get(key, ()):
                scope.cancel()
            while key in self._readers:
                await self._gone.park()
            yield
        finally:
            self._writers.remove(key)

    @asynccontextmanager
    async def writing_all(self) -> AsyncIterator[None]:
        """Nobody reads or changes any game inside the block: the whole library is being changed.

        Raises `GameBusy` if a game is being changed; readers are cancelled and waited for.
        """
        if self._closed or self._writers:
            raise GameBusy("the library")
        self._closed = True
        try:
            for readers in self._readers.values():
                for scope in readers:
                    scope.cancel()
            while self._readers:
                await self._gone.park()
            yield
        finally:
            self._closed = False
