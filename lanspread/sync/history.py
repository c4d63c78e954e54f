"""Which games changed in which of our recent revisions. Pure, and bounded by the number of ids.

Kept in memory alone: a revision of before the start is not held.
Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from lanspread import limits


@attrs.frozen
class _Step:
    """What changed from the revision before to `rev`: (id, whether it was there before)."""

    rev: int
    ids: tuple[tuple[str, bool], ...]


@attrs.frozen
class History:
    """The steps from `oldest`, the oldest revision that is held, to the current one."""

    oldest: int
    _steps: tuple[_Step, ...] = ()
    _count: int = 0

    def then(self, rev: int, ids: Iterable[tuple[str, bool]]) -> History:
        """With one more step; the oldest are given up as it grows."""
        step = _Step(rev, tuple(ids))
        steps, oldest = (*self._steps, step), self.oldest
        count = self._count + _cost(step)
        dropped = 0
        while count > limits.MAX_HISTORY_IDS:
            oldest = steps[dropped].rev
            count -= _cost(steps[dropped])
            dropped += 1
        return History(oldest, steps[dropped:], count)

    def since(self, rev: int) -> dict[str, bool] | None:
        """Each id that changed after `rev`, and whether it was there at `rev`; None if not held."""
        if rev < self.oldest or rev > (self._steps[-1].rev if self._steps else self.oldest):
            return None
        found: dict[str, bool] = {}
        for step in reversed(self._steps):
            if step.rev <= rev:
                break
            # Going back: what it was before the earliest of the steps counts.
            found.update(step.ids)
        return found


def _cost(step: _Step) -> int:
    # A step takes memory of its own, even one of a single id.
    return 1 + len(step.ids)
