"""The real seams: what threads promise about cancellation, clocks, and what settings leave out."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import attrs
import trio

from lanspread.config import Config
from lanspread.platform import RealEntropy, RealSuspendClock, RealThreads, RealWallClock, real_seams


async def test_a_thread_is_never_abandoned() -> None:
    threads = RealThreads()
    begun, release, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        release.wait(10)
        done.set()
        return "result"

    with trio.fail_after(10):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel_while_it_runs() -> None:
                    await threads.run(begun.wait, pool="hash")
                    scope.cancel()
                    release.set()

                nursery.start_soon(cancel_while_it_runs)
                assert await threads.run(work) == "result"
                assert done.is_set()


async def test_a_cancelled_call_does_not_start() -> None:
    started: list[bool] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await RealThreads().run(started.append, True)
    assert scope.cancelled_caught
    assert started == []


async def test_a_full_pool_leaves_the_others_alone() -> None:
    threads = RealThreads()
    release = threading.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(lambda: threads.run(release.wait, 10.0, pool="hash"))
            await trio.sleep(0.05)
            assert await threads.run(len, "disk", pool="disk") == 4
            release.set()


def test_clocks() -> None:
    assert abs((RealWallClock().now() - datetime.now(UTC)).total_seconds()) < 5
    clock = RealSuspendClock()
    before, start = clock.now(), time.monotonic()
    time.sleep(0.05)
    assert abs((clock.now() - before) - (time.monotonic() - start)) < 0.05


def test_mdns_can_be_left_out(tmp_path: Path) -> None:
    config = Config(games=str(tmp_path), state=str(tmp_path))
    assert real_seams(config).discovery is not None
    assert real_seams(attrs.evolve(config, mdns=False)).discovery is None


def test_the_real_entropy_is_never_the_same() -> None:
    one, two = RealEntropy(), RealEntropy()
    assert len({one.token_bytes(16), one.token_bytes(16), two.token_bytes(16)}) == 3
    assert one.new_key().private_numbers() != two.new_key().private_numbers()
    key = one.new_key()
    assert one.signing_key(key) is key
