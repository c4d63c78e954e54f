"""A share of our time for each session, and no more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.sync.allowance import Allowance

costs = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=50)


@given(costs, st.lists(st.floats(0.0, 5.0), min_size=50, max_size=50))
def test_no_session_takes_more_than_its_share(work: list[float], pauses: list[float]) -> None:
    now = 0.0
    allowance = Allowance(now)
    for cost, pause in zip(work, pauses, strict=False):
        now += pause
        began, now = now, now + cost
        now += allowance.spend(began, now)
    allowed = limits.READING_SAVED_S + limits.READING_SHARE * now
    assert sum(work) <= allowed + 1e-6


def test_what_is_read_now_and_then_is_read_at_once() -> None:
    allowance = Allowance(0.0)
    for second in range(1, 100):
        assert allowance.spend(float(second), second + limits.READING_SHARE / 2) == 0.0


def test_a_quiet_hour_saves_no_more_than_the_bound() -> None:
    allowance = Allowance(0.0)
    assert allowance.spend(3_600.0, 3_600.0 + limits.READING_SAVED_S + 1.0) > 0.0
