"""What is known of a source's speed, from the times of its answers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.transfer.estimates import Estimate

RATES = st.floats(1e3, 1e9)


def run(
    estimate: Estimate,
    rate: float,
    latency_s: float,
    lengths: list[int],
    depth: int,
    now: float = 0.0,
) -> float:
    """A source that sends one answer after the other at a rate, each `latency_s` late."""
    out: list[tuple[float, int, int, float]] = []
    free_at = now
    waiting = list(lengths)
    while waiting or out:
        while waiting and len(out) < depth:
            length = waiting.pop(0)
            # The source begins when the request is there, or when the one before is sent.
            free_at = max(free_at, now + latency_s) + length / rate
            out.append((now, length, estimate.out_bytes, free_at))
            estimate.ask(now, length)
        asked_at, length, ahead, now = out.pop(0)
        estimate.answer(now, length, asked_at, ahead)
    return now


@given(RATES, st.lists(st.integers(10_000, 4_000_000), min_size=1, max_size=30), st.integers(1, 8))
def test_a_steady_source_is_known_for_what_it_is(
    rate: float, lengths: list[int], depth: int
) -> None:
    estimate = Estimate()
    assert estimate.rate(0.0) is None
    assert estimate.seconds_for(0.0, 1) == math.inf
    now = run(estimate, rate, 0.0, lengths, depth)
    assert estimate.rate(now) == pytest.approx(rate, rel=0.01)
    assert estimate.seconds_for(now, 1_000) == pytest.approx(1_000 / rate, rel=0.02, abs=1e-4)
    # A pause of our own making is no slowness of the source.
    assert estimate.rate(now + 1_000) == estimate.rate(now)
    assert (estimate.out, estimate.out_bytes) == (0, 0)


@given(RATES, RATES)
def test_a_change_is_believed_within_seconds(before: float, after: float) -> None:
    estimate = Estimate()
    now = run(estimate, before, 0.0, [int(before * 0.1)] * 50, 2)
    now = run(estimate, after, 0.0, [int(after * 0.1)] * 100, 2, now)
    assert estimate.rate(now) == pytest.approx(after, rel=0.05 + 0.1 * before / after)


def test_latency_is_told_from_throughput() -> None:
    estimate = Estimate()
    now = run(estimate, 1e6, 0.5, [1_000_000] * 40, 4)
    # Always one to send: the latency does not show in the rate.
    assert estimate.rate(now) == pytest.approx(1e6, rel=0.1)
    single = Estimate()
    now = run(single, 1e6, 0.5, [100_000] * 40, 1)
    assert single.rate(now) == pytest.approx(1e5 / 0.6, rel=0.05)


def test_what_does_not_come_makes_it_slower_with_every_moment() -> None:
    estimate = Estimate()
    now = run(estimate, 1e6, 0.0, [100_000] * 50, 2)
    estimate.ask(now, 100_000)
    rates = [estimate.rate(now + late) or 0.0 for late in (0.0, 0.1, 0.5, 2.0, 10.0)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-3)
    assert rates[1] > rates[2] > rates[3] > rates[4] > 0
    assert rates[4] < 0.3e6
    # It is given up: nothing more is known than before.
    estimate.give_up(100_000)
    assert estimate.rate(now + 10) == pytest.approx(1e6, rel=1e-3)
    assert (estimate.out, estimate.out_bytes) == (0, 0)
