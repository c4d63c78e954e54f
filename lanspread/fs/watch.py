"""The real `Watcher`: hints from the system that something in the games folder changed.

One thread per games folder runs watchfiles over the games folder and each game's folder, not
deeper: a library has too many folders for a system's watches, and `local/` changes all the time.
What is missed is found by the fallback scan. A new game's folder is not watched before the download
that makes it has ended: every block that is written would be told of, which costs as much as
writing it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, closing
from typing import Final

import trio
import watchfiles

from lanspread import limits
from lanspread.fs.paths import shown

_STEP_MS: Final = 20
_DEBOUNCE_MS: Final = 200
_RUST_TIMEOUT_MS: Final = 200
_QUEUE: Final = 16
# After an error that may pass at any moment, and after one that a person has to mend.
_RETRY_S: Final = 5.0
_AGAIN_S: Final = limits.FALLBACK_SCAN_S
_ANYTHING: Final = frozenset({""})
_REMEDY: Final = (
    "raise the system's limit of watched folders (Linux: sysctl fs.inotify.max_user_watches)"
)

OnWarning = Callable[[str, str, str], None]
IsHeld = Callable[[str], bool]


def _never(name: str) -> bool:
    return False


class DiskWatcher:
    """Watches real folders."""

    @asynccontextmanager
    async def watch(
        self, games: str, on_warning: OnWarning, is_held: IsHeld = _never
    ) -> AsyncIterator[trio.MemoryReceiveChannel[frozenset[str]]]:
        """Hints until the block is left; leaving takes as long as one step of the thread."""
        watch = _Watch(games, on_warning, is_held)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            try:
                yield watch.hints.receive
            finally:
                watch.stop()
                nursery.cancel_scope.cancel()
        watch.hints.close()


class _Watch:
    """One folder being watched, again and again: whenever its folders change, or after an error.

    Where the system does not let all folders be watched, as many as it allows are, and all are
    tried again later.
    """

    def __init__(self, games: str, on_warning: OnWarning, is_held: IsHeld) -> None:
        self.hints = Hints()
        self._games = games
        self._on_warning = on_warning
        self._is_held = is_held
        self._limiter = trio.CapacityLimiter(1)
        self._stopped = False
        self._stop = threading.Event()
        self._told = False

    def stop(self) -> None:
        """End the thread within one step."""
        self._stopped = True
        self._stop.set()

    async def run(self) -> None:
        while not self._stopped:
            error = await self._watch_folders(every=True)
            if error is None:
                self._told = False
            elif isinstance(error, FileNotFoundError):
                # The games folder is not there, or a game went while watching began.
                self.hints.put(_ANYTHING)
                await trio.sleep(_RETRY_S)
            else:
                self._warn(error)
                if await self._watch_folders(every=False) is not None:
                    await trio.sleep(_AGAIN_S)

    async def _watch_folders(self, *, every: bool) -> Exception | None:
        """Watch until told to stop, or other folders are to be watched; returns what went wrong.

        Not `every`: what cannot be watched is left out, and it ends by itself after a while.
        """
        stop = self._stop = threading.Event()
        if self._stopped:
            return None
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            if not every:
                nursery.start_soon(_stop_later, stop)
            try:
                await trio.to_thread.run_sync(
                    _watch_until_folders_change,
                    self._games,
                    self.hints,
                    stop,
                    every,
                    self._is_held,
                    limiter=self._limiter,
                )
            except Exception as caught:
                error = caught
            nursery.cancel_scope.cancel()
        return error

    def _warn(self, error: Exception) -> None:
        if self._told:
            return
        self._told = True
        message = f"changes in {shown(self._games)} are found late: not all is watched ({error})"
        self._on_warning("not_watching", message, _REMEDY)


async def _stop_later(stop: threading.Event) -> None:
    await trio.sleep(_AGAIN_S)
    stop.set()


class Hints:
    """A bounded channel of sets of names; what does not fit becomes "anything may have changed"."""

    def __init__(self) -> None:
        self._send, self.receive = trio.open_memory_channel[frozenset[str]](_QUEUE)

    def put(self, names: frozenset[str]) -> None:
        """Add a hint; never waits."""
        try:
            self._send.send_nowait(names)
        except trio.ClosedResourceError:
            return
        except trio.WouldBlock:
            while self.receive.statistics().current_buffer_used:
                self.receive.receive_nowait()
            self._send.send_nowait(_ANYTHING)

    def close(self) -> None:
        self._send.close()
        self.receive.close()


def names_of(games: str, changed: Iterable[str]) -> frozenset[str]:
    """The names directly below `games` that changed paths belong to; `""` for any elsewhere."""
    names = set()
    prefix = games.rstrip(os.sep) + os.sep
    for path in changed:
        inside = path.startswith(prefix)
        names.add(path[len(prefix) :].split(os.sep, 1)[0] if inside else "")
    return frozenset(names)


def _watch_until_folders_change(
    games: str, hints: Hints, stop: threading.Event, every: bool, is_held: IsHeld
) -> None:
    """Runs in a thread. Returns when told to stop or when other folders are to be watched.

    Raises `FileNotFoundError` if something went meanwhile, and what watchfiles does for a folder
    that cannot be watched, unless those are to be left out.
    """
    real = os.path.realpath(games)
    identity = _identity(games)
    folders, held = _game_folders(real, is_held, ())
    started = False
    found = watchfiles.watch(
        real,
        *folders,
        watch_filter=None,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_RUST_TIMEOUT_MS,
        stop_event=stop,
        yield_on_timeout=True,
        raise_interrupt=False,
        recursive=False,
        # It swallows every error of a watch, also that there are too many.
        ignore_permission_denied=not every,
    )
    with closing(found):
        for changes in found:
            names = names_of(real, (path for _, path in changes))
            if not started:
                # What happened before the watches stood was seen by nobody.
                started = True
                names = _ANYTHING
            if names:
                trio.from_thread.run_sync(hints.put, names)
            if any(os.path.dirname(path) == real for _, path in changes):
                now, held = _game_folders(real, is_held, folders)
                if now != folders:
                    return
            elif not changes and _identity(games) != identity:
                # Unmounted, or mounted again: the watches are of another disk.
                return
            if not all(map(is_held, held)):
                return


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _game_folders(
    games: str, is_held: IsHeld, watched: Collection[str]
) -> tuple[list[str], list[str]]:
    """The folders to watch, and the names of those that are to be watched when they are let go.

    One that may not be read need not be watched, its game is not shared.
    """
    folders, held = [], []
    with os.scandir(games) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if entry.path not in watched and is_held(entry.name):
                held.append(entry.name)
            elif os.access(entry.path, os.R_OK):
                folders.append(entry.path)
    return sorted(folders), held
