"""When one game is walked, as a state machine: hints, requests, operations. Pure.

Whoever holds a gate walks when `begin` says so, tells it with `end`, and asks `begin` again. What
is promised, and tested with every sequence of calls:

- whatever was hinted or asked after the last walk began leads to another walk;
- a game is never walked twice at once;
- while an operation is active no walk begins by a hint; its end always leads to one.
"""

from __future__ import annotations

import attrs


@attrs.define
class Gate:
    """The gate of one game."""

    _walking: bool = False
    _asked: bool = False
    _hinted: bool = False
    _holds: int = 0

    @property
    def is_held(self) -> bool:
        """Whether an operation is changing the game."""
        return self._holds > 0

    @property
    def is_open(self) -> bool:
        """Whether a walk may begin now."""
        return not self._walking and (self._asked or (self._hinted and not self._holds))

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with the gate."""
        return not (self._walking or self._asked or self._hinted or self._holds)

    def hint(self) -> None:
        """The game may have changed. Dropped while an operation is active: its end is a hint."""
        if not self._holds:
            self._hinted = True

    def ask(self) -> None:
        """Somebody, the operation itself perhaps, wants to know how the game is now."""
        self._asked = True

    def hold(self) -> None:
        """An operation begins; they nest."""
        self._holds += 1
        self._hinted = False

    def release(self) -> None:
        """An operation ends; after the last one the game is walked."""
        self._holds -= 1
        if not self._holds:
            self._hinted = True

    def begin(self) -> bool:
        """Whether a walk begins now; it answers all that was hinted and asked so far."""
        if not self.is_open:
            return False
        self._walking = True
        self._asked = self._hinted = False
        return True

    def end(self) -> None:
        """The walk is over, done or not."""
        self._walking = False
