"""How late the loop is: percentiles of the last minute, measured by sleeping."""

from __future__ import annotations

import math

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from lanspread import limits
from lanspread.looplag import LagRecord, measure_lag

KEPT = round(limits.LAG_KEPT_S / limits.LAG_INTERVAL_S)


def test_nothing_is_said_before_anything_was_measured() -> None:
    assert LagRecord().view() is None


@given(st.lists(st.floats(-1, 100), min_size=1, max_size=2 * KEPT))
def test_percentiles_are_of_what_was_measured_last(lags: list[float]) -> None:
    record = LagRecord()
    for lag in lags:
        record.add(lag)
    view = record.view()
    assert view is not None
    last = [max(0.0, lag) for lag in lags[-KEPT:]]
    assert view.max_s == max(last)
    for value, share in ((view.p50_s, 0.5), (view.p99_s, 0.99)):
        assert value in last
        assert sum(lag <= value for lag in last) >= share * len(last)
        assert sum(lag < value for lag in last) < math.ceil(share * len(last))


async def test_a_loop_that_is_held_up_is_seen(mock_clock: MockClock) -> None:
    """The clock jumps over a wake-up, as it does while something keeps the loop busy."""
    record = LagRecord()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure_lag, record)
        for step in (0.1, 0.1, 0.4):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(step)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    view = record.view()
    assert view is not None
    assert view.p50_s < 0.001
    assert abs(view.max_s - 0.3) < 0.001
