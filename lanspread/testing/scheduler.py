"""trio's scheduler from a seed.

trio shuffles the tasks that are ready at once, so that nobody relies on an order. Where the same
seed has to give the same run, the shuffle has to come from the seed as well. trio has no public
switch for that; hypothesis and pytest-trio use the same two private names. Both are asked for by
name, so a trio without them fails loudly instead of giving runs that cannot be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trio._core import _run


class SchedulerChanged(RuntimeError):
    """trio no longer has the private names that this module builds on."""


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """Shuffle ready tasks from `seed` until the block is left; then as before."""
    if not (hasattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING") and hasattr(_run, "_r")):
        raise SchedulerChanged("this trio cannot be seeded: virtual runs would not repeat")
    allowed, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    _run._r.seed(seed)
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]
        _run._r.setstate(state)
