"""Keeping our view of one session's library right: the trio shell around `lanspread.sync.view`.

Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from lanspread import limits
from lanspread.sync import messages as m
from lanspread.sync.delta import Change
from lanspread.sync.errors import PeerMisbehaved
from lanspread.sync.fetching import decode_delta, fetch_library
from lanspread.sync.remote import Position, RemoteLibrary
from lanspread.sync.session import Session
from lanspread.sync.view import Apply, Budget, DecodedStep, Fetch, Judge, View

# How long a peer's library is left alone for what it cost us: a peer that changes all the time
# costs us a tenth of our time at most. Decoding a game, and hashing and copying one that we have.
_REST_S_A_GAME = 0.000_5
_REST_S_A_GAME_HELD = 0.000_005


class Follower:
    """Keeps the view of one session's library equal to what its peer announced last.

    `announce` and `delta` are called with what is heard; `run` does what follows from it. `held`
    gives the view of the peer, and `apply` replaces it. Several announcements during a fetch cost
    one more fetch; the first news after a quiet time are acted on at once.
    """

    def __init__(
        self,
        session: Session,
        held: Callable[[], RemoteLibrary | None],
        apply: Callable[[Apply], None],
        budget: Budget,
    ) -> None:
        self._session = session
        self._held = held
        self._apply = apply
        self._view = View(held, budget)
        self._in_vain = 0
        # What was spent and not rested from, in seconds of rest.
        self._owed = 0.0
        self._news = trio.Event()

    def announce(self, position: Position) -> None:
        self._view.announce(position)
        self._news.set()

    def delta(self, delta: m.LibraryDelta) -> None:
        self._view.delta(delta)
        self._news.set()

    def close(self) -> None:
        """Let go of what is held. `run` must have ended."""
        self._view.close()

    async def run(self) -> None:
        """Follow until cancelled. Raises the errors of a session."""
        while True:
            match self._view.next():
                case None:
                    await self._news.wait()
                    self._news = trio.Event()
                case Apply() as adopted:
                    self._apply(adopted)
                    # Whoever waits for news of peers is woken by this, too.
                    await self._rest(limits.LIBRARY_DEBOUNCE_S)
                case Judge() as judge:
                    await self._judge(judge)
                case Fetch() as fetch:
                    await self._fetch(fetch)

    async def _judge(self, judge: Judge) -> None:
        steps: list[DecodedStep] = []
        try:
            for step in judge.steps:
                steps.append(step if isinstance(step, Position) else await decode_delta(step))
        except PeerMisbehaved as error:
            self._session.close(m.CLOSE_PROTOCOL_ERROR, str(error)[:200])
            raise
        found = self._view.judged(steps)
        for decoded in steps:
            if isinstance(decoded, Change):
                self._spend(decoded=len(decoded.added) + len(decoded.updated))
        self._spend(held=_size(self._held()))
        if found is None:
            await self._rest(0.0)
            return
        self._in_vain = 0
        self._apply(found)
        await self._rest(limits.LIBRARY_DEBOUNCE_S)

    async def _fetch(self, fetch: Fetch) -> None:
        answer = await fetch_library(self._session, fetch.since)
        if answer is None:
            self._view.lost()
            await self._rest(self._pause(limits.LIBRARY_RETRY_S))
            return
        if isinstance(answer, Change):
            self._spend(decoded=len(answer.added) + len(answer.updated))
            self._spend(held=_size(self._held()))
        else:
            self._spend(decoded=_size(answer))
        found = self._view.answered(answer)
        if found is not None:
            self._apply(found)
        elif isinstance(answer, Change):
            # It does not fit, and `next` asks for everything: soon, that was no lie yet.
            await self._rest(0.0)
            return
        if self._view.reached(fetch.target):
            self._in_vain = 0
            await self._rest(limits.LIBRARY_DEBOUNCE_S)
        else:
            await self._rest(self._pause(limits.LIBRARY_DEBOUNCE_S))

    def _spend(self, *, decoded: int = 0, held: int = 0) -> None:
        """Games were decoded; or of a library as large as `held` maps were copied and hashed."""
        self._owed += _REST_S_A_GAME * decoded + _REST_S_A_GAME_HELD * held

    async def _rest(self, at_least: float) -> None:
        rest, self._owed = max(at_least, self._owed), 0.0
        await trio.sleep(rest)

    def _pause(self, first: float) -> float:
        """How long to leave the peer alone: twice as long each time that asking was in vain."""
        pause = min(first * 2.0 ** min(self._in_vain, 16), limits.LIBRARY_RETRY_MAX_S)
        self._in_vain += 1
        return max(first, pause)


def _size(library: RemoteLibrary | None) -> int:
    return len(library.hashes) if library is not None else 0
