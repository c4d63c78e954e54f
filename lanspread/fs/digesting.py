"""The one task that hashes local games, block by block, what somebody waits for first.

Each step is one hop into a hashing thread of about one block, so it yields between blocks, can
change over to a game that is wanted now, and is cancelled within one block's time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
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


class Shelf(Protocol):
    """Where the games are: the library."""

    def to_hash(self, key: str) -> tuple[FileStamp, ...]:
        """The files of a game that are still to be hashed; none if it must be left alone."""

    def open_game(self, game_id: str) -> Folder: ...

    def hashed(self, key: str, digests: Digests) -> None:
        """Take over the digests of some files."""

    async def hashed_all(self, key: str) -> None:
        """All that `to_hash` said is hashed."""

    async def save(self, key: str) -> None:
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

    def __init__(self, shelf: Shelf, threads: Threads, block_bytes: int) -> None:
        self._shelf = shelf
        self._threads = threads
        self._block_bytes = block_bytes
        self._pending: dict[str, None] = {}
        self._wanted: Counter[str] = Counter()
        self._jobs: dict[str, _Job] = {}
        self._dropped: list[_Job] = []
        self._more = trio.Event()

    @contextmanager
    def wanting(self, key: str) -> Iterator[None]:
        """A game whose digests somebody waits for goes first."""
        self._wanted[key] += 1
        self.add(key)
        try:
            yield
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key]

    def add(self, key: str) -> None:
        """A game may have something to hash."""
        self._pending[key] = None
        self._more.set()

    def drop(self, key: str) -> None:
        """Forget what is being hashed of a game: its files are others now, or must be let alone."""
        self._pending.pop(key, None)
        job = self._jobs.pop(key, None)
        if job is not None:
            job.dropped = True
            self._dropped.append(job)
            self._more.set()

    async def run(self) -> None:
        """Hash until cancelled. Nothing stays open."""
        try:
            while True:
                await self._close_dropped()
                key = self._next()
                if key is None:
                    self._more = trio.Event()
                    await self._more.wait()
                else:
                    await self._step(key)
        finally:
            for job in (*self._jobs.values(), *self._dropped):
                job.close()

    def _next(self) -> str | None:
        for key in self._wanted:
            if key in self._pending:
                return key
        for key in self._jobs:
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
            await self._shelf.hashed_all(key)
            return
        self._shelf.hashed(key, found)
        job.unsaved_bytes += sum(stamp.size for stamp in found)
        if job.unsaved_bytes >= _SAVE_BYTES:
            job.unsaved_bytes = 0
            await self._shelf.save(key)

    async def _begin(self, key: str) -> _Job | None:
        stamps = self._shelf.to_hash(key)
        if not stamps:
            self._pending.pop(key, None)
            await trio.lowlevel.checkpoint()
            return None
        try:
            folder = await self._threads.run(self._shelf.open_game, key)
        except NotHere:
            self._pending.pop(key, None)
            self._shelf.could_not_hash(key, "", None)
            return None
        except OSError as error:
            self._pending.pop(key, None)
            self._shelf.could_not_hash(key, "", error)
            return None
        job = _Job(folder, BlockHasher(folder, stamps, self._block_bytes))
        if self._shelf.to_hash(key) != stamps:
            # It changed, or an operation began, while the folder was opened.
            job.dropped = True
            self._dropped.append(job)
            return None
        self._jobs[key] = job
        return job

    def _fail(self, key: str, job: _Job, path: str, error: OSError | None) -> None:
        if not job.dropped:
            self.drop(key)
            self._shelf.could_not_hash(key, path, error)

    async def _close_dropped(self) -> None:
        while self._dropped:
            await self._threads.run(self._dropped[-1].close)
            self._dropped.pop()
