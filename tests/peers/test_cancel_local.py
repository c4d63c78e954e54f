"""Cancel what changes a game's folder at every await, and end the peer at every await.

Whatever step is the last one: `local/` is the old one or the new one, with the user's files in it,
what the program says is so, and the same command then succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import attrs
import pytest
import trio
from trio.testing import MockClock

from lanspread.commands import (
    GameCommand,
    InstallGame,
    RemoveGame,
    UninstallGame,
    UpdateGame,
)
from lanspread.fs.stoppable import StoppableWatch
from lanspread.peer import Peer
from lanspread.testing import open_virtual_lan
from tests.peers.support import Events, fetch, game, listed, offering, open_party, until, write_game
from tests.peers.test_cancel_walk import CancelAt
from tests.peers.test_local_operations import a_game, do, local_files

OLD: Final = {"quake.exe": b"program 1", "cfg/keys": b"wasd"}
NEW: Final = {"quake.exe": b"program 2.0", "cfg/keys": b"wasd"}
SAVE: Final = {"save": b"level 7"}

# What `local/` may be, and whether the game's files are there: before the command, and after it.
COMMANDS: Final[dict[str, tuple[GameCommand, dict[str, bytes], dict[str, bytes]]]] = {
    "install": (InstallGame(id="Quake"), {}, OLD),
    "update": (UpdateGame(id="Quake"), OLD | SAVE, NEW | SAVE),
    "uninstall": (UninstallGame(id="Quake"), OLD | SAVE, {}),
    "remove": (RemoveGame(id="Quake", force=True), OLD | SAVE, OLD | SAVE),
}


Cut = Callable[[int, Callable[[], None]], AbstractContextManager["Steps"]]


class Steps(Protocol):
    """How many steps there were."""

    steps: int


@contextmanager
def at_await(step: int, act: Callable[[], None]) -> Iterator[Steps]:
    """`act` before the n-th step of any task."""
    instrument = CancelAt(step, act)
    trio.lowlevel.add_instrument(instrument)
    try:
        instrument.arm()
        yield instrument
    finally:
        trio.lowlevel.remove_instrument(instrument)


@contextmanager
def in_thread(step: int, act: Callable[[], None]) -> Iterator[Steps]:
    """`act`, and the thread is asked to stop, before its n-th change of the disk."""
    counted = _Counted()

    class Watch(StoppableWatch):
        def step(self) -> None:
            counted.steps += 1
            if counted.steps == step:
                act()
                self.stop()
            super().step()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lanspread.operations.local.StoppableWatch", Watch)
        yield counted


@attrs.define
class _Counted:
    steps: int = 0


@attrs.frozen
class Run:
    """What one run showed: its steps, and whether the command was done when it was cut short."""

    steps: int
    done: bool


async def run_once(folder: Path, cut: Cut, step: int, name: str, *, shutdown: bool) -> Run:
    command, before, after = COMMANDS[name]
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        host_a, host_b = lan.add_host("a"), lan.add_host("b")
        write_game(folder / "a", "Quake", a_game("1"))
        await party.start(host_a, folder / "a")
        ben = await party.start(host_b, folder / "b")
        await until(lambda: offering(ben, "Quake"))
        assert (await fetch(ben, "Quake")).type == "download.finished"
        if before:
            assert (await do(ben, InstallGame(id="Quake")))[0].type == "install.finished"
            (folder / "b/games/Quake/local/save").write_bytes(SAVE["save"])
        if name == "update":
            await party.leave(host_a)
            write_game(folder / "a", "Quake", a_game("2.0"))
            await party.start(host_a, folder / "a")
            await until(lambda: game(ben, "Quake").update_available)
            # The download has a walk of its own.
            assert (await fetch(ben, "Quake")).type == "download.finished"
        act = party.scope_of(host_b).cancel if shutdown else partial(_cancel, ben)
        gone = party.ended(host_b)
        events = Events(ben)
        with cut(step, act) as steps:
            await ben.execute(command)
            with trio.fail_after(30):
                while not gone.is_set() and _is_busy(ben):
                    await trio.sleep(0.01)
        if shutdown and party.scope_of(host_b).cancel_called:
            await gone.wait()
            ben = await party.start(host_b, folder / "b")
        done = _check(folder / "b", ben, name, before, after)
        if not shutdown:
            # What was done in spite of the cancellation is not called cancelled.
            end = await events.wait_for(f"{name}.finished", f"{name}.cancelled")
            assert end.type == f"{name}.{'finished' if done else 'cancelled'}"
        if not done or name == "remove":
            await until(lambda: offering(ben, "Quake"))
        if not done:
            end, _ = await do(ben, command)
            assert end.type == f"{name}.finished"
            assert _check(folder / "b", ben, name, before, after)
        await party.stop()
        return Run(steps.steps, done)


def _cancel(peer: Peer) -> None:
    for operation in peer.operations.all():
        operation.cancel()


def _is_busy(peer: Peer) -> bool:
    return listed(peer, "Quake") and game(peer, "Quake").operation is not None


def _check(
    folder: Path, peer: Peer, name: str, before: dict[str, bytes], after: dict[str, bytes]
) -> bool:
    """Disk and program agree. Returns whether the command was done."""
    found = local_files(folder)
    assert found in (before, after)
    view = game(peer, "Quake")
    assert view.installed == bool(found)
    root = folder / "games/Quake"
    assert view.downloaded == (root / "version.ini").exists()
    # Nothing of an interrupted operation is left.
    leftovers = {path.name for path in root.iterdir()} if root.exists() else set()
    assert leftovers <= {".lanspread", "local", "quake.eti", "version.ini"}
    if name == "remove":
        return not view.downloaded and leftovers == {".lanspread", "local"}
    assert view.downloaded
    if found:
        assert view.installed_version == ("1" if found["quake.exe"] == b"program 1" else "2.0")
    return found == after


@pytest.mark.parametrize("cut", [at_await, in_thread])
@pytest.mark.parametrize("shutdown", [False, True], ids=["cancelled", "shut down"])
@pytest.mark.parametrize("name", COMMANDS)
async def test_cut_short_at_any_step_it_is_done_or_undone(
    autojump_clock: MockClock, tmp_path: Path, soak: bool, name: str, shutdown: bool, cut: Cut
) -> None:
    total = (await run_once(tmp_path / "whole", cut, 10**9, name, shutdown=shutdown)).steps
    assert total > 1
    # Every step in the long version, otherwise some of those in which something is done.
    steps = range(1, total) if soak else range(1, min(total, 60), min(10, max(1, total // 6)))
    done = {
        (await run_once(tmp_path / f"step{step}", cut, step, name, shutdown=shutdown)).done
        for step in steps
    }
    assert False in done
    # The walk crossed the commit point.
    assert True in done or cut is in_thread
