"""Following a peer's library: what is asked again, when, and what is not believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock

import lanspread.sync.follower
from lanspread import limits
from lanspread.sync import messages as m
from lanspread.sync.delta import Change
from lanspread.sync.errors import PeerMisbehaved, RequestRefused
from lanspread.sync.fetching import fetch_library
from lanspread.sync.follower import Follower
from lanspread.sync.library import PublishedLibrary
from lanspread.sync.remote import Position, RemoteLibrary
from lanspread.sync.session import Session
from lanspread.sync.view import Apply, Budget
from tests.sync.support import EPOCH, PEER, decoded, library, remote, summary


class Owner:
    """The session with a peer whose library is `current`; it counts what it is asked.

    `pages` replaces its answers; `silent` has it never answer.
    """

    peer_id = PEER

    def __init__(self, current: PublishedLibrary) -> None:
        self.current = current
        self.pages: Callable[[], Iterator[m.Message]] = self._pages
        self.silent = False
        self.asked = 0
        self.since: m.LibraryPosition | None = None
        self.pages_asked = 0
        self.closed = ""

    @asynccontextmanager
    async def request(self, message: m.Message, **kind: Any) -> AsyncIterator[Owner]:
        assert isinstance(message, m.GetLibrary)
        self.since = message.since
        self.asked += 1
        self._answers = self.pages()
        try:
            yield self
        except PeerMisbehaved as error:
            self.close(m.CLOSE_PROTOCOL_ERROR, str(error))
            raise

    def _pages(self) -> Iterator[m.Message]:
        if self.since is not None and self.since.epoch == self.current.epoch:
            delta = self.current.delta_since(PEER, self.since.rev)
            if delta is not None:
                return iter([delta])
        return self.current.snapshot_pages(PEER)

    async def answer(self, kind: type[m.Message]) -> m.Message:
        return await self.answer_of(kind)

    async def answer_of(self, *kinds: type[m.Message]) -> m.Message:
        await trio.sleep(0.01)
        if self.silent:
            await trio.sleep_forever()
        self.pages_asked += 1
        found = next(self._answers)
        if not isinstance(found, kinds):
            raise PeerMisbehaved(f"answered with {type(found).__name__}")
        return found

    async def ask_page(self, page: int) -> None:
        await trio.lowlevel.checkpoint()

    async def finish_asking(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self, code: int, reason: str = "") -> None:
        self.closed = reason

    def as_session(self) -> Session:
        return cast(Session, self)


@asynccontextmanager
async def following(
    owner: Owner, before: PublishedLibrary | None = None
) -> AsyncIterator[tuple[Follower, list[RemoteLibrary]]]:
    """A follower, and the views that it applied; an earlier session left the view `before`."""
    held = [remote(before)] if before is not None else []
    known = len(held)
    applied: list[RemoteLibrary] = []

    def apply(found: Apply) -> None:
        held.append(found.library)
        applied[:] = held[known:]

    follower = Follower(
        owner.as_session(), lambda: held[-1] if held else None, apply, Budget(limits.MIB)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.run)
        yield follower, applied
        nursery.cancel_scope.cancel()


async def test_what_the_view_holds_is_not_asked_for(autojump_clock: MockClock) -> None:
    owner = Owner(library(7, "quake"))
    async with following(owner, owner.current) as (follower, _):
        follower.announce(attrs.evolve(owner.current.position, rev=9))
        await trio.sleep(10)
    assert owner.asked == 0


async def test_a_restored_owner_goes_on_from_a_lower_revision(autojump_clock: MockClock) -> None:
    """What an earlier session brought does not make this one's announcements late."""
    before, now = library(50, "quake", "doom"), library(12, "quake", "hexen")
    owner = Owner(now)
    async with following(owner, before) as (follower, applied):
        follower.announce(now.position)
        await trio.sleep(1)
        owner.current = library(13, "hexen")
        follower.announce(owner.current.position)
        await trio.sleep(1)
    assert [found.position.rev for found in applied] == [12, 13]
    assert set(applied[-1].games) == {"hexen"}


async def test_an_announcement_that_a_snapshot_overtook_is_late(
    autojump_clock: MockClock,
) -> None:
    owner = Owner(library(5, "quake"))
    async with following(owner) as (follower, applied):
        follower.announce(library(3, "doom").position)
        await trio.sleep(1)
        follower.announce(library(4, "hexen").position)
        await trio.sleep(10)
        assert [found.position.rev for found in applied] == [5]
    assert owner.asked == 1


async def test_a_peer_that_does_not_answer_is_asked_again_ever_more_seldom(
    autojump_clock: MockClock,
) -> None:
    owner = Owner(library(5, "quake"))
    owner.silent = True
    async with following(owner) as (follower, applied):
        follower.announce(owner.current.position)
        await trio.sleep(limits.REQUEST_SILENCE_S + limits.LIBRARY_RETRY_S + 1)
        assert owner.asked == 2
        await trio.sleep(600)
        assert owner.asked < 12
        owner.silent = False
        await trio.sleep(limits.REQUEST_SILENCE_S + limits.LIBRARY_RETRY_MAX_S + 1)
        assert [found.position for found in applied] == [owner.current.position]


async def test_silence_before_the_second_page_counts_by_itself(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patience is with each page: a long answer may take long."""
    monkeypatch.setattr(limits, "PAGE_BYTES", 1)
    owner = Owner(library(5, *(f"game {number}" for number in range(10))))
    slow = owner.answer_of

    async def answer_of(*kinds: type[m.Message]) -> m.Message:
        await trio.sleep(limits.REQUEST_SILENCE_S - 1)
        owner.silent = owner.pages_asked == most
        return await slow(*kinds)

    monkeypatch.setattr(owner, "answer_of", answer_of)
    most = 100
    found = await fetch_library(owner.as_session())
    assert isinstance(found, RemoteLibrary)
    assert len(found.games) == 10
    owner.pages_asked, most = 0, 4
    with trio.fail_after(6 * limits.REQUEST_SILENCE_S):
        assert await fetch_library(owner.as_session()) is None


def refused() -> Iterator[m.Message]:
    raise RequestRefused(m.ERROR_BUSY, "")


async def test_a_busy_peer_is_asked_again(autojump_clock: MockClock) -> None:
    owner = Owner(library(5, "quake"))

    answers, owner.pages = owner.pages, refused
    async with following(owner) as (follower, applied):
        follower.announce(owner.current.position)
        await trio.sleep(1)
        owner.pages = answers
        await trio.sleep(limits.LIBRARY_RETRY_S)
        assert len(applied) == 1


async def test_announcements_that_never_come_true_cost_ever_less(
    autojump_clock: MockClock,
) -> None:
    owner = Owner(library(5, "quake"))
    async with following(owner) as (follower, _):
        for number in range(6_000):
            follower.announce(Position(EPOCH, 6 + number, b"\1" * 32))
            await trio.sleep(0.1)
        assert 10 < owner.asked < 30
        # It is not held against one that then tells the truth for longer than that.
        owner.current = library(7_000, "doom")
        follower.announce(owner.current.position)
        await trio.sleep(limits.LIBRARY_RETRY_MAX_S + 1)
        asked = owner.asked
        owner.current = library(7_001, "hexen")
        follower.announce(owner.current.position)
        await trio.sleep(1)
        assert owner.asked == asked + 1
        follower.announce(Position(EPOCH, 7_002, b"\1" * 32))
        await trio.sleep(1)
        assert owner.asked > asked + 3


async def test_an_honest_owner_that_changes_all_the_time_is_followed_closely(
    autojump_clock: MockClock,
) -> None:
    """What is fetched may be newer than what was announced: that is not in vain."""
    owner = Owner(library(1, "quake"))
    async with following(owner) as (follower, applied):
        for rev in range(2, 200):
            owner.current = library(rev, f"game {rev}")
            follower.announce(owner.current.position)
            await trio.sleep(0.007)
        await trio.sleep(1)
        assert len(applied) > 5
        assert applied[-1].position == owner.current.position


# -- deltas ---------------------------------------------------------------------------------------


def renamed(owner: Owner, *ids: str) -> m.LibraryDelta:
    """Have the owner's library hold these games; what it announces then."""
    before = owner.current
    owner.current, _ = before.refresh(map(summary, ids))
    found = owner.current.delta_since(PEER, before.rev)
    assert found is not None
    return found


async def test_the_first_delta_after_a_quiet_time_is_applied_at_once(
    autojump_clock: MockClock,
) -> None:
    owner = Owner(library(5, *(f"game {number}" for number in range(1_000))))
    async with following(owner, owner.current) as (follower, applied):
        for step in range(3):
            await trio.sleep(5)
            follower.delta(renamed(owner, f"new {step}"))
            began = trio.current_time()
            while len(applied) <= step:
                await trio.lowlevel.checkpoint()
                assert trio.current_time() == began
        assert applied[-1].position == owner.current.position
    assert owner.asked == 0


async def test_a_flood_of_deltas_is_judged_in_batches(autojump_clock: MockClock) -> None:
    """One a millisecond costs ten digests a second at most, and none is missed in the end."""
    owner = Owner(library(5, *(f"game {number}" for number in range(100))))
    async with following(owner, owner.current) as (follower, applied):
        for step in range(2_000):
            follower.delta(renamed(owner, f"new {step}"))
            await trio.sleep(0.001)
        assert 10 <= len(applied) <= 21
        await trio.sleep(1)
        assert applied[-1].position == owner.current.position
        # 64 of a hundred are held: where the chain breaks, what changed is asked for.
        assert owner.asked <= 21


async def test_positions_of_the_same_content_are_taken_over_ten_times_a_second(
    autojump_clock: MockClock,
) -> None:
    owner = Owner(library(5, "quake"))
    async with following(owner, owner.current) as (follower, applied):
        for rev in range(6, 2_006):
            follower.announce(attrs.evolve(owner.current.position, rev=rev))
            await trio.sleep(0.001)
        assert 10 <= len(applied) <= 21
        await trio.sleep(1)
        assert applied[-1].position.rev == 2_005
    assert owner.asked == 0


async def test_what_a_delta_costs_is_rested_from(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deltas that never fit, as large as they may be: ten times what they cost is slept."""
    owner = Owner(library(5))
    large = renamed(owner, *(f"game {number}" for number in range(3_000)))
    change, times = decoded(attrs.evolve(large, library_digest=bytes(32))), 0

    async def decode(delta: m.LibraryDelta) -> Change:
        nonlocal times
        times += 1
        return change

    monkeypatch.setattr(lanspread.sync.follower, "decode_delta", decode)
    async with following(owner, library(5)) as (follower, applied):
        for _ in range(3_000):
            # Each leads on from the view, none to its digest; then nothing is said to have changed.
            follower.delta(large)
            follower.announce(library(5).position)
            await trio.sleep(0.01)
        assert not applied
    # Of 3,000 games each: 1.5 s of rest, over 30 s.
    assert 19 <= times <= 21
    assert owner.asked == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: attrs.evolve(d, added=d.added * 2), "a delta that names a game twice"),
        (lambda d: attrs.evolve(d, updated=d.added), "a delta that names a game twice"),
        (lambda d: attrs.evolve(d, removed=("doom",)), "a delta that names a game twice"),
        (lambda d: attrs.evolve(d, added=(b"\x80",)), "expected a map"),
        (lambda d: attrs.evolve(d, added=(bytes(4_097),)), "a summary that is too large"),
    ],
)
async def test_a_delta_that_no_library_can_have_led_to(
    autojump_clock: MockClock,
    change: Callable[[m.LibraryDelta], m.LibraryDelta],
    why: str,
) -> None:
    owner = Owner(library(5, "quake"))
    follower = Follower(
        owner.as_session(), lambda: remote(library(5, "quake")), lambda _: None, Budget(limits.MIB)
    )
    follower.delta(change(renamed(owner, "quake", "doom")))
    with pytest.raises(PeerMisbehaved, match=why):
        await follower.run()
    assert why in owner.closed


@pytest.mark.parametrize(
    "fields", [{"from_rev": 4}, {"library_epoch": b"x" * 16}, {"to_rev": 4}, {"to_rev": 5}]
)
async def test_an_answer_from_another_position(
    autojump_clock: MockClock, fields: dict[str, Any]
) -> None:
    owner = Owner(library(5, "quake"))
    since = owner.current.position
    answer = attrs.evolve(renamed(owner, "quake", "doom"), **fields)
    owner.pages = lambda: iter([answer])
    with pytest.raises(PeerMisbehaved, match="a delta"):
        await fetch_library(owner.as_session(), since)
    assert owner.closed


async def test_a_delta_to_who_asked_for_everything(autojump_clock: MockClock) -> None:
    owner = Owner(library(5, "quake"))
    answer = renamed(owner, "doom")
    owner.pages = lambda: iter([answer])
    with pytest.raises(PeerMisbehaved, match="answered with LibraryDelta"):
        await fetch_library(owner.as_session())


async def test_an_answer_that_does_not_fit_is_followed_by_everything(
    autojump_clock: MockClock,
) -> None:
    """The regrown state: the same revision here and there, with other content."""
    owner = Owner(library(5, "doom"))
    async with following(owner, library(5, "quake")) as (follower, applied):
        renamed(owner, "doom", "hexen")
        follower.announce(owner.current.position)
        await trio.sleep(1)
        assert owner.asked == 2
        assert owner.since is None
        assert [found.position for found in applied] == [owner.current.position]
        assert set(applied[-1].games) == {"doom", "hexen"}


# -- answers that contradict themselves -----------------------------------------------------------


def endless(owner: Owner, count: int) -> Iterator[m.Message]:
    """Pages of one new game each, of a library that says to have `count`."""
    number = 0
    while True:
        made = library(5, f"game {number}")
        (page,) = made.snapshot_pages(PEER)
        assert isinstance(page, m.LibrarySnapshot)
        yield attrs.evolve(
            page, page=number, more=True, game_count=count, library_digest=b"\1" * 32
        )
        number += 1


@pytest.mark.parametrize("count", [0, 1, 10])
async def test_no_more_is_taken_than_was_announced(autojump_clock: MockClock, count: int) -> None:
    owner = Owner(library(5))
    owner.pages = lambda: endless(owner, count)
    with pytest.raises(PeerMisbehaved, match="too many games"):
        await fetch_library(owner.as_session())
    assert owner.pages_asked == count + 1


async def test_fewer_games_than_announced(autojump_clock: MockClock) -> None:
    owner = Owner(library(5, "quake"))
    owner.pages = lambda: (
        attrs.evolve(cast(m.LibrarySnapshot, page), game_count=2)
        for page in owner.current.snapshot_pages(PEER)
    )
    with pytest.raises(PeerMisbehaved, match="fewer games"):
        await fetch_library(owner.as_session())


async def test_others_have_their_turn_while_a_page_is_decoded(autojump_clock: MockClock) -> None:
    owner = Owner(library(5, *(f"game {number}" for number in range(3_000))))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        # The answer takes no virtual time here, so that turns are counted and not waited for.
        owner.answer_of = _at_once(owner)  # type: ignore[method-assign]
        nursery.start_soon(others)
        found = await fetch_library(owner.as_session())
        nursery.cancel_scope.cancel()
    assert isinstance(found, RemoteLibrary)
    assert len(found.games) == 3_000
    assert turns > 3_000 / 300


def _at_once(owner: Owner) -> Any:
    async def answer_of(*kinds: type[m.Message]) -> m.Message:
        await trio.lowlevel.checkpoint()
        return next(owner._answers)

    return answer_of
