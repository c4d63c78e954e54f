"""The real `Watcher`: hints from the system that something in the games folder changed.

One thread per watched folder runs watchfiles over the games folder and each game's folder, not
deeper: a library has too many folders for a system's watches, and `local/` changes all the time.
What is missed is found by the fallback scan.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from typing import Final

import structlog
import trio
import watchfiles

from lanspread.fs.paths import shown

_STEP_MS: Final = 20
_DEBOUNCE_MS: Final = 200
_RUST_TIMEOUT_MS: Final = 200
_QUEUE: Final = 16
# After an error that may pass: the games folder is not there, a game went while watching began.
_RETRY_S: Final = 5.0
_ANYTHING: Final = frozenset({""})
_REMEDY: Final = (
    "raise the system's limit of watched folders (Linux: sysctl fs.inotify.max_user_watches)"
)

_log = structlog.get_logger(__name__)

OnWarning = Callable[[str, str, str], None]


class DiskWatcher:
    """Watches real folders. `on_warning(code, message, remedy)` is called in the event loop."""

    def __init__(self, on_warning: OnWarning | None = None) -> None:
        self._on_warning = on_warning

    @asynccontextmanager
    async def watch(self, games: str) -> AsyncIterator[trio.MemoryReceiveChannel[frozenset[str]]]:
        """Hints until the block is left; leaving takes as long as one step of the thread."""
        stop = threading.Event()
        hints = Hints()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run, games, hints, stop)
            try:
                yield hints.receive
            finally:
                stop.set()
                nursery.cancel_scope.cancel()
        hints.close()

    async def _run(self, games: str, hints: Hints, stop: threading.Event) -> None:
        limiter = trio.CapacityLimiter(1)
        while not stop.is_set():
            try:
                await trio.to_thread.run_sync(
                    _watch_until_folders_change, games, hints, stop, limiter=limiter
                )
                continue
            except FileNotFoundError:
                pass
            except (OSError, RuntimeError) as error:
                self._warn(games, error)
                return
            hints.put(_ANYTHING)
            await trio.sleep(_RETRY_S)

    def _warn(self, games: str, error: Exception) -> None:
        message = f"changes in {shown(games)} are found late: it cannot be watched ({error})"
        _log.warning(message)
        if self._on_warning is not None:
            self._on_warning("not_watching", message, _REMEDY)


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


def _watch_until_folders_change(games: str, hints: Hints, stop: threading.Event) -> None:
    """Runs in a thread. Returns when told to stop or when other folders are to be watched."""
    games = os.path.realpath(games)
    folders = _game_folders(games)
    started = False
    found = watchfiles.watch(
        games,
        *folders,
        watch_filter=None,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_RUST_TIMEOUT_MS,
        stop_event=stop,
        yield_on_timeout=True,
        raise_interrupt=False,
        recursive=False,
        ignore_permission_denied=True,
    )
    with closing(found):
        for changes in found:
            names = names_of(games, (path for _, path in changes))
            if not started:
                # What happened before the watches stood was seen by nobody.
                started = True
                names = _ANYTHING
            if names:
                trio.from_thread.run_sync(hints.put, names)
            if changes and _game_folders(games) != folders:
                return


def _game_folders(games: str) -> list[str]:
    with os.scandir(games) as entries:
        return sorted(
            entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir()
        )
