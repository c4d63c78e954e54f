"""The local library: which games are on this disk, kept true while the peer runs.

`Library` stays the same object while the games folder is changed for another; what belongs to one
folder is a `Shelf`. Source: ARCHITECTURE.md, "The local library".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

import attrs
import trio

from lanspread.errors import StartError
from lanspread.fs.catalog import Catalog
from lanspread.fs.errors import NotHere
from lanspread.fs.games_folder import GamesFolder
from lanspread.fs.local_game import Digests, LocalGame
from lanspread.fs.parts import OnChange, OnWarning, Parts
from lanspread.fs.paths import shown
from lanspread.fs.repairs import OnRecovery
from lanspread.fs.shelf import Shelf
from lanspread.seams import FileSystem, Folder, Index, Threads, Watcher


@attrs.define(eq=False)
class _Move:
    folder: GamesFolder
    done: trio.Event = attrs.field(factory=trio.Event)
    finished: bool = False


class Library:
    """The games on this disk. Made by `open_library`."""

    def __init__(self, folder: GamesFolder, parts: Parts) -> None:
        self._parts = parts
        self._shelf = Shelf(folder, parts)
        self._move: _Move | None = None
        self._asked = trio.Event()
        self._closed = False

    @property
    def games(self) -> Mapping[str, LocalGame]:
        """The games by folded ID. A snapshot: a change replaces the mapping, never alters it."""
        return self._shelf.games

    @property
    def block_bytes(self) -> int:
        """The size of a block here."""
        return self._parts.block_bytes

    @property
    def games_dir(self) -> str:
        """The games folder, as it was given."""
        return self._shelf.folder.path

    @property
    def is_present(self) -> bool:
        """Whether the games folder was there when it was last looked for."""
        return self._shelf.folder.is_present

    @property
    def is_settled(self) -> bool:
        """Whether all that is known now will be known at the next start without a walk."""
        return self._shelf.is_settled

    def is_withheld(self, game_id: str) -> bool:
        """Whether several folders name the game, so that none is it; there was a warning."""
        return self._shelf.is_withheld(game_id)

    async def rescan(self, game_id: str) -> LocalGame | None:
        """Walk one game, held or not, and return what is there now; None if there is no such game.

        The walk begins after the call. Cancelled, the walk goes on by itself. Raises `NotHere` if
        the library was closed or moved.
        """
        return await self._shelf.rescan(game_id)

    def request_walk(self, game_id: str) -> None:
        """Have a game walked soon; while it is held, when it is released, as every game is."""
        self._shelf.request_walk(game_id)

    @contextmanager
    def hold(self, game_id: str) -> Iterator[None]:
        """Leave a game alone: an operation is changing it. `rescan` still works.

        When the last hold of a game ends it is walked.
        """
        with self._shelf.hold(game_id):
            yield

    async def until_repaired(self, game_id: str) -> None:
        """Wait until what an interrupted operation left in a game is put right.

        While the game is held nobody begins to repair it: whoever changes it holds it, then waits.
        """
        await self._shelf.until_repaired(game_id)

    def pause(self) -> AbstractContextManager[None]:
        """Hash nothing that nobody waits for: somebody needs the disk for himself."""
        return self._shelf.pause()

    def open_game(self, game_id: str) -> Folder:
        """Open a game's folder. Blocks. Raises `NotHere`, `OSError`."""
        return self._shelf.open_game(game_id)

    def make_game(self, game_id: str) -> Folder:
        """Open a game's folder, made if it is not there. Blocks.

        Raises `NotHere` without a games folder, `InTheWay` if something else has the name,
        `UnsafePath` for an ID that cannot be a folder's name, `OSError`.
        """
        shelf = self._shelf
        return shelf.folder.make_game(shelf.spelled(game_id))

    def must_hold(self, game_id: str, folder: Folder) -> None:
        """See that a game's open folder still is the one that its ID leads to. Blocks.

        Raises `MovedAway`, `NotHere` without a games folder, `OSError`.
        """
        shelf = self._shelf
        shelf.folder.must_hold(shelf.spelled(game_id), folder)

    def drop_if_empty(self, game_id: str) -> None:
        """Remove a game's folder if nothing is in it: a download that began nothing. Blocks."""
        shelf = self._shelf
        shelf.folder.drop_if_empty(shelf.spelled(game_id))

    async def digests(self, game_id: str, manifest_hash: bytes) -> tuple[bytes, ...]:
        """Every block's digest of a downloaded game, in manifest order; computed if need be.

        Raises `NotHere`, or `Changed` if the game is not, or no longer, the one of `manifest_hash`.
        Cancelled, what was computed is kept.
        """
        return await self._shelf.digests(game_id, manifest_hash)

    def store_digests(self, game_id: str, digests: Digests) -> None:
        """Take over digests of blocks that were verified on arrival.

        A walk that finds the files with these stamps need not hash them.
        """
        self._shelf.store_digests(game_id, digests)

    def is_at(self, path: str) -> bool:
        """Whether `path` leads to the folder that is in use, and not only has its name. Blocks."""
        return self._shelf.folder.is_at(path)

    async def move_to(self, games_dir: str) -> None:
        """Change over to another games folder; when this returns its first scan is done.

        Nothing may hold a game. Raises `StartError`, with the old folder still in use, if the new
        one cannot be opened or read; `NotHere` if the library was closed. The old games are
        withdrawn, then the new ones announced. Cancelled, the old folder is still in use or the
        change goes on by itself.
        """
        folder = await _open_folder(self._parts, games_dir)
        try:
            while (other := self._move) is not None:
                await other.done.wait()
        except BaseException:
            folder.close()
            raise
        if self._closed:
            folder.close()
            raise NotHere("the library is closed")
        move = self._move = _Move(folder)
        self._asked.set()
        await move.done.wait()
        if not move.finished:
            raise NotHere("the library is closed")

    async def _keep(self, task_status: trio.TaskStatus[None]) -> None:
        """The owner of whichever shelf is in use."""
        try:
            async with self._shelf.running():
                task_status.started()
                await self._asked.wait()
            while True:
                self._asked = trio.Event()
                move = self._move
                assert move is not None
                old, self._shelf = self._shelf, Shelf(move.folder, self._parts)
                self._announce(old)
                async with self._shelf.running():
                    self._announce(self._shelf)
                    self._move = None
                    move.finished = True
                    move.done.set()
                    await self._asked.wait()
        finally:
            self._closed = True
            if self._move is not None:
                self._move.folder.close()
                self._move.done.set()
                self._move = None

    def _announce(self, shelf: Shelf) -> None:
        ids = frozenset(game.id for game in shelf.games.values())
        if ids:
            self._parts.on_change(ids)


async def _open_folder(parts: Parts, games_dir: str) -> GamesFolder:
    """A games folder that can be read. Raises `StartError`."""

    def opened() -> GamesFolder | None:
        folder = GamesFolder(parts.files, games_dir)
        if folder.listing() is not None:
            return folder
        folder.close()
        return None

    why = ""
    try:
        folder = await parts.threads.run(opened)
    except OSError as error:
        folder, why = None, f": {error.strerror or error}"
    if folder is None:
        raise StartError(f"the games folder {shown(games_dir)} cannot be read{why}")
    return folder


def _ignore(game_id: str, what: str) -> None:
    pass


@asynccontextmanager
async def open_library(
    files: FileSystem,
    games_dir: str,
    *,
    threads: Threads,
    index: Index,
    watcher: Watcher,
    catalog: Catalog,
    block_bytes: int,
    on_change: OnChange,
    on_warning: OnWarning,
    on_repaired: OnRecovery = _ignore,
    on_blocked: OnRecovery = _ignore,
    busy: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Library]:
    """The library of a games folder, until the block is left.

    The first scan is done when the block is entered: `games` is complete, `on_change` reports what
    changes afterwards. `on_repaired` and `on_blocked` tell what became of games that an interrupted
    operation left, at the first scan too. `index` stays the caller's. While `busy` (this peer
    serves or downloads), hashing that nobody waits for takes about a tenth of one thread's time.
    Raises `StartError` if the folder cannot be opened or read.
    """
    parts = Parts(
        files=files,
        threads=threads,
        index=index,
        watcher=watcher,
        catalog=catalog,
        block_bytes=block_bytes,
        busy=busy,
        on_change=on_change,
        on_warning=on_warning,
        on_repaired=on_repaired,
        on_blocked=on_blocked,
    )
    library = Library(await _open_folder(parts, games_dir), parts)
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(library._keep)
            yield library
        finally:
            nursery.cancel_scope.cancel()
