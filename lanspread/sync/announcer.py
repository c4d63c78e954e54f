"""Telling the sessions where our library stands: each what it has not been told yet.

There is at most one announcement of a session in its outbox, and it is made when its turn comes: a
session that reads slowly costs nothing, and misses nothing. Source: docs/protocol.md, "Library
exchange".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lanspread.sync import messages as m
from lanspread.sync.exchange import Responder
from lanspread.sync.library import PublishedLibrary, Told
from lanspread.sync.session import Session


class Announcer:
    """What all sessions were told; `published()` is our library at this moment."""

    def __init__(self, our_peer_id: str, published: Callable[[], PublishedLibrary]) -> None:
        self._our_peer_id = our_peer_id
        self._published = published
        self._told: dict[Session, Told] = {}
        self._queued: set[Session] = set()

    @contextmanager
    def telling(self, session: Session) -> Iterator[None]:
        """Tell a session, first where the library stands and then of every change, in the block."""
        self._told[session] = Told(self._our_peer_id)
        self._tell(session)
        try:
            yield
        finally:
            del self._told[session]
            self._queued.discard(session)

    def announce(self) -> None:
        """The library has changed."""
        for session in tuple(self._told):
            self._tell(session)

    def _tell(self, session: Session) -> None:
        if session not in self._queued:
            self._queued.add(session)
            session.send(lambda: self._message(session))

    def _message(self, session: Session) -> m.Message | None:
        self._queued.discard(session)
        told, library = self._told.get(session), self._published()
        if told is None or not library.may_be_told:
            return None
        return told.announcement(library)

    async def answer(self, session: Session, request: m.GetLibrary, responder: Responder) -> None:
        """Answer with what changed since the asked position, or with the whole library."""
        library = self._published()
        if not library.may_be_told:
            await responder.refuse(m.ERROR_BUSY, "the library cannot be told yet")
            return
        told = self._told.get(session) or Told(self._our_peer_id)
        delta = told.answer(library, request.since)
        if delta is not None:
            await responder.send_large(delta)
        else:
            await responder.send_pages(library.snapshot_pages(self._our_peer_id))
