"""Our library as it is published: revisions, what changed since one, pages, and who was told."""

from __future__ import annotations

from typing import cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.model import Availability, GameSummary
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.delta import Diff, apply_change, diff
from lanspread.sync.history import History
from lanspread.sync.library import PublishedLibrary, Told
from lanspread.sync.remote import Contradiction, Draft, changed_games, decode_game
from lanspread.transport import cbor
from tests.sync.support import EPOCH, PEER, decoded, library, remote, summary

# Some fold to one another, some cannot be a folder's name.
IDS = st.sampled_from(("Quake", "quake", "QUAKE", "straße", "STRASSE", "con", "..", "doom", "ünï"))
LIBRARIES = st.dictionaries(IDS, st.integers(0, 3)).map(
    lambda games: [summary(id, size) for id, size in games.items()]
)


def grown(before: PublishedLibrary, games: list[GameSummary]) -> PublishedLibrary:
    return before.refresh(games)[0]


def at(rev: int, games: list[GameSummary]) -> PublishedLibrary:
    return PublishedLibrary.empty(EPOCH, rev - 1).begun(games, None)[0]


# -- diff and apply -------------------------------------------------------------------------------


@given(LIBRARIES, LIBRARIES)
def test_apply_of_diff_is_the_other_library(a: list[GameSummary], b: list[GameSummary]) -> None:
    before = at(5, a)
    after = grown(before, b)
    delta = after.delta_since(PEER, 5)
    assert delta is not None
    view = remote(before)
    draft = Draft(view)
    apply_change(draft, decoded(delta))
    assert draft.digest() == after.digest
    found = draft.finish(after.position)
    assert found == remote(after)
    assert view == remote(before), "the view before was changed"
    everywhere = changed_games(view, found)
    assert changed_games(view, found, draft.touched) == everywhere
    assert set(everywhere) <= {game.id for game in (*a, *b)}


@given(LIBRARIES)
def test_diff_with_itself_is_empty(games: list[GameSummary]) -> None:
    encoded = at(5, games).encoded
    assert not diff(encoded, encoded)
    assert grown(at(5, games), games).rev == 5


@given(st.lists(LIBRARIES, min_size=1, max_size=6))
def test_folded_steps_are_the_diff_of_their_ends(steps: list[list[GameSummary]]) -> None:
    """From every revision that is held: nothing is added that was there, and so on."""
    revisions = [at(5, steps[0])]
    for games in steps[1:]:
        revisions.append(grown(revisions[-1], games))
    last = revisions[-1]
    for earlier in revisions:
        delta = last.delta_since(PEER, earlier.rev)
        assert delta is not None
        expected = diff(earlier.encoded, last.encoded)
        assert set(delta.added) == set(expected.added)
        assert set(delta.updated) >= set(expected.updated)
        assert set(delta.removed) == set(expected.removed)
        draft = Draft(remote(earlier))
        apply_change(draft, decoded(delta))
        assert draft.digest() == last.digest


def test_what_a_newer_peer_adds_to_a_summary_counts() -> None:
    """Fields that we do not know are hashed as they came."""
    plain = codec.encode_summary(summary("quake"))
    value = cast(dict[str, object], codec._decode(plain))
    newer = cbor.encode(value | {"colour": "brown"})
    draft = Draft(remote(library(5, "doom")))
    draft.add(decode_game(newer))
    draft.remove("doom")
    assert draft.digest() == codec.library_digest({"quake": codec.summary_hash(newer)})
    assert draft.digest() != codec.library_digest({"quake": codec.summary_hash(plain)})


@pytest.mark.parametrize("what", ["add", "update", "remove", "too many"])
def test_what_does_not_fit_a_library(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(limits, "MAX_GAMES_PER_PEER", 2)
    draft = Draft(remote(library(5, "quake", "doom")))
    known = decode_game(codec.encode_summary(summary("quake")))
    other = decode_game(codec.encode_summary(summary("hexen")))
    with pytest.raises(Contradiction):
        match what:
            case "add":
                draft.add(known)
            case "update":
                draft.update(other)
            case "remove":
                draft.remove("hexen")
            case _:
                draft.add(other)


def test_a_full_library_exchanges_a_game_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_GAMES_PER_PEER", 2)
    before = library(5, "quake", "doom")
    after = grown(before, [summary("quake"), summary("hexen")])
    delta = after.delta_since(PEER, 5)
    assert delta is not None
    draft = Draft(remote(before))
    apply_change(draft, decoded(delta))
    assert draft.digest() == after.digest


# -- history --------------------------------------------------------------------------------------


def test_history_is_bounded_by_ids_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HISTORY_IDS", 20)
    history = History(0)
    for rev in range(1, 101):
        history = history.then(rev, [(f"game {rev}", False)])
    assert history.since(100) == {}
    assert history.since(90) == {f"game {rev}": False for rev in range(91, 101)}
    assert history.since(89) is None
    assert history.since(101) is None
    # One change that is larger than all there is room for leaves nothing but where it led.
    history = history.then(101, [(f"other {number}", True) for number in range(50)])
    assert (history.since(100), history.since(101)) == (None, {})


def test_a_delta_that_is_too_large_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 1_000)
    before = library(5, "quake")
    after = grown(before, [summary(f"game {number}") for number in range(100)])
    assert after.delta_since(PEER, 5) is None
    assert after.delta_since(PEER, 6) is not None
    assert Diff((), (), tuple("x" for _ in range(limits.MAX_CBOR_ITEMS))).fits is False


def test_the_largest_delta_fits_a_message() -> None:
    """As many ids as items allow, and summaries up to the bytes that a page may have."""
    gone = at(5, [summary(f"{number:05}") for number in range(19_900)])
    after = grown(gone, [])
    delta = after.delta_since(PEER, 5)
    assert delta is not None
    assert len(codec.encode(delta)) <= limits.MAX_MESSAGE_BYTES
    assert codec.decode(codec.encode(delta)) == delta
    before, most = at(5, []), None
    for count in range(2_000, 4_000, 100):
        games = [attrs.evolve(summary(f"{n:05}"), name="n" * 128) for n in range(count)]
        found = grown(before, games).delta_since(PEER, 5)
        if found is None:
            break
        most = found
    assert most is not None
    data = codec.encode(most)
    assert limits.PAGE_BYTES * 0.9 < len(data) <= limits.MAX_MESSAGE_BYTES
    assert codec.decode(data) == most


# -- a start --------------------------------------------------------------------------------------


def test_an_unchanged_library_keeps_its_revision_over_a_start() -> None:
    before = library(5, "quake", "doom")
    saved = PublishedLibrary.empty(EPOCH, 5)
    again, changed = saved.begun([summary("doom"), summary("quake")], before.digest)
    assert again.position == before.position
    assert changed == ("doom", "quake")
    assert again.delta_since(PEER, 4) is None
    assert grown(again, []).rev == 6


@pytest.mark.parametrize("digest", [None, bytes(32), library(5, "doom").digest])
def test_any_other_digest_raises_it(digest: bytes | None) -> None:
    for ids in (("quake",), ()):
        begun, _ = PublishedLibrary.empty(EPOCH, 5).begun(map(summary, ids), digest)
        assert begun.rev == 6
        assert begun.delta_since(PEER, 5) is None, "what revision 5 held is not known"


# -- who was told ---------------------------------------------------------------------------------


def test_a_session_hears_a_summary_first_and_then_what_it_lacks() -> None:
    told, ours = Told(PEER), library(5, "quake")
    assert told.announcement(ours) == ours.summary(PEER)
    assert told.announcement(ours) is None
    ours = grown(ours, [summary("quake"), summary("doom")])
    ours = grown(ours, [summary("doom", 2)])
    delta = told.announcement(ours)
    assert isinstance(delta, m.LibraryDelta)
    assert (delta.from_rev, delta.to_rev, delta.removed) == (5, 7, ("quake",))
    assert delta.added == (ours.encoded["doom"],)


def test_an_answer_moves_the_base_and_is_announced_all_the_same() -> None:
    """It may have been lost; the next delta starts from it."""
    told, ours = Told(PEER), library(5, "quake")
    told.announcement(ours)
    ours = grown(ours, [])
    answer = told.answer(ours, m.LibraryPosition(epoch=EPOCH, rev=5))
    assert answer is not None
    assert answer.removed == ("quake",)
    assert told.announcement(ours) == ours.summary(PEER)
    ours = grown(ours, [summary("doom")])
    delta = told.announcement(ours)
    assert isinstance(delta, m.LibraryDelta)
    assert delta.from_rev == 6


def test_what_is_not_held_is_answered_and_announced_by_everything() -> None:
    told, ours = Told(PEER), library(5, "quake")
    told.announcement(ours)
    again, _ = PublishedLibrary.empty(EPOCH, 5).begun([summary("doom")], ours.digest)
    assert told.announcement(again) == again.summary(PEER)
    for since in (None, (EPOCH, 5), (EPOCH, 7), (b"x" * 16, 6)):
        position = m.LibraryPosition(epoch=since[0], rev=since[1]) if since else None
        assert told.answer(again, position) is None
    same = told.answer(again, m.LibraryPosition(epoch=EPOCH, rev=6))
    assert same is not None
    assert (same.added, same.updated, same.removed) == ((), (), ())
    assert (same.from_rev, same.to_rev, same.library_digest) == (6, 6, again.digest)


# -- in pages -------------------------------------------------------------------------------------


def test_pages_hold_everything_once_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 1_000)
    ours = library(5, *(f"game {number}" for number in range(100)))
    pages = [cast(m.LibrarySnapshot, page) for page in ours.snapshot_pages(PEER)]
    assert [page.page for page in pages] == list(range(len(pages)))
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
    assert [data for page in pages for data in page.games] == list(ours.encoded.values())
    assert all(sum(map(len, page.games)) <= 1_000 for page in pages)
    assert all(page.game_count == 100 for page in pages)


def test_an_empty_library_is_one_page() -> None:
    (page,) = PublishedLibrary.empty(EPOCH, 0).snapshot_pages(PEER)
    assert isinstance(page, m.LibrarySnapshot)
    assert (page.more, page.games, page.game_count) == (False, (), 0)
    (page,) = PublishedLibrary.empty(EPOCH, 0).offer_pages()
    assert not page.more


def test_what_cannot_be_fetched_is_not_offered() -> None:
    games = [
        summary("quake"),
        attrs.evolve(summary("doom"), availability=Availability.LOCAL_ONLY),
    ]
    (page,) = at(5, games).offer_pages()
    assert cast(m.GameList, page).games == (codec.encode_summary(games[0]),)
