"""Changing the games folder while the peer runs.

In this order: nothing may be changing a game; the new folder is locked; outgoing transfers end;
the library moves (the old games are withdrawn, the new ones found); the old folder's lock is
released; the setting is kept for the next start. What fails before the library moved leaves all as
it was.
Source: ARCHITECTURE.md, "Changing the games folder".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from lanspread.errors import Code, LanspreadError, StartError
from lanspread.fs.errors import FsError
from lanspread.fs.library import Library
from lanspread.fs.paths import shown
from lanspread.fs.state import State, is_whole_path
from lanspread.operations.registry import Operations
from lanspread.operations.settings import SettingsFile
from lanspread.seams import Threads
from lanspread.transfer.access import GameAccess, GameBusy

_REMEDY = "give a folder that exists, can be read and is not used by another lanspread"


def _cut_off() -> LanspreadError:
    return LanspreadError(
        Code.CANCELLED,
        "the peer ends before the games folder is changed",
        "change it again when the peer runs again",
    )


@attrs.define(eq=False)
class _Change:
    """A change under way, and what came of it."""

    path: str
    done: trio.Event = attrs.field(factory=trio.Event)
    error: LanspreadError | None = attrs.field(factory=_cut_off)


class GamesDir:
    """The games folder as a setting. Made by `open_games_dir`."""

    def __init__(
        self,
        state: State,
        library: Library,
        operations: Operations,
        access: GameAccess,
        threads: Threads,
        nursery: trio.Nursery,
        *,
        settle: Callable[[], Awaitable[bool]],
        file: SettingsFile,
    ) -> None:
        self._state = state
        self._library = library
        self._operations = operations
        self._access = access
        self._threads = threads
        self._nursery = nursery
        self._settle = settle
        self._file = file

    async def change(self, path: str) -> None:
        """Have the games of the folder `path` instead; peers and front-ends know when this returns.

        Raises `LanspreadError`: `busy` while an operation is active, `not_found`, `in_use`,
        `io_error`; the old folder is used on, unless the message says otherwise. Cancelled, the
        change goes on by itself.
        """
        change = _Change(path)
        self._nursery.start_soon(self._run, change)
        await change.done.wait()
        if change.error is not None:
            raise change.error

    async def _run(self, change: _Change) -> None:
        try:
            await self._change(change.path)
            change.error = None
        except LanspreadError as error:
            change.error = error
        finally:
            change.done.set()

    async def _change(self, path: str) -> None:
        if not is_whole_path(path):
            raise LanspreadError(
                Code.NOT_FOUND, f"{shown(path)} is not an absolute path", "give the whole path"
            )
        with self._operations.held_back():
            # The path of the old folder may be that of another disk by now.
            if await self._threads.run(self._library.is_at, path):
                return
            await self._take(path)
            await self._move(path)
            told = await self._settle()
            await self._file.keep("games", path)
        if not told:
            raise LanspreadError(
                Code.IO_ERROR,
                "the games folder is changed, but others see the old library for now",
                "free space in the state folder, or make it writable",
            )

    async def _move(self, path: str) -> None:
        """Change over to a folder that is locked. Cancelled, the locks of both are held on: they
        end with the peer, and so does the cancelled change."""
        try:
            async with self._access.writing_all():
                await self._library.move_to(path)
        except GameBusy:
            self._state.leave_games(newest=True)
            raise LanspreadError(
                Code.BUSY, "a game is being changed", "try again in a moment"
            ) from None
        except (StartError, FsError, OSError) as error:
            self._state.leave_games(newest=True)
            raise LanspreadError(Code.IO_ERROR, str(error), _REMEDY) from None
        self._state.leave_games(newest=False)

    async def _take(self, path: str) -> None:
        try:
            await self._threads.run(self._state.take_games, path)
        except StartError as error:
            code = Code.NOT_FOUND if error.usage else Code.IN_USE
            raise LanspreadError(code, str(error), _REMEDY) from None


@asynccontextmanager
async def open_games_dir(
    state: State,
    library: Library,
    operations: Operations,
    access: GameAccess,
    threads: Threads,
    *,
    settle: Callable[[], Awaitable[bool]],
    file: SettingsFile,
) -> AsyncIterator[GamesDir]:
    """The setting, until the block is left; a change under way is cancelled then."""
    async with trio.open_nursery() as nursery:
        yield GamesDir(
            state,
            library,
            operations,
            access,
            threads,
            nursery,
            settle=settle,
            file=file,
        )
        nursery.cancel_scope.cancel()
