"""What a view does with what it hears, one rule at a time."""

from __future__ import annotations

import attrs
import pytest

from lanspread import limits
from lanspread.sync import messages as m
from lanspread.sync.delta import weight_of
from lanspread.sync.library import PublishedLibrary
from lanspread.sync.remote import Position, RemoteLibrary
from lanspread.sync.view import Apply, Budget, Fetch, Judge, View
from tests.sync.support import EPOCH, PEER, decoded, library, remote, summary


class Shelf:
    """A view of an owner's library, and where it is kept."""

    def __init__(self, held: PublishedLibrary | None = None, budget: int = limits.MIB) -> None:
        self.held: RemoteLibrary | None = remote(held) if held is not None else None
        self.budget = Budget(budget)
        self.view = View(lambda: self.held, self.budget)

    def take(self, found: object) -> RemoteLibrary:
        assert isinstance(found, Apply)
        self.held = found.library
        return found.library

    def judge(self) -> Apply | None:
        found = self.view.next()
        assert isinstance(found, Judge), found
        return self.view.judged(
            [step if isinstance(step, Position) else decoded(step) for step in found.steps]
        )


def grown(before: PublishedLibrary, *ids: str) -> PublishedLibrary:
    return before.refresh(map(summary, ids))[0]


def delta(after: PublishedLibrary, rev: int) -> m.LibraryDelta:
    found = after.delta_since(PEER, rev)
    assert found is not None
    return found


A = library(5, "quake")
B = grown(A, "quake", "doom")
C = grown(B, "doom")


def test_a_delta_that_fits_is_applied_and_nothing_is_asked() -> None:
    shelf = Shelf(A)
    shelf.view.announce(A.position)
    assert shelf.view.next() is None
    shelf.view.delta(delta(B, 5))
    found = shelf.judge()
    assert found is not None
    assert found.touched == frozenset({"doom"})
    assert shelf.take(found) == remote(B)
    assert shelf.view.next() is None
    shelf.view.delta(delta(B, 5))
    assert shelf.view.next() is None, "the same once more is late"


def test_several_are_judged_together_and_the_digest_taken_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = Shelf(A)
    shelf.view.delta(delta(B, 5))
    # A digest in the middle is not looked at.
    shelf.view._waiting[0] = attrs.evolve(delta(B, 5), library_digest=bytes(32))
    shelf.view.delta(delta(C, 6))
    assert shelf.take(shelf.judge()) == remote(C)


def test_deltas_wait_while_an_answer_is_outstanding() -> None:
    shelf = Shelf()
    shelf.view.announce(A.position)
    assert shelf.view.next() == Fetch(A.position, None)
    shelf.view.delta(delta(B, 5))
    shelf.view.delta(delta(C, 6))
    assert shelf.view.next() is None
    # The answer overtook the first of them.
    assert shelf.take(shelf.view.answered(remote(B))) == remote(B)
    assert shelf.take(shelf.judge()) == remote(C)
    assert shelf.view.next() is None


def test_without_an_answer_what_waited_is_judged() -> None:
    shelf = Shelf(A)
    shelf.view.announce(B.position)
    assert shelf.view.next() == Fetch(B.position, A.position)
    shelf.view.delta(delta(C, 5))
    shelf.view.lost()
    assert shelf.take(shelf.judge()) == remote(C)


def test_what_was_replaced_meanwhile_drops_the_answer() -> None:
    """A slow answer must not set back what a faster one brought."""
    shelf = Shelf(A)
    shelf.view.announce(C.position)
    assert isinstance(shelf.view.next(), Fetch)
    shelf.held = remote(C)
    assert shelf.view.answered(remote(B)) is None
    assert shelf.view.next() is None


def test_what_was_replaced_meanwhile_drops_a_judgement() -> None:
    shelf = Shelf(A)
    shelf.view.delta(delta(B, 5))
    judge = shelf.view.next()
    assert isinstance(judge, Judge)
    shelf.held = remote(C)
    assert shelf.view.judged([decoded(delta(B, 5))]) is None
    assert shelf.held == remote(C)
    assert shelf.view.next() == Fetch(B.position, None)


@pytest.mark.parametrize("wrong", ["digest", "added", "updated", "removed"])
def test_a_delta_that_contradicts_the_view_is_thrown_away(wrong: str) -> None:
    """Everything is asked for then, once; and the view stays as it was."""
    shelf = Shelf(A)
    (quake,), (hexen,) = A.encoded.values(), library(1, "hexen").encoded.values()
    bad = {
        "digest": attrs.evolve(delta(B, 5), library_digest=bytes(32)),
        "added": attrs.evolve(delta(B, 5), added=(*delta(B, 5).added, quake)),
        "updated": attrs.evolve(delta(B, 5), updated=(hexen,)),
        "removed": attrs.evolve(delta(B, 5), removed=("hexen",)),
    }[wrong]
    shelf.view.delta(bad)
    assert shelf.judge() is None
    assert shelf.held == remote(A)
    fetch = shelf.view.next()
    assert isinstance(fetch, Fetch)
    assert fetch.since is None
    shelf.take(shelf.view.answered(remote(B)))
    shelf.view.delta(delta(C, 6))
    assert shelf.take(shelf.judge()) == remote(C)


@pytest.mark.parametrize("gap", ["epoch", "revision", "backwards"])
def test_a_delta_from_elsewhere_only_announces(gap: str) -> None:
    shelf = Shelf(A)
    found = {
        "epoch": attrs.evolve(delta(B, 5), library_epoch=b"x" * 16),
        "revision": delta(C, 6),
        "backwards": attrs.evolve(delta(B, 5), to_rev=4),
    }[gap]
    shelf.view.delta(found)
    fetch = shelf.view.next()
    assert isinstance(fetch, Fetch)
    assert fetch.since == (A.position if gap == "revision" else None)


def test_the_regrown_state() -> None:
    """A peer lost its state and grew back to the same revision with other content."""
    before, now = library(5, "quake"), library(5, "doom")
    shelf = Shelf(before)
    shelf.view.announce(now.position)
    assert shelf.view.next() == Fetch(now.position, None), "the revision says nothing then"
    assert shelf.take(shelf.view.answered(remote(now))) == remote(now)
    # And one that grew back further: what it says has changed does not fit what is here.
    shelf, now = Shelf(before), grown(now, "doom", "hexen")
    shelf.view.announce(now.position)
    assert shelf.view.next() == Fetch(now.position, before.position)
    assert shelf.view.answered(decoded(delta(now, 5))) is None
    assert shelf.view.next() == Fetch(now.position, None)
    assert shelf.take(shelf.view.answered(remote(now))) == remote(now)
    assert shelf.view.next() is None


def test_a_position_with_the_same_content_is_taken_over() -> None:
    """From a lower revision too, as long as no session brought a higher one."""
    shelf = Shelf(attrs.evolve(B, rev=50))
    shelf.view.announce(B.position)
    shelf.view.delta(delta(C, 6))
    assert shelf.take(shelf.judge()).position == C.position
    shelf = Shelf(attrs.evolve(B, epoch=b"x" * 16))
    shelf.view.announce(B.position)
    assert shelf.take(shelf.view.next()).position == B.position
    assert shelf.view.next() is None


def test_too_many_that_wait_become_an_announcement(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(A)
    shelf.view.announce(B.position)
    assert isinstance(shelf.view.next(), Fetch)
    for rev in range(6, 6 + 10 * limits.MAX_HELD_DELTAS):
        step = attrs.evolve(delta(B, 5), from_rev=rev, to_rev=rev + 1)
        shelf.view.delta(step)
        assert len(shelf.view._waiting) <= limits.MAX_HELD_DELTAS
    shelf.view.lost()
    fetch = shelf.view.next()
    assert isinstance(fetch, Fetch)
    assert fetch.target == Position(EPOCH, 6 + 10 * limits.MAX_HELD_DELTAS - 1 + 1, B.digest)


def test_bytes_that_wait_are_bounded_for_one_and_for_all() -> None:
    many = grown(A, *(f"game {number}" for number in range(500)))
    large = delta(many, 5)
    weight = weight_of(large)
    assert weight > sum(map(len, large.added))
    shelf = Shelf(A, budget=10 * weight)
    other = View(lambda: None, shelf.budget)
    for _ in range(100):
        shelf.view.delta(large)
        other.delta(large)
    assert shelf.view._weight + other._weight <= 10 * weight
    shelf.view.close()
    other.close()
    assert shelf.budget.take(10 * weight)
    # One peer alone: at most its share, or a single one.
    shelf = Shelf(A, budget=100 * limits.MIB)
    for _ in range(200):
        shelf.view.delta(large)
        assert shelf.view._weight <= max(limits.MAX_HELD_DELTA_BYTES, weight)
