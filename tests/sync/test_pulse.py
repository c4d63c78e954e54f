"""When a session is pinged, doubted and given up."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.sync.pulse import Pulse

PING, ANSWER, STALE = limits.IDLE_PING_S, limits.PING_ANSWER_S, limits.STALE_TIMEOUT_S


def run(pulse: Pulse, start: float, heard: float, until: float) -> list[tuple[float, str]]:
    """Look whenever it is due, nothing being heard after `heard`."""
    seen: list[tuple[float, str]] = []
    now, suspect = start, False
    while now <= until:
        due = pulse.look(now, heard, waiting=False)
        if due.over:
            return [*seen, (now, "over")]
        if due.ping:
            seen.append((now, "ping"))
        if pulse.is_suspect(now, heard) and not suspect:
            suspect = True
            seen.append((now, "suspect"))
        assert due.look_at > now
        now = due.look_at
    return seen


def test_silence_is_asked_about_then_doubted_then_the_end() -> None:
    assert run(Pulse(0.0, is_dialer=True), 0.0, 0.0, 100.0) == [
        (PING, "ping"),
        (PING + ANSWER, "suspect"),
        (2 * PING, "ping"),
        (STALE, "over"),
    ]


def test_the_listener_lets_the_dialer_ask() -> None:
    first = run(Pulse(0.0, is_dialer=False), 0.0, 0.0, 20.0)[0]
    assert first == (PING + limits.PING_YIELD_S, "ping")
    # Not where answers are waited for: those are ours alone.
    assert Pulse(0.0, is_dialer=False).look(limits.WAITING_PING_S, 0.0, waiting=True).ping


def test_asked_it_pings_at_once_but_not_again_and_again() -> None:
    pulse = Pulse(0.0, is_dialer=True)
    pulse.ask()
    assert pulse.look(5.0, 5.0, waiting=False).ping
    pulse.ask()
    due = pulse.look(5.1, 5.0, waiting=False)
    assert not due.ping
    assert due.look_at == 5.0 + limits.PING_GAP_S
    assert pulse.look(due.look_at, 5.0, waiting=False).ping


def test_any_packet_ends_the_doubt() -> None:
    pulse = Pulse(0.0, is_dialer=True)
    pulse.ask()
    pulse.look(1.0, 0.0, waiting=False)
    assert pulse.is_suspect(1.0 + ANSWER, 0.0)
    assert not pulse.is_suspect(1.0 + ANSWER, 3.9)
    assert not pulse.look(1.0 + ANSWER, 3.9, waiting=False).over
    assert not pulse.is_suspect(1.0 + ANSWER, 3.9)


def test_after_a_long_sleep_a_mute_session_ends_after_a_grace() -> None:
    pulse = Pulse(0.0, is_dialer=True)
    # A packet that had waited in the socket proves nothing.
    pulse.look(7.0, 7.0, waiting=False)
    pulse.woke(7.0, 3_600.0)
    assert run(pulse, 7.0, 7.0, 100.0) == [
        (7.0, "ping"),
        (7.0 + ANSWER, "suspect"),
        (7.0 + limits.WAKE_GRACE_S, "over"),
    ]


def test_after_a_short_sleep_the_stale_timeout_counts_the_sleep() -> None:
    pulse = Pulse(0.0, is_dialer=True)
    pulse.look(1.0, 1.0, waiting=False)
    pulse.woke(1.0, 20.0)
    assert run(pulse, 1.0, 1.0, 100.0)[-1] == (1.0 + STALE - 20.0, "over")


def test_a_sleep_is_forgotten_once_something_is_heard() -> None:
    pulse = Pulse(0.0, is_dialer=True)
    pulse.woke(0.0, 3_600.0)
    pulse.look(0.0, 0.0, waiting=False)
    assert run(pulse, 0.1, 0.1, 100.0)[-1] == (0.1 + STALE, "over")


def test_whoever_did_not_run_for_a_while_asks_before_it_gives_up() -> None:
    pulse = Pulse(0.0, is_dialer=True)
    due = pulse.look(500.0, 0.0, waiting=False)
    assert (due.ping, due.over) == (True, False)
    assert pulse.look(500.0 + ANSWER, 0.0, waiting=False).over


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 30.0),
            st.sampled_from(["nothing", "heard", "ask", "woke"]),
            st.booleans(),
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_whatever_happens(steps: list[tuple[float, str, bool]], is_dialer: bool) -> None:
    pulse, now, heard, pinged, woken = Pulse(0.0, is_dialer), 0.0, 0.0, -math.inf, False
    for passed, what, waiting in steps:
        now += passed
        if what == "heard":
            heard, woken = now, False
        elif what == "ask":
            pulse.ask()
        elif what == "woke":
            pulse.woke(now, 100.0)
            woken = True
        due = pulse.look(now, heard, waiting=waiting)
        assert due.look_at > now or due.over
        if due.ping:
            assert now - pinged >= limits.PING_GAP_S or what == "woke"
            pinged = now
        if due.over:
            # Never without silence, and never without a ping that had its time.
            assert now - heard >= (ANSWER if woken else STALE)
            assert now - pinged >= 0.0
            return
        # It never looks away for longer than a ping's pause, nor past the end.
        assert due.look_at <= max(heard, pinged) + PING + limits.PING_YIELD_S
