"""The real watcher, on a real folder and in real time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio
import watchfiles

from lanspread.fs import watch as watch_module
from lanspread.fs.watch import DiskWatcher, Hints, names_of


async def hears(hints: trio.MemoryReceiveChannel[frozenset[str]], name: str) -> None:
    with trio.fail_after(5):
        async for names in hints:
            if name in names:
                return


async def test_hears_of_games_that_change(tmp_path: Path) -> None:
    (tmp_path / "Game").mkdir()
    async with DiskWatcher().watch(str(tmp_path)) as hints:
        await hears(hints, "")
        (tmp_path / "Game" / "version.ini").write_bytes(b"1")
        await hears(hints, "Game")
        (tmp_path / "New").mkdir()
        # Said when the new folder is watched, for what was missed until then.
        await hears(hints, "")
        (tmp_path / "New" / "game.eti").write_bytes(b"1")
        await hears(hints, "New")


async def test_a_linked_game_is_watched(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "Game").symlink_to(tmp_path / "elsewhere")
    async with DiskWatcher().watch(str(tmp_path / "games")) as hints:
        await hears(hints, "")
        (tmp_path / "elsewhere" / "version.ini").write_bytes(b"1")
        await hears(hints, "Game")


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.5])
async def test_leaving_is_quick(tmp_path: Path, delay_s: float) -> None:
    with trio.CancelScope() as scope:
        async with DiskWatcher().watch(str(tmp_path)):
            await trio.sleep(delay_s)
            began = time.perf_counter()
            scope.cancel()
            await trio.sleep_forever()
    # A step of the thread is 20 ms; a busy machine needs more, but never the seconds that the
    # library takes when it is only cancelled.
    assert time.perf_counter() - began < 0.5


async def test_a_folder_that_is_not_there_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_RETRY_S", 0.05)
    games = tmp_path / "games"
    async with DiskWatcher().watch(str(games)) as hints:
        await hears(hints, "")
        games.mkdir()
        while True:
            await hears(hints, "")
            if hints.statistics().current_buffer_used == 0:
                break
        await trio.sleep(0.5)
        (games / "Game").mkdir()
        await hears(hints, "Game")


async def test_too_few_watches_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: str, **options: object) -> object:
        raise OSError(28, "OS file watch limit reached.")

    monkeypatch.setattr(watchfiles, "watch", full)
    warnings: list[str] = []
    watcher = DiskWatcher(lambda code, message, remedy: warnings.append(code))
    async with watcher.watch(str(tmp_path)) as hints:
        await trio.sleep(0.1)
        assert warnings == ["not_watching"]
        assert hints.statistics().current_buffer_used == 0


async def test_too_many_hints_become_one() -> None:
    hints = Hints()
    for number in range(1000):
        hints.put(frozenset({f"{number}"}))
    received = []
    while hints.receive.statistics().current_buffer_used:
        received.append(hints.receive.receive_nowait())
    assert frozenset({""}) in received
    assert received[-1] == frozenset({"999"})
    assert len(received) <= 16
    hints.close()
    hints.put(frozenset({"late"}))


def test_names_of_changed_paths() -> None:
    changed = ["/games/A/version.ini", "/games/A", "/games/B/x/y", "/gamesX/C", "/games"]
    assert names_of("/games", changed) == {"A", "B", ""}
    assert names_of("/", ["/A/x"]) == {"A"}
