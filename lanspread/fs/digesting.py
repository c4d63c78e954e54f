"""The one task that hashes local games, block by block, what somebody waits for first.

Each step is one hop into a hashing thread of about one block, so it yields between blocks, can
change over to a game that is wanted now, and is cancelled within one block's time. It keeps out of
the way: while the peer is busy it rests nine times as long as it works, unless somebody waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

import attrs
import trio

from lanspread import limits
from lanspread.fs.digests import BlockHasher
from lanspread.fs.errors import FileChanged, NotHere
from lanspread.fs.local_game import Digests
from lanspread.seams import FileStamp, Folder, Threads

# What was hashed is saved this often within one game.
_SAVE_BYTES: Final = 1024 * limits.MIB
# A game that just changed is hashed before larger work if it has no more than this to hash.
_SMALL_BYTES: Final = 64 * limits.MIB
# While the peer is busy: a tenth of one thread's time, in no longer pauses than this.
_RESTS: Final = 9
_MAX_REST_S: Final = 10.0


class Games(Protocol):
    """Where the games are."""

    def to_hash(self, key: str) -> Mapping[FileStamp, tuple[bytes, ...]]:
        """The files of a game that are still to be hashed, in order, each with the digests of its
        first blocks as far as they are known; nothing if the game must be left alone."""

    def open_game(self, game_id: str) -> Folder: ...

    def hashed(self, key: str, digests: Digests) -> None:
        """Take over the digests of some files, or of their first blocks."""

    def hashed_all(self, key: str) -> None:
        """All that `to_hash` said is hashed."""

    def save(self, key: str) -> None:
        """A good moment to keep what is known."""

    def could_not_hash(self, key: str, path: str, error: OSError | None) -> None:
        """A file changed (no error) or cannot be read."""


@attrs.define(eq=False)
class _Job:
    folder: Folder
    hasher: BlockHasher
    unsaved_bytes: int = 0
    dropped: bool = False

    def close(self) -> None:
        self.hasher.close()
        self.folder.close()


class DigestTask:
    """Hashes what is missing. All but `run` is synchronous and for the event loop."""

    def __init__(
        self, games: Games, threads: Threads, block_bytes: int, busy: Callable[[], bool]
    ) -> None:
        self._games = games
        self._threads = threads
        self._block_bytes = block_bytes
        self._busy = busy
        self._pending: dict[str, None] = {}
        self._fresh: dict[str, None] = {}
        self._wanted: Counter[str] = Counter()
        self._jobs: dict[str, _Job] = {}
        self._dropped: list[_Job] = []
        self._pauses = 0
        self._more = trio.Event()
        self._urgent = trio.Event()

    @contextmanager
    def wanting(self, key: str) -> Iterator[None]:
        """A game whose digests somebody waits for goes first, at full speed."""
        self._wanted[key] += 1
        self.add(key)
        self._urgent.set()
        try:
            yield
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key]

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Hash nothing that nobody waits for. What is under way ends within one block."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self._more.set()

    def add(self, key: str, *, fresh: bool = False) -> None:
        """A game may have something to hash; a `fresh` one has just changed."""
        self._pending[key] = None
        if fresh:
            self._fresh[key] = None
        self._more.set()

    def drop(self, key: str) -> None:
        """Forget what is being hashed of a game: its files are others now, or must be let alone."""
        self._pending.pop(key, None)
        self._fresh.pop(key, None)
        job = self._jobs.pop(key, None)
        if job is not None:
            job.dropped = True
            self._games.hashed(key, job.hasher.partial())
            self._dropped.append(job)
            self._more.set()

    async def run(self) -> None:
        """Hash until cancelled. Nothing stays open, and what was hashed is handed over."""
        try:
            while True:
                await self._close_dropped()
                self._more = trio.Event()
                key = self._next()
                if key is None:
                    await self._more.wait()
                    continue
                began = trio.current_time()
                await self._step(key)
                if key not in self._wanted and self._busy():
                    await self._rest(trio.current_time() - began)
        finally:
            for key in tuple(self._jobs):
                self.drop(key)
            for job in self._dropped:
                job.close()

    async def _rest(self, worked_s: float) -> None:
        self._urgent = trio.Event()
        with trio.move_on_after(min(_RESTS * worked_s, _MAX_REST_S)):
            await self._urgent.wait()

    def _next(self) -> str | None:
        for key in self._wanted:
            if key in self._pending:
                return key
        if self._pauses:
            return None
        for key in (*self._fresh, *self._jobs):
            return key
        return next(iter(self._pending), None)

    async def _step(self, key: str) -> None:
        job = self._jobs.get(key) or await self._begin(key)
        if job is None:
            return
        try:
            found = await self._threads.run(job.hasher.step, pool="hash")
        except FileChanged as changed:
            self._fail(key, job, changed.path, None)
            return
        except OSError as error:
            self._fail(key, job, job.hasher.path, error)
            return
        if job.dropped:
            return
        if found is None:
            self.drop(key)
            self._games.hashed_all(key)
            return
        self._games.hashed(key, found)
        job.unsaved_bytes += self._block_bytes
        if job.unsaved_bytes >= _SAVE_BYTES:
            job.unsaved_bytes = 0
            self._games.hashed(key, job.hasher.partial())
            self._games.save(key)

    async def _begin(self, key: str) -> _Job | None:
        files = self._games.to_hash(key)
        if not files:
            self._pending.pop(key, None)
            self._fresh.pop(key, None)
            await trio.lowlevel.checkpoint()
            return None
        if key in self._fresh and self._work(files) > _SMALL_BYTES:
            del self._fresh[key]
            return None
        try:
            folder = await self._threads.run(self._games.open_game, key)
        except (NotHere, OSError) as error:
            self._pending.pop(key, None)
            self._fresh.pop(key, None)
            why = error if isinstance(error, OSError) else None
            self._games.could_not_hash(key, "", why)
            return None
        job = _Job(folder, BlockHasher(folder, files, self._block_bytes))
        if self._games.to_hash(key) != files:
            # It changed, or an operation began, while the folder was opened.
            job.dropped = True
            self._dropped.append(job)
            return None
        self._jobs[key] = job
        return job

    def _work(self, files: Mapping[FileStamp, tuple[bytes, ...]]) -> int:
        """Bytes to hash, of small files a little more: opening one costs too."""
        return sum(
            max(stamp.size - len(known) * self._block_bytes, 0) + 64 * limits.KIB
            for stamp, known in files.items()
        )

    def _fail(self, key: str, job: _Job, path: str, error: OSError | None) -> None:
        if not job.dropped:
            self.drop(key)
            self._games.could_not_hash(key, path, error)

    async def _close_dropped(self) -> None:
        while self._dropped:
            await self._threads.run(self._dropped[-1].close)
            self._dropped.pop()
