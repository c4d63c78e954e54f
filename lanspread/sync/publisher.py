"""Keeping our published library equal to what is on the disk, and telling the peers.

Any change raises the revision by one; it is persisted before anybody hears of it.
Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

from lanspread import limits
from lanspread.events import LibraryUpdated, PeerEvent, Warning_
from lanspread.model import GameSummary
from lanspread.sync.bell import Bell
from lanspread.sync.library import PublishedLibrary


class Publisher:
    """`summaries()` gives the library as it is now; `save` persists (epoch, rev)."""

    def __init__(
        self,
        our_peer_id: str,
        library: PublishedLibrary,
        *,
        summaries: Callable[[], Iterable[GameSummary]],
        save: Callable[[bytes, int], Awaitable[None]],
        publish: Callable[[PeerEvent], None],
    ) -> None:
        self.current = library
        self._our_peer_id = our_peer_id
        self._summaries = summaries
        self._save = save
        self._publish = publish
        # Rings whenever `current` was replaced.
        self.changed = Bell()
        self._announce: Callable[[], None] = lambda: None
        self._touched = trio.Event()
        self._refreshing = trio.Lock()
        self._failing = False

    def announce_by(self, announce: Callable[[], None]) -> None:
        """Set what tells the peers; until then nobody is told."""
        self._announce = announce

    def touch(self) -> None:
        """Something may have changed; it is looked at soon."""
        self._touched.set()

    async def refresh(self) -> None:
        """Look now. When this returns, peers and front-ends have been told of every change.

        If the revision cannot be saved nobody is told of anything: `run` tries again later, and a
        warning says so. Cancelled, the revision may have been persisted without being used: it
        only ever rises.
        """
        async with self._refreshing:
            # One pass can find that more changed while it was saving.
            while True:
                library, changed = self.current.refresh(self._summaries())
                if not changed:
                    return
                try:
                    await self._save(library.epoch, library.rev)
                except OSError as error:
                    self._complain(error)
                    return
                self._failing = False
                self.current = library
                self._publish(
                    LibraryUpdated(peer_id=self._our_peer_id, games=changed, rev=library.rev)
                )
                self._announce()
                self.changed.ring()

    def _complain(self, error: OSError) -> None:
        self._touched.set()
        if self._failing:
            return
        self._failing = True
        self._publish(
            Warning_(
                code="state_not_writable",
                message=f"the library's revision cannot be saved: {error.strerror or error}",
                remedy="free space in the state folder, or make it writable; others see an old "
                "library until then",
            )
        )

    async def run(self) -> None:
        """Refresh after every touch, debounced, until cancelled."""
        while True:
            await self._touched.wait()
            pause = limits.LIBRARY_RETRY_S if self._failing else limits.LIBRARY_DEBOUNCE_S
            await trio.sleep(pause)
            self._touched = trio.Event()
            await self.refresh()
