"""Our views of the peers' libraries: one follower per session, and what it brings in.

Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from lanspread import limits
from lanspread.events import LibraryUpdated, PeerEvent
from lanspread.sync import messages as m
from lanspread.sync.bell import Bell
from lanspread.sync.directory import Directory, DirectoryFull
from lanspread.sync.errors import SyncError
from lanspread.sync.follower import Follower
from lanspread.sync.peer_news import PeerNews
from lanspread.sync.remote import Position, RemoteLibrary
from lanspread.sync.session import Session
from lanspread.sync.view import Apply, Budget

_log = structlog.get_logger(__name__)


class Followers:
    """The followers of all sessions. `current(peer_id)` is the session that a peer's view is of."""

    def __init__(
        self,
        directory: Directory,
        news: PeerNews,
        publish: Callable[[PeerEvent], None],
        changed: Bell,
        current: Callable[[str], Session | None],
    ) -> None:
        self._directory = directory
        self._news = news
        self._publish = publish
        self._changed = changed
        self._current = current
        self._followers: dict[Session, Follower] = {}
        self._budget = Budget(limits.MAX_HELD_DELTA_BYTES_OF_ALL)
        self._told_left_out: set[Session] = set()

    @contextmanager
    def follower_of(self, session: Session) -> Iterator[Follower]:
        """A follower that hears what the session's peer announces, until the block is left."""
        follower = Follower(
            session,
            lambda: self._held(session.peer_id),
            lambda found: self._apply(session, found),
            self._budget,
        )
        announced = position_of(session.body)
        if announced is not None:
            follower.announce(announced)
        self._followers[session] = follower
        try:
            yield follower
        finally:
            del self._followers[session]
            follower.close()
            self._told_left_out.discard(session)

    async def run(self, session: Session, follower: Follower) -> None:
        """Follow until cancelled; what goes wrong ends the session."""
        try:
            await follower.run()
        except SyncError:
            # The session is ending, or was closed for it; its own task reports that.
            return
        except DirectoryFull as error:
            session.close(m.CLOSE_REFUSED, str(error))
        except Exception:
            # A fault of ours over what one peer sent must not end the others.
            _log.exception("following a library failed", peer=session.peer_id)
            session.close(m.CLOSE_GOODBYE, "a fault on this side")

    def on_control(self, session: Session, message: m.Message) -> None:
        """Take note of an announcement on the control stream."""
        follower = self._followers.get(session)
        if follower is None:
            return
        match message:
            case m.LibrarySummary():
                follower.announce(
                    Position(message.library_epoch, message.library_rev, message.library_digest)
                )
            case m.LibraryDelta():
                follower.delta(message)
            case _:
                pass

    def _held(self, peer_id: str) -> RemoteLibrary | None:
        record = self._directory.get(peer_id)
        return record.library if record is not None else None

    def _apply(self, session: Session, found: Apply) -> None:
        if not session.alive:
            # What a session brought that another replaced says nothing about the peer any more.
            return
        peer_id, library = session.peer_id, found.library
        for other in self._directory.make_room_for_games(peer_id, len(library.hashes)):
            evicted = self._current(other)
            if evicted is not None:
                evicted.close(m.CLOSE_REFUSED, str(DirectoryFull()))
        changed = self._directory.apply(peer_id, library, found.touched)
        if changed:
            self._publish(LibraryUpdated(peer_id=peer_id, games=changed, rev=library.position.rev))
        self._news.changed(peer_id)
        if library.left_out and session not in self._told_left_out:
            self._told_left_out.add(session)
            _log.warning(
                "games are left out: ids that cannot name a folder, or are the same when folded",
                peer=peer_id,
                games=library.left_out,
            )
        self._changed.ring()


def position_of(body: m.HelloBody) -> Position | None:
    """Where the library of a greeted peer stands; None where it hides that."""
    if body.library_epoch is None or body.library_rev is None or body.library_digest is None:
        return None
    return Position(body.library_epoch, body.library_rev, body.library_digest)
