"""Dialing again: soon at first, then rarely, sooner for a peer that a person named."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.sync.backoff import Backoff


def attempts(backoff: Backoff, seconds: float, seed: int = 1) -> list[float]:
    rng, now, found = random.Random(seed), 0.0, []
    while now < seconds:
        found.append(now)
        now = backoff.failed(now, rng)
    return found


@given(st.integers())
def test_a_dead_peer_costs_at_most_six_dials_an_hour_in_the_long_run(seed: int) -> None:
    dials = attempts(Backoff(), 5 * 3_600, seed)
    late = [at for at in dials if at > 2 * 3_600]
    assert len(late) <= 3 * 6
    assert all(b - a <= 1.25 * limits.DIAL_BACKOFF_MAX_S for a, b in itertools.pairwise(dials))


def test_something_new_begins_at_the_beginning() -> None:
    backoff, rng = Backoff(), random.Random(1)
    for _ in range(30):
        backoff.failed(0.0, rng)
    backoff.reset(100.0)
    assert backoff.failed(100.0, rng) - 100.0 <= 1.25 * limits.DIAL_BACKOFF_FIRST_S


def test_a_named_peer_that_worked_is_tried_every_two_seconds_for_a_while() -> None:
    backoff = Backoff(persistent=True)
    backoff.reset(0.0)
    dials = attempts(backoff, limits.DIAL_KNOWN_FOR_S)
    gaps = [b - a for a, b in itertools.pairwise(dials)]
    assert max(gaps) <= 1.25 * limits.DIAL_BACKOFF_KNOWN_MAX_S


def test_a_peer_that_was_connected_for_long_is_tried_every_minute_for_a_while() -> None:
    backoff, rng = Backoff(), random.Random(1)
    assert backoff.ended(limits.SESSION_PROVEN_S, 0.0, rng) == 0.0
    dials = attempts(backoff, 5 * 3_600)
    soon = [at for at in dials if at < limits.DIAL_MET_FOR_S]
    assert max(b - a for a, b in itertools.pairwise(soon)) <= 1.25 * limits.DIAL_MET_MAX_S
    assert len([at for at in dials if at > 2 * 3_600]) <= 3 * 6


def test_a_session_that_ends_at_once_earns_no_patience() -> None:
    backoff, rng, now = Backoff(), random.Random(1), 0.0
    for _ in range(12):
        now = backoff.ended(limits.SESSION_PROVEN_S / 2, now, rng)
    assert backoff.ended(0.0, now, rng) - now >= limits.DIAL_BACKOFF_MAX_S
