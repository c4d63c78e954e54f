"""The one-connection rule: both sides keep the same connection, and one side closes the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.sync.arbiter import Link, Verdict, judge

SMALL, LARGE = "1" * 8, "2" * 8


def test_the_first_connection_is_used() -> None:
    assert judge(None, Link(b"a", SMALL, 1.0), SMALL, LARGE) is Verdict.USE_NEW


def test_a_new_instance_replaces_the_old_at_once() -> None:
    old, new = Link(b"a", SMALL, 1.0), Link(b"b", LARGE, 1.1)
    assert judge(old, new, SMALL, LARGE) is Verdict.USE_NEW
    assert judge(old, new, LARGE, SMALL) is Verdict.USE_NEW


def test_long_after_the_old_one_a_new_connection_means_that_the_other_side_lost_it() -> None:
    later = 1.0 + limits.CROSSED_DIAL_S + 0.1
    for dialer in (SMALL, LARGE):
        old, new = Link(b"a", SMALL, 1.0), Link(b"a", dialer, later)
        assert judge(old, new, SMALL, LARGE) is Verdict.USE_NEW
        assert judge(old, new, LARGE, SMALL) is Verdict.USE_NEW


@given(st.booleans(), st.booleans())
def test_of_a_crossed_dial_both_sides_keep_the_same_one_and_one_side_closes(
    small_saw_own_first: bool, large_saw_own_first: bool
) -> None:
    closed: list[str] = []
    kept = {}
    for us, them, own_first in (
        (SMALL, LARGE, small_saw_own_first),
        (LARGE, SMALL, large_saw_own_first),
    ):
        ours, theirs = Link(b"i", us, 1.0), Link(b"i", them, 1.05)
        old, new = (ours, theirs) if own_first else (theirs, ours)
        verdict = judge(old, new, us, them)
        used_new = verdict in (Verdict.USE_NEW, Verdict.SWITCH)
        kept[us] = (new if used_new else old).dialed_by
        if verdict in (Verdict.USE_NEW, Verdict.KEEP_OLD):
            closed.append(us)
    assert kept == {SMALL: SMALL, LARGE: SMALL}
    assert closed == [SMALL]
