"""Cancel at every await: whatever step is the last one, disk and state are consistent.

An instrument counts the steps of all tasks from the moment the download begins and cancels at the
n-th; then the same is done for the next n. The virtual LAN makes step n the same in each run.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from lanspread.peer import Peer
from lanspread.testing import open_virtual_lan, open_virtual_peer
from tests.peers.support import (
    SMALL_GAME,
    begin,
    fetch,
    game,
    offering,
    open_party,
    read_game,
    until,
    write_game,
)


class CancelAt(trio.abc.Instrument):
    """Calls `act` before the n-th step from `arm` on."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.steps = 0
        self._armed = False
        self._at = step
        self._act = act

    def arm(self) -> None:
        self._armed = True

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._armed:
            self.steps += 1
            if self.steps == self._at:
                self._act()


def check_disk(folder: Path) -> bool:
    """No sentinel unless the game is whole. Returns whether it is there."""
    files = read_game(folder, "Quake") if (folder / "games/Quake").exists() else {}
    if "version.ini" in files:
        assert files == SMALL_GAME
        return True
    assert all(len(data) == len(SMALL_GAME[path]) or not data for path, data in files.items())
    return False


@attrs.define
class Run:
    """What one run showed: its steps, and whether the game was whole when it was cut short."""

    steps: int
    whole: bool


async def run_once(folder: Path, step: int, victim: str) -> Run:
    """Download, cancel `victim` at `step`, check; then finish."""
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        write_game(folder / "a", "Quake", SMALL_GAME)
        hosts = {name: lan.add_host(name) for name in "ab"}
        await party.start(hosts["a"], folder / "a")
        ben = await party.start(hosts["b"], folder / "b")
        await until(lambda: offering(ben, "Quake"))
        victims: dict[str, Callable[[], None]] = {
            "download": partial(_cancel, ben),
            "peer": party.scope_of(hosts["b"]).cancel,
            "source": party.scope_of(hosts["a"]).cancel,
        }
        instrument = CancelAt(step, victims[victim])
        trio.lowlevel.add_instrument(instrument)
        try:
            instrument.arm()
            await begin(ben, "Quake")
            with trio.move_on_after(30):
                await _until_over(ben, party.ended(hosts["b"]))
        finally:
            trio.lowlevel.remove_instrument(instrument)
        whole = check_disk(folder / "b")
        for name, host in hosts.items():
            if party.scope_of(host).cancel_called:
                await party.ended(host).wait()
                whole = check_disk(folder / "b")
                started = await party.start(host, folder / name)
                ben = started if name == "b" else ben
        await until(lambda: offering(ben, "Quake"))
        if game(ben, "Quake").operation is None:
            # What the program says and what the disk says are the same.
            assert game(ben, "Quake").downloaded == check_disk(folder / "b")
        assert (await fetch(ben, "Quake")).type == "download.finished"
        assert check_disk(folder / "b")
        await party.stop()
        return Run(instrument.steps, whole)


def _cancel(peer: Peer) -> None:
    for operation in peer.operations.all():
        operation.cancel()


async def _until_over(peer: Peer, gone: trio.Event) -> None:
    while not gone.is_set() and game(peer, "Quake").operation is not None:
        await trio.sleep(0.05)


@pytest.mark.parametrize("victim", ["download", "peer", "source"])
async def test_cancelled_at_any_step_the_disk_and_the_state_agree(
    autojump_clock: MockClock, tmp_path: Path, soak: bool, victim: str
) -> None:
    total = (await run_once(tmp_path / "whole", 10**9, victim)).steps
    assert total > 100
    # Every step in the long version, otherwise some from the beginning to the end.
    stride = 1 if soak else max(1, total // 40)
    whole = {
        (await run_once(tmp_path / f"step{step}", step, victim)).whole
        for step in range(1, total, stride)
    }
    # The walk crossed the commit point: before it nothing is whole, behind it all is.
    assert whole == {False, True}


async def test_a_start_cancelled_at_any_step_leaves_nothing(
    autojump_clock: MockClock, tmp_path: Path, soak: bool
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    async with open_virtual_lan(seed=1) as lan:
        host = lan.add_host("a")
        before = _count_tasks()
        step, started = 1, False
        while not started:
            with trio.CancelScope() as scope:
                instrument = CancelAt(step, scope.cancel)
                trio.lowlevel.add_instrument(instrument)
                try:
                    instrument.arm()
                    async with open_virtual_peer(host, tmp_path / "a"):
                        trio.lowlevel.remove_instrument(instrument)
                        started = True
                finally:
                    if not started:
                        trio.lowlevel.remove_instrument(instrument)
            assert _count_tasks() == before
            assert host.sockets == ()
            step += 1
        assert step > 20
        assert read_game(tmp_path / "a", "Quake") == SMALL_GAME


async def test_nothing_is_left_behind(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_virtual_lan(seed=1) as lan:
        host = lan.add_host("b")
        tasks = _count_tasks()
        threads = threading.active_count()
        async with open_party() as party:
            await party.start(host, tmp_path / "b")
            assert _count_tasks() > tasks
            await party.stop()
        assert _count_tasks() == tasks
        assert threading.active_count() == threads
        assert host.sockets == ()
        gc.collect()


def _count_tasks() -> int:
    def below(task: trio.lowlevel.Task) -> int:
        return 1 + sum(below(t) for n in task.child_nurseries for t in n.child_tasks)

    root = trio.lowlevel.current_root_task()
    assert root is not None
    return below(root)
