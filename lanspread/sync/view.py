"""Following one peer's library in one session: what to do with what is heard. Pure.

Announcements and deltas come in order, on the control stream; answers travel on streams of their
own and may overtake them. So what is heard is held, and judged when no answer is being waited for.
A delta only ever saves a fetch: the last position announced is where the view has to get to, and
if deltas do not lead there, a fetch does.
Source: docs/protocol.md, "Library exchange"; the trio shell is `lanspread.sync.follower`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from lanspread import limits
from lanspread.sync import messages as m
from lanspread.sync.delta import Change, apply_change, end_of, weight_of
from lanspread.sync.remote import Contradiction, Draft, Position, RemoteLibrary

# What leads from one position to another: a delta, or news of another one of the same content.
Step = Position | m.LibraryDelta
DecodedStep = Position | Change


@attrs.frozen
class Judge:
    """Decode the deltas of these steps, then call `View.judged` with what came of them."""

    steps: tuple[Step, ...]


@attrs.frozen
class Apply:
    """The view is this from now on. `touched`: the folded ids where it can differ, None if any."""

    library: RemoteLibrary
    touched: frozenset[str] | None


@attrs.frozen
class Fetch:
    """Ask with GetLibrary, then call `answered` or `lost`; `since` None asks for a snapshot.

    `target` is what was announced, see `View.reached`.
    """

    target: Position
    since: Position | None


class Budget:
    """A bound on bytes that several views share."""

    def __init__(self, total: int) -> None:
        self._free = total

    def take(self, amount: int) -> bool:
        if amount > self._free:
            return False
        self._free -= amount
        return True

    def give_back(self, amount: int) -> None:
        self._free += amount


@attrs.frozen
class _Asked:
    """A fetch that is being waited for, and the view that there was when it began."""

    since: Position | None
    view: RemoteLibrary | None


class View:
    """The state of one session. `held()` is the view of the peer as it is at this moment.

    Others may replace that view: another session with the same peer, or who needs the room.
    """

    def __init__(self, held: Callable[[], RemoteLibrary | None], budget: Budget) -> None:
        self._held = held
        self._budget = budget
        # Where the peer's library stands by what was said last.
        self._announced: Position | None = None
        # Where this session has brought the view. Only that tells which revisions are late: a peer
        # whose state was restored from a copy goes on from a lower one than an earlier session saw.
        self._brought: Position | None = None
        self._waiting: list[Step] = []
        self._weight = 0
        self._judging: RemoteLibrary | None = None
        self._weight_in_hand = 0
        self._asked: _Asked | None = None
        self._wants_snapshot = False

    # -- what is heard ----------------------------------------------------------------------------

    def announce(self, position: Position) -> None:
        """The peer's library stands at `position`."""
        self._announced = position
        if self._waiting and isinstance(self._waiting[-1], Position):
            self._waiting.pop()
        elif len(self._waiting) >= limits.MAX_HELD_DELTAS:
            self._forget_waiting()
        self._waiting.append(position)

    def delta(self, delta: m.LibraryDelta) -> None:
        """A delta came on the control stream. Where there is no room, its end is all that counts.

        What waited before it is given up with it: without the one in the middle no chain is whole.
        """
        weight = weight_of(delta)
        too_much = bool(self._weight) and self._weight + weight > limits.MAX_HELD_DELTA_BYTES
        full = len(self._waiting) >= limits.MAX_HELD_DELTAS
        if too_much or full or not self._budget.take(weight):
            self._forget_waiting()
            self.announce(end_of(delta))
            return
        self._announced = end_of(delta)
        self._weight += weight
        self._waiting.append(delta)

    def close(self) -> None:
        """The session is over: nothing is held any more."""
        self._forget_waiting()
        self._drop_in_hand()

    def _forget_waiting(self) -> None:
        self._budget.give_back(self._weight)
        self._weight = 0
        self._waiting.clear()

    def _drop_in_hand(self) -> None:
        self._budget.give_back(self._weight_in_hand)
        self._weight_in_hand = 0
        self._judging = None

    # -- what to do -------------------------------------------------------------------------------

    def reached(self, position: Position) -> bool:
        """Whether the view is what `position` said, or newer."""
        view = self._held()
        same = view is not None and view.position.digest == position.digest
        return same or self._is_late(position)

    def next(self) -> Judge | Apply | Fetch | None:
        """The next thing to do; None until more is heard."""
        if self._asked is not None:
            return None
        view, steps = self._held(), self._steps()
        if view is not None and any(isinstance(step, m.LibraryDelta) for step in steps):
            self._judging = view
            self._weight_in_hand, self._weight = self._weight, 0
            self._waiting.clear()
            return Judge(steps)
        self._forget_waiting()
        announced = self._announced
        if announced is None or self._is_late(announced):
            return None
        if view is not None and view.position.digest == announced.digest:
            self._brought = announced
            if view.position == announced:
                return None
            return Apply(attrs.evolve(view, position=announced), frozenset())
        since = None
        if view is not None and not self._wants_snapshot:
            known = view.position
            since = known if known.epoch == announced.epoch and known.rev < announced.rev else None
        self._asked = _Asked(since, view)
        return Fetch(announced, since)

    def _steps(self) -> tuple[Step, ...]:
        """What of that which waits leads on from the view, one behind the other."""
        view = self._held()
        if view is None:
            return ()
        at, steps = view.position, list[Step]()
        for item in self._waiting:
            if isinstance(item, Position):
                if item.digest == at.digest and not self._is_late(item):
                    at = item
                    steps.append(item)
            elif (item.library_epoch, item.from_rev) == (at.epoch, at.rev) and item.to_rev > at.rev:
                at = end_of(item)
                steps.append(item)
        return tuple(steps)

    def _is_late(self, position: Position) -> bool:
        brought = self._brought
        return (
            brought is not None and brought.epoch == position.epoch and position.rev < brought.rev
        )

    # -- what came of it --------------------------------------------------------------------------

    def judged(self, steps: Sequence[DecodedStep]) -> Apply | None:
        """The steps of `Judge`, decoded. None if the view was replaced meanwhile, or none is right.

        The digest is taken once, at the end of them all.
        """
        judging, view = self._judging, self._held()
        self._drop_in_hand()
        return self._applied(view, steps) if view is not None and view is judging else None

    def answered(self, answer: RemoteLibrary | Change) -> Apply | None:
        """The answer of `Fetch`. None if it is of no use: then `next` says what is."""
        asked, self._asked = self._asked, None
        assert asked is not None
        view = self._held()
        if view is not asked.view:
            # Another answer was applied after this one was asked for.
            return None
        if isinstance(answer, RemoteLibrary):
            return self._take(answer, None)
        assert view is not None
        return self._applied(view, (answer,))

    def lost(self) -> None:
        """There is no answer of `Fetch`."""
        self._asked = None

    def _applied(self, view: RemoteLibrary, steps: Sequence[DecodedStep]) -> Apply | None:
        draft, at = Draft(view), view.position
        try:
            for step in steps:
                if isinstance(step, Position):
                    at = step
                else:
                    apply_change(draft, step)
                    at = Position(step.epoch, step.to_rev, step.digest)
        except Contradiction:
            self._wants_snapshot = True
            return None
        if draft.digest() != at.digest:
            self._wants_snapshot = True
            return None
        return self._take(draft.finish(at), frozenset(draft.touched))

    def _take(self, library: RemoteLibrary, touched: frozenset[str] | None) -> Apply:
        self._brought = library.position
        self._wants_snapshot = False
        return Apply(library, touched)
