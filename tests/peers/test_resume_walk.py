"""Pause, or switch off, at every await of a download: it goes on, and the result is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from lanspread.commands import DownloadGame, PauseGame, ResumeGame
from lanspread.errors import LanspreadError
from lanspread.testing import open_virtual_lan, until
from lanspread.testing.waiting import DOWNLOAD_ENDS
from tests.peers.test_cancel_walk import CancelAt
from tests.peers.test_resume import finished, on_disk, operation, start

FILES = {"data.eti": bytes(range(256)) * 200, "sub/one": b"1" * 20_000, "version.ini": b"1.0\n"}
OLDER = {**FILES, "sub/one": b"0" * 20_000, "version.ini": b"0.9\n"}


async def run_once(step: int, way: str) -> int:
    """An update that is paused, or whose peer ends, at a step; returns how many steps there are."""
    async with open_virtual_lan(seed=1) as lan:
        await start(lan, "a", FILES)
        ben = await start(lan, "b", OLDER)
        await until(lambda: any(game.update_available for game in ben.peer.games()))
        running = ben.peer
        acts: dict[str, Callable[[], object]] = {
            "pause": lambda: running.game_operations.downloads.pause("Quake"),
            "end": ben.scope.cancel,
        }
        acted = False

        def act() -> None:
            nonlocal acted
            acted = True
            try:
                acts[way]()
            except LanspreadError:
                # It has just ended.
                acted = False

        instrument = CancelAt(step, act)
        events = ben.events()
        trio.lowlevel.add_instrument(instrument)
        try:
            instrument.arm()
            await running.execute(DownloadGame(id="Quake"))
            with trio.move_on_after(20):
                if way == "pause":
                    await events.wait_for("download.paused", *DOWNLOAD_ENDS)
                else:
                    await ben.ended.wait()
        finally:
            trio.lowlevel.remove_instrument(instrument)
        if not ben.is_running:
            assert "version.ini" not in on_disk(ben) or ben.read_game("Quake") in (OLDER, FILES)
            await ben.start()
            await until(lambda: ben.offers("Quake"))
        if not ben.has_game("Quake") or ben.read_game("Quake") != FILES:
            found = operation(ben)
            events = ben.events()
            if found is not None and found.state == "paused":
                assert acted
                await ben.peer.execute(PauseGame(id="Quake"))
                await ben.peer.execute(ResumeGame(id="Quake"))
            elif found is None:
                # Cut off before anything was written: it is as it was.
                assert ben.read_game("Quake") == OLDER
                await ben.peer.execute(DownloadGame(id="Quake"))
            await finished(events, ben, FILES)
        await until(lambda: operation(ben) is None)
        assert ben.read_game("Quake") == FILES
        await ben.stop()
        return instrument.steps


@pytest.mark.parametrize("way", ["pause", "end"])
async def test_at_any_step(autojump_clock: MockClock, soak: bool, way: str) -> None:
    total = await run_once(10**9, way)
    assert total > 100
    stride = 1 if soak else max(1, total // 40)
    for step in range(1, total, stride):
        await run_once(step, way)
