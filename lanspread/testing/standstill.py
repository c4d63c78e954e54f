"""Notices tasks that run for ever at one moment of virtual time.

Under the mock clock, time moves only when every task waits. A task that goes round and round
(waiting for a deadline that rounds to now, say) would hang the test without a word.
"""

from __future__ import annotations

from types import FrameType

import trio

STEPS = 500_000


class TimeStandsStill(RuntimeError):
    """So many task steps were made without virtual time moving; the text names the task."""


class Standstill(trio.abc.Instrument):
    """Counts task steps; `found` is set once `STEPS` of them were made at one moment."""

    def __init__(self) -> None:
        self.found = trio.Event()
        self.what = ""
        self._left = STEPS
        self._since = trio.current_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left:
            return
        self._left = STEPS
        now = trio.current_time()
        if now == self._since and not self.what:
            frames = [f"{frame.f_code.co_filename}:{line}" for frame, line in _frames(task)]
            self.what = f"at {now:g} s {task.name} keeps running: " + " < ".join(frames[::-1][:8])
            self.found.set()
        self._since = now

    async def watch(self) -> None:
        """Wait for it, for ever if need be. Raises `TimeStandsStill`."""
        trio.lowlevel.add_instrument(self)
        try:
            await self.found.wait()
            raise TimeStandsStill(self.what)
        finally:
            trio.lowlevel.remove_instrument(self)


def _frames(task: trio.lowlevel.Task) -> list[tuple[FrameType, int]]:
    return list(task.iter_await_frames())
