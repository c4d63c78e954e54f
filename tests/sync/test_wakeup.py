"""Noticing that the machine slept."""

from __future__ import annotations

import pytest

from lanspread import limits
from lanspread.sync.wakeup import SuspendDetector

CHECK, JUMP = limits.SUSPEND_CHECK_S, limits.SUSPEND_JUMP_S


def looks(*times: tuple[float, float]) -> list[float]:
    """What a detector says of pairs of (trio's clock, the clock that counts sleep)."""
    detector = SuspendDetector(*times[0])
    return [detector.look(*pair) for pair in times[1:]]


def test_a_sleep_is_told_once_and_for_how_long() -> None:
    assert looks((0, 100), (5, 105), (10, 3_710), (15, 3_715)) == [0.0, 3_600.0, 0.0]


def test_two_sleeps_are_two() -> None:
    assert looks((0, 0), (5, 105), (10, 210)) == [100.0, 100.0]


@pytest.mark.parametrize("awake", [[5.0, 0.0, -500.0], [0.0, 0.0, 0.0], [5.0, 10.0, 15.0]])
def test_a_clock_that_goes_back_or_stands_says_nothing(awake: list[float]) -> None:
    times = [(CHECK * (number + 1), at) for number, at in enumerate(awake)]
    assert looks((0.0, 0.0), *times) == [0.0, 0.0, 0.0]


def test_small_differences_do_not_add_up() -> None:
    # A clock that is a tenth faster is no sleep, for however long.
    assert set(looks(*((5.0 * n, 5.5 * n) for n in range(1_000)))) == {0.0}


def test_a_difference_must_be_more_than_the_jump() -> None:
    assert looks((0, 0), (5, 5 + JUMP)) == [0.0]
    assert looks((0, 0), (5, 5 + JUMP + 0.1)) == [pytest.approx(JUMP + 0.1)]


def test_a_look_that_is_very_late_counts_too() -> None:
    """Where trio's clock goes on in a sleep, or the process was stopped."""
    assert looks((0, 0), (CHECK + JUMP, CHECK + JUMP)) == [0.0]
    assert looks((0, 0), (605, 605)) == [600.0]
