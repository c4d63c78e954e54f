"""Rates of sources: what is shown of a source is never more than it delivered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lanspread.transfer.operation import SourceRates

CHUNK = 8_000_000


def test_the_first_chunk_of_a_slow_source_is_no_burst() -> None:
    rates = SourceRates(100.0)
    # It came within one look, and was on its way for four seconds.
    assert rates.measure(103.5) == {}
    rates.add("slow", CHUNK)
    assert rates.measure(104.0) == {"slow": CHUNK / 4}


def test_one_that_joins_late_is_shown_as_it_is_from_the_second_look_on() -> None:
    rates = SourceRates(0.0)
    rates.add("late", CHUNK)
    assert rates.measure(60.0)["late"] == CHUNK / 60
    rates.add("late", CHUNK)
    assert rates.measure(60.5)["late"] == CHUNK / 0.5
    for look in range(12):
        quiet = rates.measure(61.0 + look / 2)
    assert quiet == {}


@given(st.floats(5e4, 1e9), st.floats(0, 60))
def test_what_is_first_shown_of_a_steady_source_is_not_too_much(rate: float, joins: float) -> None:
    """Chunks come whole, each when all of it would have arrived."""
    rates = SourceRates(0.0)
    chunks = 0
    for look in range(1, 500):
        now = look / 2
        while joins + (chunks + 1) * CHUNK / rate <= now:
            chunks += 1
            rates.add("steady", CHUNK)
        shown = rates.measure(now).get("steady")
        if shown is not None:
            assert shown <= rate * (1 + 1e-9)
            return
    raise AssertionError("it was never shown")
