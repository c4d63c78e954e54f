"""Keeping our published library equal to what is on the disk, and telling the peers.

Any change raises the revision by one; it is persisted, with the digest, before anybody hears of it.
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
    """`summaries()` gives the library as it is now; `save` persists (epoch, rev, digest).

    `library` is empty and holds what was persisted, `saved_digest` the digest that was.
    """

    def __init__(
        self,
        our_peer_id: str,
        library: PublishedLibrary,
        *,
        saved_digest: bytes | None,
        summaries: Callable[[], Iterable[GameSummary]],
        save: Callable[[bytes, int, bytes], Awaitable[None]],
        publish: Callable[[PeerEvent], None],
    ) -> None:
        self.current = library
        self._our_peer_id = our_peer_id
        self._saved_digest = saved_digest
        self._begun = False
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

    async def refresh(self) -> bool:
        """Look now. When this returns True, peers and front-ends have been told of every change.

        If the revision cannot be saved nobody is told of anything, and it returns False: `run`
        tries again later, and a warning says so. Cancelled, the revision may have been persisted
        without being used: it only ever rises.
        """
        async with self._refreshing:
            # One pass can find that more changed while it was saving.
            while True:
                library, changed = self._look()
                if library is self.current:
                    return True
                try:
                    await self._persist(library)
                except OSError as error:
                    self._complain(error)
                    return False
                self._failing = False
                self._begun = True
                self.current = library
                if changed:
                    self._publish(
                        LibraryUpdated(peer_id=self._our_peer_id, games=changed, rev=library.rev)
                    )
                self._announce()
                self.changed.ring()

    def _look(self) -> tuple[PublishedLibrary, tuple[str, ...]]:
        if self._begun:
            return self.current.refresh(self._summaries())
        return self.current.begun(self._summaries(), self._saved_digest)

    async def _persist(self, library: PublishedLibrary) -> None:
        # A start that finds what was persisted has nothing to write.
        if library.rev != self.current.rev:
            await self._save(library.epoch, library.rev, library.digest)

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
        """Refresh after every touch, debounced, until cancelled.

        What changes all the time (a game that is being copied in) is told ever more seldom: each
        revision costs every peer something.
        """
        debounce = limits.LIBRARY_DEBOUNCE_S
        while True:
            looked_at = trio.current_time()
            await self._touched.wait()
            if trio.current_time() - looked_at < limits.LIBRARY_QUIET_S:
                debounce = min(2 * debounce, limits.LIBRARY_DEBOUNCE_MAX_S)
            else:
                debounce = limits.LIBRARY_DEBOUNCE_S
            await trio.sleep(limits.LIBRARY_RETRY_S if self._failing else debounce)
            self._touched = trio.Event()
            await self.refresh()
