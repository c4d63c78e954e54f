"""Two small tools for waiting: a wake-up for one task, and a guard against two."""

from __future__ import annotations

from types import TracebackType

import trio


class Wakeup:
    """One task waits, anyone wakes it. Waking before the wait is remembered, waking twice is once.

    Unlike `trio.Event` it can be used again and again without being replaced.
    """

    __slots__ = ("_set", "_task")

    def __init__(self) -> None:
        self._set = False
        self._task: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        self._set = True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    async def wait(self, deadline: float) -> None:
        """Wait until woken or until `deadline`; always a checkpoint."""
        if self._set:
            self._set = False
            await trio.lowlevel.checkpoint()
            return
        with trio.CancelScope(deadline=deadline):
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._set = False

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class OneAtATime:
    """`with guard:` raises `trio.BusyResourceError` while another task is inside."""

    __slots__ = ("_message", "busy")

    def __init__(self, message: str) -> None:
        self._message = message
        self.busy = False

    def __enter__(self) -> None:
        if self.busy:
            raise trio.BusyResourceError(self._message)
        self.busy = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.busy = False
