"""Work in a real thread that is asked to stop, and is never left behind."""

from __future__ import annotations

import threading

import pytest
import trio

from lanspread.fs.errors import Stopped
from lanspread.fs.progress import Watch
from lanspread.fs.stoppable import StoppableWatch, run_stoppable
from lanspread.platform import RealThreads


class Work:
    """Steps until it is stopped, or told that it is done."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.finish = threading.Event()
        self.ended = False

    def __call__(self, watch: Watch) -> str:
        try:
            watch.expect(10)
            self.began.set()
            while not self.finish.wait(0.001):
                watch.step()
            watch.advance(10)
            return "done"
        finally:
            self.ended = True


class Deaf(Work):
    """Does not ask: it is behind its commit point."""

    def __call__(self, watch: Watch) -> str:
        self.began.set()
        assert self.finish.wait(10)
        self.ended = True
        return "done"


async def started(work: Work) -> None:
    while not work.began.is_set():
        await trio.sleep(0.001)


async def test_it_returns_what_the_work_returns() -> None:
    work, watch = Work(), StoppableWatch()
    work.finish.set()
    assert await run_stoppable(RealThreads(), work, watch) == "done"
    assert (watch.done_bytes, watch.total_bytes) == (10, 10)


async def test_its_errors_come_out_as_they_are() -> None:
    def broken(watch: Watch) -> None:
        raise OSError(28, "full")

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="full"), allow_unwrapped=True):
        await run_stoppable(RealThreads(), broken)


async def test_cancelled_the_thread_is_stopped_and_waited_for() -> None:
    work = Work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_stoppable, RealThreads(), work)
        await started(work)
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught
    assert work.ended


async def test_what_was_done_in_spite_of_it_is_not_lost() -> None:
    work = Deaf()
    result = ""

    async def run() -> None:
        nonlocal result
        result = await run_stoppable(RealThreads(), work)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await started(work)
        nursery.cancel_scope.cancel()
        work.finish.set()
    assert result == "done"


async def test_stopped_by_somebody_else_it_is_an_error() -> None:
    watch = StoppableWatch()
    watch.stop()
    with pytest.RaisesGroup(Stopped, allow_unwrapped=True):
        await run_stoppable(RealThreads(), Work(), watch)


async def test_cancelled_before_nothing_begins() -> None:
    work = Work()
    with trio.CancelScope() as scope:
        scope.cancel()
        await run_stoppable(RealThreads(), work)
    assert scope.cancelled_caught
    assert not work.began.is_set()
