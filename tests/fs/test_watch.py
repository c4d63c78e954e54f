"""The real watcher, on a real folder and in real time."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import watchfiles
from structlog.testing import capture_logs

from lanspread.fs import watch as watch_module
from lanspread.fs.watch import DiskWatcher, Hints, names_of
from tests.machine import at_most


def ignored(code: str, message: str, remedy: str) -> None:
    pass


async def hears(hints: trio.MemoryReceiveChannel[frozenset[str]], name: str) -> None:
    with trio.fail_after(5):
        async for names in hints:
            if name in names:
                return


async def hears_of_writing(hints: trio.MemoryReceiveChannel[frozenset[str]], game: Path) -> None:
    """Sooner or later: the watch may have to begin anew first."""
    with trio.fail_after(10):
        while True:
            (game / "x").write_bytes(b"1")
            with trio.move_on_after(0.5) as scope:
                await hears(hints, game.name)
            if not scope.cancelled_caught:
                return


async def test_hears_of_games_that_change(tmp_path: Path) -> None:
    (tmp_path / "Game").mkdir()
    async with DiskWatcher().watch(str(tmp_path), ignored) as hints:
        await hears(hints, "")
        (tmp_path / "Game" / "version.ini").write_bytes(b"1")
        await hears(hints, "Game")
        (tmp_path / "New").mkdir()
        # Said when the new folder is watched, for what was missed until then.
        await hears(hints, "")
        (tmp_path / "New" / "game.eti").write_bytes(b"1")
        await hears(hints, "New")


async def test_a_new_game_is_not_watched_before_it_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "Old").mkdir()
    held = {"Old", "New"}
    async with DiskWatcher().watch(str(tmp_path), ignored, held.__contains__) as hints:
        await hears(hints, "")
        held.remove("Old")
        await hears(hints, "")
        held.add("Old")
        (tmp_path / "New").mkdir()
        await hears(hints, "New")
        (tmp_path / "New" / "x").write_bytes(b"1")
        # It was watched before, and is still.
        (tmp_path / "Old" / "x").write_bytes(b"1")
        with trio.fail_after(5):
            # What happens is told in its order.
            assert await hints.receive() == {"Old"}
        held.remove("New")
        await hears(hints, "")
        await hears_of_writing(hints, tmp_path / "New")


async def test_a_linked_game_is_watched(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "Game").symlink_to(tmp_path / "elsewhere")
    async with DiskWatcher().watch(str(tmp_path / "games"), ignored) as hints:
        await hears(hints, "")
        (tmp_path / "elsewhere" / "version.ini").write_bytes(b"1")
        await hears(hints, "Game")


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.5])
async def test_leaving_is_quick(tmp_path: Path, delay_s: float) -> None:
    with trio.CancelScope() as scope:
        async with DiskWatcher().watch(str(tmp_path), ignored):
            await trio.sleep(delay_s)
            began = time.perf_counter()
            scope.cancel()
            await trio.sleep_forever()
    # A step of the thread is 20 ms; a busy machine needs more, but never the seconds that the
    # library takes when it is only cancelled.
    assert time.perf_counter() - began < at_most(0.5)


async def test_a_folder_that_is_not_there_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_RETRY_S", 0.05)
    games = tmp_path / "games"
    async with DiskWatcher().watch(str(games), ignored) as hints:
        await hears(hints, "")
        games.mkdir()
        while True:
            await hears(hints, "")
            if hints.statistics().current_buffer_used == 0:
                break
        await trio.sleep(0.5)
        (games / "Game").mkdir()
        await hears(hints, "Game")


@pytest.fixture
def few_watches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As watchfiles behaves where the system allows 2 watches (seen with inotify's limit lowered).

    Returns a list that holds the limit, to be changed.
    """
    limit = [2]
    real = watchfiles.watch

    def watch(*paths: str, **options: Any) -> object:
        if len(paths) > limit[0] and not options["ignore_permission_denied"]:
            raise OSError(
                f'OS file watch limit reached. about ["{paths[limit[0]]}"]'
                " (Error { kind: MaxFilesWatch })"
            )
        return real(*paths[: limit[0]], **options)

    monkeypatch.setattr(watchfiles, "watch", watch)
    return limit


async def test_too_few_watches_is_one_warning_and_what_can_be_watched_is(
    tmp_path: Path, few_watches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_AGAIN_S", 0.3)
    for name in ("A", "B", "C"):
        (tmp_path / name).mkdir()
    warnings: list[str] = []

    def told(code: str, message: str, remedy: str) -> None:
        warnings.append(message)

    with capture_logs() as logs:
        async with DiskWatcher().watch(str(tmp_path), told) as hints:
            await hears(hints, "")
            (tmp_path / "A" / "x").write_bytes(b"1")
            await hears(hints, "A")
            # All are tried again and again, without a word.
            await hears(hints, "")
            await hears(hints, "")
            assert len(warnings) == 1
            few_watches[0] = 100
            await hears(hints, "")
            await hears_of_writing(hints, tmp_path / "C")
    assert len(warnings) == 1
    # The one line in the log is written by whoever is told.
    assert logs == []
    assert "MaxFilesWatch" in warnings[0]


async def test_the_systems_own_limit_is_noticed(tmp_path: Path) -> None:
    """With inotify's real limit lowered, in a user namespace of its own."""
    for number in range(20):
        (tmp_path / f"g{number}").mkdir()
    code = f"""
import trio
from lanspread.fs.watch import DiskWatcher
async def main():
    try:
        open("/proc/sys/user/max_inotify_watches", "w").write("10")
    except OSError:
        print("no limit")
        return
    told = trio.Event()
    def warn(code, message, remedy):
        print(code)
        told.set()
    async with DiskWatcher().watch({str(tmp_path)!r}, warn):
        with trio.fail_after(20):
            await told.wait()
        await trio.sleep(0.5)
trio.run(main)
"""
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    found = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    # Where a user namespace cannot be had there is no other way to lower the limit for one process.
    refused = b"unshare" in found.stderr or b"no limit" in found.stdout
    assert refused or found.stdout == b"not_watching\n", found.stderr.decode()


async def test_a_watch_that_cannot_be_had_at_all_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_AGAIN_S", 0.05)
    real = watchfiles.watch
    tried: list[int] = []

    def watch(*paths: str, **options: Any) -> object:
        tried.append(len(paths))
        if len(tried) < 6:
            # What watchfiles raises without inotify instances is a RuntimeError.
            raise RuntimeError("Error creating recommended watcher: Too many open files")
        return real(*paths, **options)

    monkeypatch.setattr(watchfiles, "watch", watch)
    warnings: list[str] = []

    def told(code: str, message: str, remedy: str) -> None:
        warnings.append(code)

    async with DiskWatcher().watch(str(tmp_path), told) as hints:
        await hears(hints, "")
        (tmp_path / "Game").mkdir()
        await hears(hints, "Game")
    assert warnings == ["not_watching"]


async def test_a_folder_that_went_and_came_back_is_watched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_RETRY_S", 0.05)
    games, away = tmp_path / "games", tmp_path / "away"
    (games / "Game").mkdir(parents=True)
    (away / "Game").mkdir(parents=True)
    async with DiskWatcher().watch(str(games), ignored) as hints:
        await hears(hints, "")
        games.rename(tmp_path / "first")
        # Another disk at the same place.
        away.rename(games)
        await hears_of_writing(hints, games / "Game")


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
