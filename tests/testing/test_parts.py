"""The seams that need no LAN."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from lanspread.seams import IndexKey
from lanspread.testing import (
    InlineThreads,
    ManualWatcher,
    MemoryIndex,
    SilentWatcher,
    VirtualSuspendClock,
    VirtualWallClock,
)


async def test_inline_threads_see_cancellation_before_the_call_only(
    autojump_clock: MockClock,
) -> None:
    threads = InlineThreads()
    assert await threads.run(divmod, 7, 2, pool="hash") == (3, 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await threads.run(divmod, 7, 2)
    assert scope.cancelled_caught
    assert threads.calls == 1
    with trio.CancelScope() as scope:
        await threads.run(scope.cancel)
    assert not scope.cancelled_caught


def test_the_index_keeps_rows_apart_by_key() -> None:
    index = MemoryIndex()
    key = IndexKey("/games", 1, 4096)
    rows: dict[str, bytes | None] = {"a": b"1", "b": b"2"}
    index.store(key, rows)
    rows.clear()
    assert index.load(key) == {"a": b"1", "b": b"2"}
    assert index.load(key, ["b", "c"]) == {"b": b"2"}
    assert index.load(IndexKey("/games", 2, 4096)) == {}
    index.store(key, {"a": None})
    assert index.load(key) == {"b": b"2"}


async def test_a_full_watch_becomes_anything(autojump_clock: MockClock) -> None:
    watcher = ManualWatcher()
    async with watcher.watch("/one") as one, watcher.watch("/two") as two:
        watcher.changed("a", games="/one")
        assert await one.receive() == {"a"}
        watcher.changed("a")
        watcher.changed("b")
        assert await one.receive() == {""}
        assert await two.receive() == {""}
        watcher.changed("c")
        assert await one.receive() == {"c"}
    watcher.changed("nobody watches")


async def test_a_silent_watcher_says_nothing(autojump_clock: MockClock) -> None:
    watcher = SilentWatcher()
    async with watcher.watch("/games") as channel:
        watcher.changed("a")
        with trio.move_on_after(10) as scope:
            await channel.receive()
        assert scope.cancelled_caught


async def test_clocks_follow_trio(autojump_clock: MockClock) -> None:
    wall, suspend = VirtualWallClock(), VirtualSuspendClock()
    before, base = wall.now(), suspend.now()
    await trio.sleep(90)
    assert wall.now() - before == timedelta(seconds=90)
    assert suspend.now() - base == pytest.approx(90)
    suspend.sleep_machine(3600)
    assert suspend.now() - base == pytest.approx(3690)
    assert wall.now() - before == timedelta(seconds=90)
