"""Long work in a thread that stops when the task is cancelled: the thread is asked, and waited for.

A thread is never abandoned: whatever it was doing to the disk is done, or stopped between two
changes, when the task goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from lanspread.fs.errors import Stopped
from lanspread.fs.progress import Watch
from lanspread.seams import Threads

T = TypeVar("T")


class StoppableWatch:
    """A `Watch` that can be told to stop, and read while the thread goes on.

    Numbers are written by one thread and read by another, whole each; no lock is needed.
    """

    def __init__(self) -> None:
        self._stopped = False
        self.done_bytes = 0
        self.total_bytes = 0

    def stop(self) -> None:
        """The next `step` raises `Stopped`."""
        self._stopped = True

    def expect(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes

    def step(self) -> None:
        if self._stopped:
            raise Stopped("it was stopped")

    def advance(self, size_bytes: int) -> None:
        self.done_bytes += size_bytes


async def run_stoppable(
    threads: Threads, call: Callable[[Watch], T], watch: StoppableWatch | None = None
) -> T:
    """Run `call(watch)` in a thread. Cancelled, it is asked to stop and waited for.

    If it had done its work by then, its result is returned all the same, so that what is done is
    never taken for cancelled. Raises what `call` raises.
    """
    watch = StoppableWatch() if watch is None else watch
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_cancelled, watch)
        try:
            result = await threads.run(call, watch)
        except Stopped:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise
        finally:
            nursery.cancel_scope.cancel()
    return result


async def _stop_when_cancelled(watch: StoppableWatch) -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        # Ended here: passed on, it would take the thread's result with it. Whoever called is told
        # of the cancellation at his next await.
        watch.stop()
