"""How slow this machine is just now, so that bounds in seconds mean the same on a busy one.

A bound is given for an idle machine like the one that the numbers in the tests were measured on.
Where others take the processor, or it is slower, everything takes longer by the same factor, a
fixed amount of work too: that is measured here, right when the bound is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_LOOPS: Final = 500_000
# What the loops take on the idle machine, in seconds.
_IDLE_S: Final = 0.05
_TRIES: Final = 5


def slowness(clock: Callable[[], float] = time.perf_counter) -> float:
    """How much longer work takes here and now, by this clock; at least 1."""
    worst = 0.0
    for _ in range(_TRIES):
        began = clock()
        total = 0
        for number in range(_LOOPS):
            total += number * number % 7
        worst = max(worst, clock() - began)
    return max(1.0, worst / _IDLE_S)


def at_most(seconds: float) -> float:
    """A bound in seconds of an idle machine, as it is here and now."""
    return seconds * slowness()
