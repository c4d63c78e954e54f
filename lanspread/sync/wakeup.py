"""What happens to the machine itself: it sleeps, and its addresses change.

Either may have cut every session without a word, so whoever hears of it asks all peers at once.
The decisions are `SuspendDetector` and `lanspread.transport.listen.Reachable`; the tasks are
started by `open_peer`. Source: docs/protocol.md, "Liveness".
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.seams import Network, SuspendClock
from lanspread.transport.listen import Reachable

_log = structlog.get_logger(__name__)


@attrs.define
class SuspendDetector:
    """Notices that the machine slept, from two clocks: trio's, and one that counts sleep.

    On Linux trio's clock stands still meanwhile. Elsewhere it may go on: then nobody looked for
    much longer than `limits.SUSPEND_CHECK_S`, which is as bad for the sessions whatever the cause.
    """

    now: float
    awake: float

    def look(self, now: float, awake: float) -> float:
        """For how long the machine slept since the last look that trio's clock did not count, and
        at least something if the look is very late; 0.0 if nothing happened.

        `awake` is the clock that counts sleep; one that stands or goes back says nothing.
        """
        passed, passed_awake = now - self.now, awake - self.awake
        self.now, self.awake = now, awake
        slept_s = passed_awake - passed
        if slept_s > limits.SUSPEND_JUMP_S:
            return slept_s
        late_s = passed - limits.SUSPEND_CHECK_S
        return late_s if late_s > limits.SUSPEND_JUMP_S else 0.0


async def watch_sleep(clock: SuspendClock, on_wake: Callable[[float], None]) -> None:
    """Call `on_wake` with the seconds slept whenever the machine woke up, until cancelled."""
    detector = SuspendDetector(trio.current_time(), clock.now())
    while True:
        await trio.sleep(limits.SUSPEND_CHECK_S)
        slept_s = detector.look(trio.current_time(), clock.now())
        if slept_s > 0.0:
            _log.info("the machine slept", seconds=round(slept_s))
            on_wake(slept_s)


async def watch_addresses(
    network: Network, reachable: Reachable, on_change: Callable[[], None]
) -> None:
    """Call `on_change` whenever this peer became reachable elsewhere, until cancelled."""
    while True:
        await trio.sleep(limits.ADDRESS_CHECK_S)
        try:
            local = await network.local_addresses()
        except OSError as error:
            _log.warning("the machine's addresses cannot be read", why=str(error))
            continue
        if reachable.look(local):
            _log.info("the machine's addresses changed", listen=reachable.texts)
            on_change()
