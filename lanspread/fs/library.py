"""The local library: which games are on this disk, kept true while the peer runs.

The trio shell around `scan` and the index. One nursery owns the lookout (hints and timers: when to
walk), the digest task and one task per game that is being walked; nothing outlives `open_library`.
State changes only between two awaits, so there is no lock around it.
Source: ARCHITECTURE.md, "The local library".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio

from lanspread import limits
from lanspread.errors import StartError
from lanspread.fs.catalog import Catalog
from lanspread.fs.digesting import DigestTask
from lanspread.fs.errors import Changed, FileChanged, FsError, NotHere
from lanspread.fs.games_folder import GamesFolder
from lanspread.fs.local_game import Digests, LocalGame, local_game, missing_digests, with_digests
from lanspread.fs.lookout import Lookout
from lanspread.fs.paths import shown
from lanspread.fs.scan import Fingerprint, ScannedGame
from lanspread.fs.slots import Slot, Walks
from lanspread.model import fold_id
from lanspread.seams import FileStamp, FileSystem, Folder, Index, Threads, Watcher

OnChange = Callable[[frozenset[str]], None]
OnWarning = Callable[[str, str, str], None]


class Library:
    """The games on this disk. Made by `open_library`."""

    def __init__(
        self,
        folder: GamesFolder,
        nursery: trio.Nursery,
        *,
        threads: Threads,
        index: Index,
        catalog: Catalog,
        block_bytes: int,
        on_change: OnChange,
        on_warning: OnWarning,
    ) -> None:
        self._folder = folder
        self._nursery = nursery
        self._walks = Walks(nursery, self._walk, self._drop_idle)
        self._threads = threads
        self._index = index
        self._catalog = catalog
        self._block_bytes = block_bytes
        self._on_change = on_change
        self._on_warning = on_warning
        self._games: Mapping[str, LocalGame] = {}
        self._slots: dict[str, Slot] = {}
        self._started = False
        self._digest_task = DigestTask(self, threads, block_bytes)
        self._lookout = Lookout(self, folder, threads, on_warning)

    # -- what others use ---------------------------------------------------------------------------

    @property
    def games(self) -> Mapping[str, LocalGame]:
        """The games by folded ID. A snapshot: a change replaces the mapping, never alters it."""
        return self._games

    @property
    def block_bytes(self) -> int:
        """The size of a block here."""
        return self._block_bytes

    @property
    def is_present(self) -> bool:
        """Whether the games folder was there when it was last looked for."""
        return self._folder.is_present

    async def rescan(self, game_id: str) -> LocalGame | None:
        """Walk one game, held or not, and return what is there now; None if there is no such game.

        The walk begins after the call. Cancelled, the walk goes on by itself. Raises `NotHere` if
        the library was closed.
        """
        walk = self._walks.ask(self._slot(game_id))
        await walk.done.wait()
        if not walk.finished:
            raise NotHere("the library is closed")
        return self._games.get(fold_id(game_id))

    def request_walk(self, game_id: str) -> None:
        """Have a game walked soon; while it is held, when it is released."""
        slot = self._slot(game_id)
        if slot.holds:
            slot.missed = True
        else:
            self._walks.ask(slot)

    @contextmanager
    def hold(self, game_id: str) -> Iterator[None]:
        """Leave a game alone: an operation is changing it. `rescan` still works."""
        key = fold_id(game_id)
        slot = self._slot(game_id)
        slot.holds += 1
        self._digest_task.drop(key)
        try:
            yield
        finally:
            slot.holds -= 1
            if not slot.holds:
                self._digest_task.add(key)
                if slot.missed:
                    self._walks.ask(slot)
                self._drop_idle(slot)

    def open_game(self, game_id: str) -> Folder:
        """Open a game's folder. Blocks. Raises `NotHere`, `OSError`."""
        return self._folder.open_game(self._spelled(game_id))

    def make_game(self, game_id: str) -> Folder:
        """Open a game's folder, made if it is not there. Blocks.

        Raises `NotHere` without a games folder, `InTheWay` if something else has the name,
        `UnsafePath` for an ID that cannot be a folder's name, `OSError`.
        """
        return self._folder.make_game(self._spelled(game_id))

    def drop_if_empty(self, game_id: str) -> None:
        """Remove a game's folder if nothing is in it: a download that began nothing. Blocks."""
        self._folder.drop_if_empty(self._spelled(game_id))

    async def digests(self, game_id: str, manifest_hash: bytes) -> tuple[bytes, ...]:
        """Every block's digest of a downloaded game, in manifest order; computed if need be.

        Raises `NotHere`, or `Changed` if the game is not, or no longer, the one of `manifest_hash`.
        Cancelled, what was computed is kept.
        """
        key = fold_id(game_id)
        with self._digest_task.wanting(key):
            while True:
                game = self._games.get(key)
                if game is None or not game.downloaded:
                    raise NotHere(f"{shown(game_id)} is not here")
                if game.manifest_hash != manifest_hash:
                    raise Changed(f"{shown(game_id)} changed")
                if game.digests is not None:
                    return game.digests
                if game.problem is not None:
                    raise NotHere(f"{shown(game_id)} is not shared: {game.problem}")
                await self._slot(game_id).wait_for_news()

    def store_digests(self, game_id: str, digests: Digests) -> None:
        """Take over digests of blocks that were verified on arrival.

        A walk that finds the files with these stamps need not hash them.
        """
        slot = self._slot(game_id)
        slot.known = {**slot.known, **digests}
        slot.unsaved = True

    # -- what the digest task uses -----------------------------------------------------------------

    def to_hash(self, key: str) -> tuple[FileStamp, ...]:
        game = self._games.get(key)
        slot = self._slots.get(key)
        if game is None or slot is None or slot.holds or game.digests is not None:
            return ()
        if not game.downloaded or game.problem is not None:
            return ()
        return missing_digests(game, slot.known, self._block_bytes)

    def hashed(self, key: str, digests: Digests) -> None:
        slot = self._slots.get(key)
        if slot is not None:
            slot.known.update(digests)
            slot.unsaved = True

    async def hashed_all(self, key: str) -> None:
        slot = self._slots.get(key)
        game = self._games.get(key)
        if slot is not None and game is not None:
            self._publish({key: with_digests(game, slot.known, self._block_bytes)})
            # A walk may have found other files meanwhile.
            self._digest_task.add(key)
            await self.save(key)

    async def save(self, key: str) -> None:
        slot = self._slots.get(key)
        if slot is not None and slot.unsaved:
            slot.unsaved = False
            await self._threads.run(
                self._index.store_digests, key, self._block_bytes, dict(slot.known)
            )

    def could_not_hash(self, key: str, path: str, error: OSError | None) -> None:
        slot = self._slots.get(key)
        if slot is None:
            return
        if error is None:
            # Not at once: a file that is being written would keep the disk busy.
            self._lookout.settle(key)
            slot.tell(FileChanged(path))
            return
        why = f"{shown(path)!r} cannot be read: {error.strerror or error}"
        slot.unreadable = (path, why, trio.current_time() + limits.FALLBACK_SCAN_S)
        slot.tell(NotHere(why))
        self.request_walk(slot.id)

    # -- walking -----------------------------------------------------------------------------------

    def _slot(self, game_id: str) -> Slot:
        return self._slots.setdefault(fold_id(game_id), Slot(game_id))

    def _spelled(self, game_id: str) -> str:
        game = self._games.get(fold_id(game_id))
        return game_id if game is None else game.id

    def _drop_idle(self, slot: Slot) -> None:
        if fold_id(slot.id) not in self._games and slot.is_idle:
            self._slots.pop(fold_id(slot.id), None)

    async def _walk(self, slot: Slot) -> None:
        key = fold_id(slot.id)
        slot.missed = False
        name = self._lookout.name_of(key, slot.id)
        scanned = None
        if name is not None:
            scanned = await self._threads.run(self._folder.scan, name)
            if not self._folder.is_present:
                self.all_gone()
        if scanned is None:
            self._publish({key: None})
            return
        if not slot.loaded:
            stored = await self._threads.run(self._index.load_digests, key, self._block_bytes)
            slot.loaded = True
            # Verified digests may have been handed in before.
            slot.known = {**stored, **slot.known}
        self._take_over(slot, key, scanned)
        await self.save(key)

    def _take_over(self, slot: Slot, key: str, scanned: ScannedGame) -> None:
        """Publish what a walk saw."""
        stamps = set(scanned.stamps)
        slot.known = {stamp: value for stamp, value in slot.known.items() if stamp in stamps}
        game = local_game(scanned, slot.known, self._block_bytes)
        before = self._games.get(key)
        if before is None or before.stamps != game.stamps:
            self._digest_task.drop(key)
            if before is not None or len(slot.known) < len(stamps):
                self._lookout.settle(key)
        for warning in scanned.warnings:
            if warning not in slot.warnings:
                self._on_warning(warning.code, warning.message, warning.remedy)
        slot.warnings = scanned.warnings
        slot.fingerprint = scanned.fingerprint
        self._publish({key: self._judged(slot, game)})
        self._digest_task.add(key)

    def _judged(self, slot: Slot, game: LocalGame) -> LocalGame:
        """The game with the problems that no walk sees."""
        problem = game.problem
        if problem is None and slot.unreadable is not None:
            path, why, until = slot.unreadable
            if trio.current_time() < until and any(stamp.path == path for stamp in game.stamps):
                problem = why
                if not slot.told_unreadable:
                    message = f"{shown(game.id)} is not shared: {why}"
                    self._on_warning("game_local_only", message, "repair or replace the file")
                slot.told_unreadable = True
            else:
                slot.unreadable = None
        if problem is None:
            problem = self._catalog.objection(game.id, game.version if game.downloaded else None)
        return attrs.evolve(game, problem=problem)

    def _publish(self, changes: Mapping[str, LocalGame | None]) -> None:
        games = dict(self._games)
        ids: set[str] = set()
        for key, game in changes.items():
            before = games.pop(key, None)
            if game is not None:
                games[key] = game
            if before == game:
                continue
            ids.update(one.id for one in (before, game) if one is not None)
            if game is None:
                self._digest_task.drop(key)
            if key in self._slots:
                self._slots[key].tell(None)
        if ids:
            self._games = games
            if self._started:
                self._on_change(frozenset(ids))

    # -- what the lookout uses ---------------------------------------------------------------------

    def looks_like(self, key: str, name: str) -> Fingerprint | None:
        """What the last walk saw at a game's root; None if it was not walked by this name."""
        game = self._games.get(key)
        return self._slots[key].fingerprint if game is not None and game.id == name else None

    def is_held(self, key: str) -> bool:
        return key in self._slots and self._slots[key].holds > 0

    def all_gone(self) -> None:
        """The games folder is not there: no game is, and nothing is written."""
        if not self._games:
            return
        for slot in self._slots.values():
            slot.forget()
        self._on_warning(
            "games_folder_gone",
            f"the games folder {shown(self._folder.path)} is not there any more",
            "mount it again; its games come back by themselves",
        )
        self._publish(dict.fromkeys(self._games))

    # -- beginning and end -------------------------------------------------------------------------

    async def start(self, hints: trio.MemoryReceiveChannel[frozenset[str]]) -> None:
        """The first scan, then everything that keeps it true."""
        for name in await self._lookout.first_listing():
            await self._walk(self._slot(name))
        self._started = True
        self._nursery.start_soon(self._lookout.run, hints)
        self._nursery.start_soon(self._digest_task.run)

    def close(self) -> None:
        """Wake whoever still waits; the nursery is cancelled by `open_library`."""
        self._walks.close()
        error: FsError = NotHere("the library is closed")
        for slot in self._slots.values():
            slot.tell(error)


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
) -> AsyncIterator[Library]:
    """The library of a games folder, until the block is left.

    The first scan is done when the block is entered: `games` is complete, `on_change` reports what
    changes afterwards. `index` stays the caller's. Raises `StartError` if the folder cannot be
    opened or read.
    """
    try:
        folder = await threads.run(GamesFolder, files, games_dir)
    except OSError as error:
        raise StartError(
            f"the games folder {shown(games_dir)} cannot be read: {error.strerror or error}"
        ) from error
    try:
        if await threads.run(folder.listing) is None:
            raise StartError(f"the games folder {shown(games_dir)} cannot be read")
        # Before the scan, so that what changes during it is not missed.
        async with watcher.watch(games_dir) as hints, trio.open_nursery() as nursery:
            library = Library(
                folder,
                nursery,
                threads=threads,
                index=index,
                catalog=catalog,
                block_bytes=block_bytes,
                on_change=on_change,
                on_warning=on_warning,
            )
            try:
                await library.start(hints)
                yield library
            finally:
                library.close()
                nursery.cancel_scope.cancel()
    finally:
        folder.close()
