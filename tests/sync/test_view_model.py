"""An owner, a follower and everything between them that can go wrong: the view ends up right.

Messages on the control stream come in order or not at all, answers overtake them or are lost,
sessions cross, and either side starts again: with its state, without, with an older copy of it.
"""

from __future__ import annotations

from collections import deque

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from lanspread import limits
from lanspread.model import GameSummary, fold_id
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.delta import Change
from lanspread.sync.library import PublishedLibrary, Told
from lanspread.sync.remote import Position, RemoteLibrary
from lanspread.sync.view import Apply, Budget, DecodedStep, Fetch, Judge, View
from tests.sync.support import PEER, decoded, remote, summary

# Some fold to one another, one cannot be a folder's name.
IDS = ("Quake", "quake", "QUAKE", "doom", "con", "ünï")
GAMES = st.dictionaries(st.sampled_from(IDS), st.integers(1, 2))


@attrs.define(eq=False)
class Session:
    """What travels between the two, and both ends' own knowledge of it."""

    told: Told
    view: View
    control: deque[m.LibrarySummary | m.LibraryDelta]
    fetch: Fetch | None = None
    answer: RemoteLibrary | m.LibraryDelta | None = None
    judge: Judge | None = None


class Channel(RuleBasedStateMachine):
    """Every rule is one thing that happens."""

    @initialize(games=GAMES)
    def begin(self, games: dict[str, int]) -> None:
        self.epochs = 0
        self.games = games
        self.budget = Budget(limits.MIB)
        self.held: RemoteLibrary | None = None
        self.sessions: list[Session] = []
        self.saved: tuple[bytes, int, bytes | None] = (bytes(16), 0, None)
        self.copies: list[tuple[bytes, int, bytes | None]] = [self.saved]
        self.start_owner()

    def start_owner(self) -> None:
        self.hang_up()
        epoch, rev, digest = self.saved
        empty = PublishedLibrary.empty(epoch, rev)
        self.library, _ = empty.begun(self.summaries(), digest)
        self.persist()

    def summaries(self) -> list[GameSummary]:
        return [summary(id, size) for id, size in self.games.items()]

    def persist(self) -> None:
        self.saved = (self.library.epoch, self.library.rev, self.library.digest)

    def hang_up(self) -> None:
        for session in self.sessions:
            session.view.close()
        self.sessions.clear()

    def live(self, pick: int) -> Session:
        return self.sessions[pick % len(self.sessions)]

    # -- the owner --------------------------------------------------------------------------------

    @rule(games=GAMES)
    def change(self, games: dict[str, int]) -> None:
        self.games = games
        self.library, _ = self.library.refresh(self.summaries())
        self.persist()

    @rule()
    def back_up(self) -> None:
        self.copies.append(self.saved)

    @rule()
    def restart(self) -> None:
        self.start_owner()

    @rule(games=GAMES)
    def restart_with_other_games(self, games: dict[str, int]) -> None:
        self.games = games
        self.start_owner()

    @rule(pick=st.integers(0, 9))
    def restart_with_an_older_copy(self, pick: int) -> None:
        self.saved = self.copies[pick % len(self.copies)]
        self.start_owner()

    @rule()
    def restart_without_state(self) -> None:
        self.epochs += 1
        self.saved = (self.epochs.to_bytes(16, "big"), 0, None)
        self.start_owner()

    # -- sessions ---------------------------------------------------------------------------------

    @precondition(lambda self: len(self.sessions) < 2)
    @rule()
    def connect(self) -> None:
        view = View(lambda: self.held, self.budget)
        view.announce(self.library.position)
        self.sessions.append(Session(Told(PEER), view, deque()))

    @precondition(lambda self: self.sessions)
    @rule(pick=st.integers(0, 1))
    def lose_a_session(self, pick: int) -> None:
        session = self.live(pick)
        session.view.close()
        self.sessions.remove(session)

    @rule()
    def restart_follower(self) -> None:
        self.hang_up()
        self.held = None

    @precondition(lambda self: self.sessions)
    @rule(pick=st.integers(0, 1))
    def announce(self, pick: int) -> None:
        session = self.live(pick)
        message = session.told.announcement(self.library)
        if message is not None:
            session.control.append(message)

    @precondition(lambda self: self.sessions)
    @rule(pick=st.integers(0, 1), twice=st.booleans())
    def deliver(self, pick: int, twice: bool) -> None:
        session = self.live(pick)
        if session.control:
            message = session.control.popleft()
            for _ in range(1 + twice):
                self.hear(session, message)

    def hear(self, session: Session, message: m.LibrarySummary | m.LibraryDelta) -> None:
        if isinstance(message, m.LibraryDelta):
            session.view.delta(message)
        else:
            session.view.announce(
                Position(message.library_epoch, message.library_rev, message.library_digest)
            )

    # -- the follower -----------------------------------------------------------------------------

    @precondition(lambda self: self.sessions)
    @rule(pick=st.integers(0, 1))
    def step(self, pick: int) -> None:
        self.go_on(self.live(pick))

    def go_on(self, session: Session) -> bool:
        """Whether there was anything to do."""
        if session.judge is not None:
            judge, session.judge = session.judge, None
            steps: list[DecodedStep] = [
                step if isinstance(step, Position) else decoded(step) for step in judge.steps
            ]
            self.apply(session.view.judged(steps))
            return True
        found = None if session.fetch is not None else session.view.next()
        if isinstance(found, Fetch):
            session.fetch, session.answer = found, None
        elif isinstance(found, Judge):
            session.judge = found
        else:
            self.apply(found)
        return found is not None

    def apply(self, found: Apply | None) -> None:
        if found is not None:
            assert found.library.position.digest == remote_digest(found.library)
            self.held = found.library

    @precondition(lambda self: any(each.fetch for each in self.sessions))
    @rule(pick=st.integers(0, 1))
    def make_answer(self, pick: int) -> None:
        session = self.live(pick)
        if session.fetch is not None and session.answer is None:
            since = session.fetch.since
            asked = m.LibraryPosition(epoch=since.epoch, rev=since.rev) if since else None
            delta = session.told.answer(self.library, asked)
            session.answer = delta or remote(self.library)

    @precondition(lambda self: any(each.answer for each in self.sessions))
    @rule(pick=st.integers(0, 1))
    def deliver_answer(self, pick: int) -> None:
        session = self.live(pick)
        if session.answer is not None:
            answer, session.fetch, session.answer = session.answer, None, None
            taken: RemoteLibrary | Change = (
                decoded(answer) if isinstance(answer, m.LibraryDelta) else answer
            )
            self.apply(session.view.answered(taken))

    @precondition(lambda self: any(each.fetch for each in self.sessions))
    @rule(pick=st.integers(0, 1))
    def lose_answer(self, pick: int) -> None:
        session = self.live(pick)
        if session.fetch is not None:
            session.fetch = session.answer = None
            session.view.lost()

    # -- what has to come of it -------------------------------------------------------------------

    @rule()
    def settle(self) -> None:
        """The channel is quiet, everything arrives: the view is the library."""
        if not self.sessions:
            self.connect()
        for _ in range(60):
            busy = False
            for pick in range(len(self.sessions)):
                session = self.live(pick)
                self.announce(pick)
                busy = busy or bool(session.control or session.fetch)
                while session.control:
                    self.deliver(pick, False)
                busy = self.go_on(session) or busy
                if session.fetch is not None:
                    self.make_answer(pick)
                    self.deliver_answer(pick)
            if not busy:
                break
        else:
            raise AssertionError("it never comes to rest")
        self.is_right()

    def is_right(self) -> None:
        held = self.held
        assert held is not None
        assert held.position == self.library.position
        assert held.hashes == self.library.hashes
        shown: dict[str, str] = {}
        for id in sorted(self.games):
            if id != "con":
                shown.setdefault(fold_id(id), id)
        assert {key: game.id for key, game in held.games.items()} == shown
        assert all(game.size == self.games[game.id] for game in held.games.values())

    def teardown(self) -> None:
        if hasattr(self, "sessions"):
            self.settle()
            self.hang_up()
            assert self.budget.take(limits.MIB), "what was held was not given back"


def remote_digest(library: RemoteLibrary) -> bytes:
    return codec.library_digest(library.hashes)


TestChannel = Channel.TestCase
TestChannel.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
