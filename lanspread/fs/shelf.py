"""One games folder in use: its games, and everything that keeps them true.

The trio shell around `scan`, the gates and the index. One nursery owns the walks, the lookout
(hints and timers: when to walk), the digest task and the saver; nothing outlives `running`. State
changes only between two awaits, so there is no lock around it.
Source: ARCHITECTURE.md, "The local library".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from itertools import islice
from typing import Final

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.fs.digesting import DigestTask
from lanspread.fs.errors import Changed, FileChanged, FsError, NotHere
from lanspread.fs.games_folder import GamesFolder
from lanspread.fs.local_game import Digests, LocalGame, local_game, missing_digests, with_digests
from lanspread.fs.lookout import Lookout
from lanspread.fs.parts import Parts
from lanspread.fs.paths import VERSION_INI, shown
from lanspread.fs.problems import Problems
from lanspread.fs.repairs import Repairs
from lanspread.fs.saver import Saver
from lanspread.fs.scan import Fingerprint, Look, ScannedGame
from lanspread.fs.slots import Slot
from lanspread.fs.stoppable import run_stoppable
from lanspread.fs.stored import StoredGame, decode_game, encode_game
from lanspread.fs.walks import Walks
from lanspread.model import fold_id
from lanspread.seams import FileStamp, Folder, IndexKey

# What the last second of work may take to be saved when the library ends.
_FLUSH_S: Final = 5.0

# Games in one hop of a start; a list of no more than a few is asked for by name.
_BATCH: Final = 512
_FEW: Final = 64

_log = structlog.get_logger(__name__)


class Shelf:
    """The games of one folder. What is public and not told here is `Library`'s."""

    def __init__(self, folder: GamesFolder, parts: Parts) -> None:
        self.folder = folder
        self.games: Mapping[str, LocalGame] = {}
        self._parts = parts
        self._threads = parts.threads
        self._slots: dict[str, Slot] = {}
        self._started = False
        self._walked = 0
        key = IndexKey(folder.path, folder.inode, parts.block_bytes)
        self._saver = Saver(parts.index, key, parts.threads, self._row_of)
        self._walks = Walks(self._walk, self._drop_idle)
        self._digest_task = DigestTask(self, parts.threads, parts.block_bytes, parts.busy)
        self._repairs = Repairs(
            folder, parts.threads, self.is_held, parts.on_repaired, parts.on_blocked
        )
        self._problems = Problems(parts.catalog, parts.on_warning)
        self._lookout = Lookout(self, folder, parts.threads, parts.on_warning)

    # -- beginning and end -------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The first scan, then everything that keeps it true, until the block is left.

        Whoever still waits is then told `NotHere`. The folder is closed, the index written.
        """
        try:
            # Before the scan, so that what changes during it is not missed.
            async with (
                self._parts.watcher.watch(
                    self.folder.path, self._parts.on_warning, self._is_name_held
                ) as hints,
                trio.open_nursery() as nursery,
            ):
                try:
                    nursery.start_soon(self._walks.run)
                    await self._first_scan()
                    nursery.start_soon(self._lookout.run, hints)
                    nursery.start_soon(self._digest_task.run)
                    nursery.start_soon(self._saver.run)
                    yield
                finally:
                    self._close()
                    nursery.cancel_scope.cancel()
        finally:
            self.folder.close()
            with trio.move_on_after(_FLUSH_S, shield=True):
                await self._saver.flush()

    async def _first_scan(self) -> None:
        await self.meet(await self._lookout.first_listing())
        walks = [slot.next_walk or slot.walk for slot in self._slots.values()]
        for walk in walks:
            if walk is not None:
                await walk.done.wait()
        self._started = True

    def _close(self) -> None:
        self._walks.close()
        error: FsError = NotHere("the library is closed")
        for slot in self._slots.values():
            slot.tell(error)

    # -- what the library offers -------------------------------------------------------------------

    async def rescan(self, game_id: str) -> LocalGame | None:
        walk = self._walks.ask(self._slot(game_id))
        await walk.done.wait()
        if not walk.finished:
            raise NotHere("the library is closed")
        return self.games.get(fold_id(game_id))

    def request_walk(self, game_id: str, *, later: bool = False) -> None:
        slot = self._slot(game_id)
        self._walks.hint(slot, later=later)
        self._drop_idle(slot)

    @property
    def is_settled(self) -> bool:
        return all(
            self._slots[key].settled and (game.content_hash is not None or not self.to_hash(key))
            for key, game in self.games.items()
        )

    @contextmanager
    def hold(self, game_id: str) -> Iterator[None]:
        key = fold_id(game_id)
        slot = self._slot(game_id)
        slot.gate.hold()
        self._digest_task.drop(key)
        try:
            yield
        finally:
            self._walks.release(slot)
            if not slot.gate.is_held:
                self._digest_task.add(key)

    async def until_repaired(self, game_id: str) -> None:
        await self._repairs.until_done(fold_id(game_id))

    def pause(self) -> AbstractContextManager[None]:
        return self._digest_task.pause()

    def open_game(self, game_id: str) -> Folder:
        return self.folder.open_game(self.spelled(game_id))

    def spelled(self, game_id: str) -> str:
        """A game's ID as its folder spells it."""
        game = self.games.get(fold_id(game_id))
        return game_id if game is None else game.id

    def is_withheld(self, game_id: str) -> bool:
        """Whether several folders name the game, so that none is it."""
        return self._lookout.name_of(fold_id(game_id), game_id) is None

    async def digests(self, game_id: str, manifest_hash: bytes) -> tuple[bytes, ...]:
        key = fold_id(game_id)
        with self._digest_task.wanting(key):
            while True:
                game = self.games.get(key)
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
        slot = self._slot(game_id)
        slot.known = {**slot.known, **digests}

    # -- what the digest task uses -----------------------------------------------------------------

    def to_hash(self, key: str) -> Mapping[FileStamp, tuple[bytes, ...]]:
        game = self.games.get(key)
        slot = self._slots.get(key)
        if game is None or slot is None or slot.gate.is_held or game.content_hash is not None:
            return {}
        if not game.downloaded or game.problem is not None:
            return {}
        known = slot.known
        missing = missing_digests(game, known, self._parts.block_bytes)
        return {stamp: known.get(stamp, ()) for stamp in missing}

    def hashed(self, key: str, digests: Digests) -> None:
        slot = self._slots.get(key)
        if slot is not None and digests:
            slot.known.update(digests)
            self._saver.touch(key)

    def hashed_all(self, key: str) -> None:
        slot = self._slots.get(key)
        game = self.games.get(key)
        if slot is not None and game is not None:
            self._publish({key: with_digests(game, slot.known, self._parts.block_bytes)})
            # A walk may have found other files meanwhile.
            self._digest_task.add(key)
            self._saver.touch(key)

    def save(self, key: str) -> None:
        self._saver.touch(key)

    def could_not_hash(self, key: str, path: str, error: OSError | None) -> None:
        slot = self._slots.get(key)
        if slot is None:
            return
        if error is None:
            # Not at once: a file that is being written would keep the disk busy.
            self._unsettle(slot)
            slot.tell(FileChanged(path))
            return
        slot.tell(NotHere(self._problems.note_unreadable(slot, path, error)))
        self.request_walk(slot.id)

    # -- walking -----------------------------------------------------------------------------------

    async def meet(self, names: Sequence[str]) -> None:
        """Take in games that are not known yet: from the index if they are as it remembers them,
        else they are walked, which this does not wait for."""
        # All at the start, so that rows of games that are no more are known of.
        everything = len(names) > _FEW or not self._started
        rows = await self._saver.load(None if everything else [fold_id(name) for name in names])
        spoiled = 0
        waiting = iter(names)
        while batch := tuple(islice(waiting, _BATCH)):
            looks = await self._threads.run(self.folder.looks, batch)
            found: dict[str, LocalGame] = {}
            for name, look in zip(batch, looks, strict=True):
                key = fold_id(name)
                row = rows.pop(key, None)
                stored = None if row is None else decode_game(row)
                spoiled += row is not None and stored is None
                game = self._met(key, name, look, stored)
                if game is not None:
                    found[key] = game
            self._publish(found)
        if spoiled:
            _log.warning("rows of the index that cannot be read: walked anew", games=spoiled)

    def _met(
        self, key: str, name: str, look: Look | None, stored: StoredGame | None
    ) -> LocalGame | None:
        """A game from its row; None if it has to be walked, which it then is."""
        slot = self._slot(name)
        if key in self.games or not slot.gate.is_idle:
            self._want(slot)
            return None
        if stored is not None and not slot.loaded:
            slot.remember(stored.files())
        slot.loaded = True
        if stored is None or look is None or not _is_unchanged(stored, name, look):
            self._want(slot)
            return None
        slot.settled = True
        slot.walked = stored.walked
        self._walked = max(self._walked, stored.walked)
        slot.fingerprint = stored.fingerprint
        slot.problem = stored.problem
        self._problems.warn_of(slot, stored.scan_warnings())
        game = self._problems.judged(slot, stored.game())
        if game.content_hash is None:
            self._digest_task.add(key)
        return game

    def _want(self, slot: Slot) -> None:
        if self._started:
            self._walks.hint(slot)
        else:
            # The first scan waits for it.
            self._walks.ask(slot)

    def _slot(self, game_id: str) -> Slot:
        key = fold_id(game_id)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot(game_id)
        return slot

    def _drop_idle(self, slot: Slot) -> None:
        key = fold_id(slot.id)
        if key not in self.games and slot.is_idle and self._slots.get(key) is slot:
            del self._slots[key]

    async def _scan(self, names: Sequence[str]) -> list[ScannedGame | None]:
        """Cancelled, it stops in the middle of a game, which may hold 250,000 files."""
        if not names:
            return []
        return await run_stoppable(self._threads, lambda watch: self.folder.scan(names, watch))

    async def _walk(self, slots: Sequence[Slot]) -> None:
        """Walk some games and publish each as it is seen. Only `Walks` calls this."""
        waiting = list(slots)
        unloaded = [fold_id(slot.id) for slot in slots if not slot.loaded]
        rows = await self._saver.load(unloaded) if unloaded else {}
        while waiting:
            names = [self._lookout.name_of(fold_id(slot.id), slot.id) for slot in waiting]
            began = trio.current_time()
            there = [name for name in names if name is not None]
            scans = await self._scan(there)
            scans = await self._repairs.put_right(scans)
            if there and not scans:
                self.all_gone()
                scans = [None for _ in there]
            walked = 0
            found = iter(scans)
            changes: dict[str, LocalGame | None] = {}
            for slot, name in zip(waiting, names, strict=True):
                try:
                    scanned = None if name is None else next(found)
                except StopIteration:
                    break
                key = fold_id(slot.id)
                changes[key] = None
                if scanned is not None:
                    changes[key] = self._taken_over(slot, key, scanned, rows.get(key), began)
                walked += 1
            self._publish(changes)
            for slot in waiting[:walked]:
                self._walks.done(slot)
            del waiting[:walked]

    def _taken_over(
        self, slot: Slot, key: str, scanned: ScannedGame, row: bytes | None, began: float
    ) -> LocalGame:
        """What a walk saw, to be published."""
        if not slot.loaded:
            slot.loaded = True
            stored = None if row is None else decode_game(row)
            if stored is not None:
                slot.remember(stored.files())
        before = self.games.get(key)
        if before is None or before.stamps != scanned.stamps:
            self._digest_task.drop(key)
            self._unsettle(slot)
        elif not slot.settled:
            slot.settled = began - slot.changed_at >= limits.SETTLE_S
            if not slot.settled:
                self._lookout.settle(key)
        if not slot.settled and self._started and _is_begun(scanned):
            # Somebody is about to write the version into it; it is believed when it has settled.
            scanned = attrs.evolve(scanned, downloaded=False)
        stamps = set(scanned.stamps)
        known = {stamp: value for stamp, value in slot.known.items() if stamp in stamps}
        slot.known = known
        game = local_game(scanned, known, self._parts.block_bytes)
        self._walked += 1
        slot.walked = self._walked
        slot.fingerprint = scanned.fingerprint
        slot.problem = scanned.problem
        self._problems.warn_of(slot, scanned.warnings)
        if stamps:
            self._saver.touch(key)
        else:
            # Nothing to remember, and perhaps only the disk behind a link that is not there: the
            # row is left as it is, and read again when there are files.
            slot.loaded = False
        if game.content_hash is None:
            self._digest_task.add(key, fresh=not slot.settled)
        return self._problems.judged(slot, game)

    def _unsettle(self, slot: Slot) -> None:
        """Walk a game once more when its files have had time to get their final timestamps."""
        slot.settled = False
        slot.changed_at = trio.current_time()
        self._lookout.settle(fold_id(slot.id))

    def _publish(self, changes: Mapping[str, LocalGame | None]) -> None:
        games = dict(self.games)
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
            self.games = games
            if self._started:
                self._parts.on_change(frozenset(ids))

    def _row_of(self, key: str) -> bytes | None:
        game = self.games.get(key)
        slot = self._slots.get(key)
        if game is None or slot is None or not game.stamps:
            return None
        return encode_game(
            game,
            slot.known,
            fingerprint=slot.fingerprint,
            settled=slot.settled,
            problem=slot.problem,
            warnings=slot.warnings,
            walked=slot.walked,
        )

    # -- what the lookout uses ---------------------------------------------------------------------

    def looks_like(self, key: str, name: str) -> Fingerprint | None:
        """What the last walk saw at a game's root; None if it was not walked by this name."""
        game = self.games.get(key)
        return self._slots[key].fingerprint if game is not None and game.id == name else None

    def walked(self, key: str) -> int:
        """Lower for a game that was walked longer ago."""
        return self._slots[key].walked if key in self._slots else 0

    def is_held(self, key: str) -> bool:
        # In one step, for the watcher asks from its thread.
        slot = self._slots.get(key)
        return slot is not None and slot.gate.is_held

    def _is_name_held(self, name: str) -> bool:
        return self.is_held(fold_id(name))

    def keep_only(self, names: frozenset[str]) -> None:
        """No name but these is in the games folder: the index forgets the others."""
        self._saver.keep_only(names)

    def all_gone(self) -> None:
        """The games folder is not there: no game is, and nothing is written."""
        if not self.games:
            return
        gone = self.games
        for key in gone:
            self._digest_task.drop(key)
        self._saver.freeze()
        self._parts.on_warning(
            "games_folder_gone",
            f"the games folder {shown(self.folder.path)} is not there any more",
            "mount it again, and its games come back by themselves; if another folder is there now,"
            " set the games folder again or restart",
        )
        self._publish(dict.fromkeys(gone))
        for slot in tuple(self._slots.values()):
            slot.forget()
            self._drop_idle(slot)


def _is_unchanged(stored: StoredGame, name: str, look: Look) -> bool:
    """Whether a game is as the index remembers it, and nothing in it is to be repaired."""
    same = (stored.id, stored.fingerprint) == (name, look.fingerprint)
    return stored.settled and same and not look.leftovers


def _is_begun(scanned: ScannedGame) -> bool:
    """Whether the sentinel is there and has nothing in it."""
    return scanned.downloaded and any(
        stamp.path == VERSION_INI and not stamp.size for stamp in scanned.stamps
    )
