"""Whether the other side of a session is still there: when to ask, when to doubt, when to give up.

Pure: it is told what was heard and when, and says what is due. Three steps, each later than the one
before: a **ping** after silence, or at once where something happened that may have cut the path; a
session whose ping found no answer is **suspect**: it stays, and a new connection is tried beside
it; a session of which nothing was heard for `limits.STALE_TIMEOUT_S` is **over**.
Source: docs/protocol.md, "Liveness".
"""

from __future__ import annotations

import math

import attrs

from lanspread import limits


@attrs.frozen
class Due:
    """What to do now, and when to look again at the latest (trio time)."""

    ping: bool
    over: bool
    look_at: float


@attrs.define
class Pulse:
    """The signs of life of one session; `heard` is when the last packet came.

    The listener lets the dialer go first: a ping and its answer are signs of life for both.
    """

    heard: float
    is_dialer: bool
    _pinged: float = -math.inf
    # The first ping since the other side was heard.
    _unanswered: float | None = None
    _asked: bool = False
    # How long the machine slept since the other side was heard, which trio's clock did not count.
    _slept_s: float = 0.0
    _woke_at: float = -math.inf

    def ask(self) -> None:
        """Something happened that may have cut the path: ping with the next `look`."""
        self._asked = True

    def woke(self, now: float, slept_s: float) -> None:
        """The machine slept: time passed for the other side. Ping with the next `look`."""
        self._slept_s += slept_s
        self._woke_at = now
        # A ping from before the sleep may have been lost with it, and proves nothing.
        self._unanswered, self._pinged, self._asked = None, -math.inf, True

    def is_suspect(self, now: float, heard: float) -> bool:
        """Whether a ping found no answer in time."""
        if self._unanswered is None or heard > self.heard:
            return False
        return now >= self._unanswered + limits.PING_ANSWER_S

    def look(self, now: float, heard: float, *, waiting: bool) -> Due:
        """What is due. `waiting` says that answers are waited for; a due ping counts as sent."""
        if heard > self.heard:
            self.heard, self._unanswered, self._slept_s = heard, None, 0.0
        ping = now >= self._ping_at(waiting)
        if ping:
            self._pinged, self._asked = now, False
            if self._unanswered is None:
                self._unanswered = now
        over_at = self._over_at()
        look_at = min(self._ping_at(waiting), over_at)
        if self._unanswered is not None and now < self._unanswered + limits.PING_ANSWER_S:
            look_at = min(look_at, self._unanswered + limits.PING_ANSWER_S)
        return Due(ping=ping, over=now >= over_at, look_at=look_at)

    def _ping_at(self, waiting: bool) -> float:
        if self._asked:
            return self._pinged + limits.PING_GAP_S
        pause = limits.WAITING_PING_S if waiting else limits.IDLE_PING_S
        if not self.is_dialer and not waiting:
            pause += limits.PING_YIELD_S
        return max(self.heard, self._pinged) + pause

    def _over_at(self) -> float:
        """Never without a ping that had its time: the silence may have been ours."""
        if self._unanswered is None:
            return math.inf
        silent_at = self.heard + limits.STALE_TIMEOUT_S - self._slept_s
        return max(
            silent_at,
            self._unanswered + limits.PING_ANSWER_S,
            self._woke_at + limits.WAKE_GRACE_S if self._slept_s else -math.inf,
        )
