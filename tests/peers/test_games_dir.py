"""Changing the games folder of a running peer: the old games go and the new ones come."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread.commands import DownloadGame, SetGamesDir
from lanspread.errors import Code, LanspreadError
from lanspread.eventhub import PublishedEvent
from lanspread.fs.locks import Locked, lock_folder
from lanspread.fs.state import State
from lanspread.peer import Peer
from lanspread.testing import Link, VirtualLan
from tests.peers.support import (
    SMALL_GAME,
    Events,
    Party,
    connected,
    fetch,
    large_game,
    listed,
    offering,
    read_game,
    until,
    write_game,
)


def revision(peer: Peer) -> int:
    """The revision that the peer's own library stands at, as it tells others."""
    return peer.published.rev


async def change(peer: Peer, path: Path) -> None:
    await peer.execute(SetGamesDir(path=str(path)))


async def told(events: Events, kind: str) -> list[PublishedEvent]:
    """What was told so far."""
    with trio.move_on_after(0.5):
        await events.wait_for("nothing of this name")
    return events.of(kind)


async def refused(peer: Peer, path: Path | str) -> Code:
    before = peer.status().games_dir, revision(peer), peer.games()
    with pytest.raises(LanspreadError) as caught:
        await peer.execute(SetGamesDir(path=str(path)))
    assert (peer.status().games_dir, revision(peer), peer.games()) == before
    return caught.value.code


async def test_the_old_games_go_and_the_new_ones_come(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "old", SMALL_GAME)
    write_game(tmp_path / "other", "new", SMALL_GAME)
    other = tmp_path / "other" / "games"
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "old") == (anna.peer_id,))
    epoch, before = anna.published.epoch, revision(anna)
    events = Events(anna)
    await change(anna, other)
    assert anna.status().games_dir == str(other)
    assert listed(anna, "new")
    updated = await told(events, "library.updated")
    assert {game for event in updated for game in event.data["games"]} == {"old", "new"}
    assert anna.published.epoch == epoch
    assert revision(anna) > before
    await until(lambda: offering(ben, "new") == (anna.peer_id,) and not listed(ben, "old"))
    await fetch(ben, "new")
    assert read_game(tmp_path / "b", "new") == dict(SMALL_GAME)
    # Nothing of this touched a game.
    assert read_game(tmp_path / "a", "old") == dict(SMALL_GAME)


async def test_it_is_kept_for_the_next_start_and_comments_stay(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "other", "new", SMALL_GAME)
    other = tmp_path / "other" / "games"
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    settings = tmp_path / "a" / "state" / "lanspread.toml"
    settings.write_text('# mine\nname = "anna"\n')
    await change(anna, other)
    assert tomllib.loads(settings.read_text()) == {"name": "anna", "games": str(other)}
    assert settings.read_text().startswith("# mine\n")


async def test_a_settings_file_that_cannot_be_written_is_only_a_warning(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    settings = tmp_path / "a" / "state" / "lanspread.toml"
    settings.write_text("this is [not toml")
    events = Events(anna)
    await change(anna, other)
    warnings = await told(events, "warning")
    assert [event.data["code"] for event in warnings] == ["setting_not_kept"]
    assert settings.read_text() == "this is [not toml"
    assert anna.status().games_dir == str(other)


async def test_it_is_refused_and_nothing_changes(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "old", SMALL_GAME)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    await party.start(lan.add_host("b"), tmp_path / "b")
    (tmp_path / "file").write_text("")
    assert await refused(anna, "relative/path") is Code.NOT_FOUND
    assert await refused(anna, "/nul\0byte") is Code.NOT_FOUND
    assert await refused(anna, tmp_path / "missing") is Code.NOT_FOUND
    assert await refused(anna, tmp_path / "file") is Code.NOT_FOUND
    assert await refused(anna, tmp_path / "b" / "games") is Code.IN_USE
    # The refusals left no lock behind and did not lose ours.
    with pytest.raises(Locked):
        lock_folder(str(tmp_path / "a" / "games"))
    assert listed(anna, "old")


async def test_the_same_folder_by_another_name_is_no_change(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "old", SMALL_GAME)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    before = revision(anna)
    os.symlink(tmp_path / "a" / "games", tmp_path / "link")
    await change(anna, tmp_path / "link")
    assert revision(anna) == before
    assert listed(anna, "old")


@pytest.mark.parametrize("noticed", [True, False])
async def test_another_folder_at_the_same_path_is_taken(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path, noticed: bool
) -> None:
    """Another disk is mounted where the old one was: naming the path again means that one."""
    write_game(tmp_path / "a", "old", SMALL_GAME)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    (tmp_path / "a" / "games").rename(tmp_path / "unmounted")
    write_game(tmp_path / "a", "new", SMALL_GAME)
    if noticed:
        await until(lambda: not listed(anna, "old"))
        assert not listed(anna, "new")
    await change(anna, tmp_path / "a" / "games")
    assert listed(anna, "new")
    assert not listed(anna, "old")
    # The new one is ours alone now, and the old one is anybody's.
    with pytest.raises(Locked):
        lock_folder(str(tmp_path / "a" / "games"))
    lock_folder(str(tmp_path / "unmounted")).release()


async def test_the_locks_follow(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    await change(anna, other)
    with pytest.raises(Locked):
        lock_folder(str(other))
    lock_folder(str(tmp_path / "a" / "games")).release()


async def test_busy_while_something_is_fetched_and_served_games_are_let_go(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    lan.set_default_link(Link(bytes_per_s=500_000))
    files = large_game()
    write_game(tmp_path / "a", "large", files)
    other = tmp_path / "other"
    other.mkdir()
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "large") == (anna.peer_id,))
    await ben.execute(DownloadGame(id="large"))
    await trio.sleep(2)
    assert await refused(ben, other) is Code.BUSY
    # The one who serves is not kept from it; the downloader waits for another source.
    await change(anna, other)
    await until(lambda: not offering(ben, "large"))
    assert ben.operations.get("large") is not None
    await change(anna, tmp_path / "a" / "games")
    with trio.fail_after(120):
        while ben.operations.get("large") is not None:
            await trio.sleep(1)
    assert read_game(tmp_path / "b", "large") == files


async def test_cancelled_asker_the_change_goes_on(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "other", "new", SMALL_GAME)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change, anna, tmp_path / "other" / "games")
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    await until(lambda: listed(anna, "new"))
    assert anna.status().games_dir == str(tmp_path / "other" / "games")


async def test_two_changes_at_once(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """One of them is made, whole; the other is refused."""
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.mkdir()
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ends: dict[str, Code | None] = {}

    async def attempt(path: Path) -> None:
        try:
            await change(anna, path)
            ends[str(path)] = None
        except LanspreadError as error:
            ends[str(path)] = error.code

    async with trio.open_nursery() as nursery:
        for path in paths:
            nursery.start_soon(attempt, path)
    assert sorted(map(str, ends.values())) == ["None", "busy"]
    assert ends[anna.status().games_dir] is None


async def test_stopped_at_any_step_of_a_change(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """The peer ends while it changes over: both folders are free and whole afterwards."""
    write_game(tmp_path / "a", "old", SMALL_GAME)
    write_game(tmp_path / "other", "new", SMALL_GAME)
    host = lan.add_host("a")
    seen: set[Code | None] = set()
    for steps in range(2, 62, 3):
        anna = await party.start(host, tmp_path / "a")
        answers: list[Code | None] = []
        settings = tmp_path / "a" / "state" / "lanspread.toml"
        settings.unlink(missing_ok=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ask, anna, tmp_path / "other" / "games", answers)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await party.leave(host)
        # What was answered is true: cut off, or done and kept.
        assert answers == [None if settings.exists() else Code.CANCELLED]
        seen.update(answers)
        for folder in ("a", "other"):
            lock_folder(str(tmp_path / folder / "games")).release()
        assert read_game(tmp_path / "a", "old") == dict(SMALL_GAME)
        assert read_game(tmp_path / "other", "new") == dict(SMALL_GAME)
    assert seen == {None, Code.CANCELLED}


async def _ask(peer: Peer, path: Path, answers: list[Code | None]) -> None:
    try:
        await peer.execute(SetGamesDir(path=str(path)))
        answers.append(None)
    except LanspreadError as error:
        answers.append(error.code)


async def test_others_not_told_is_said(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The folder is changed, but the state disk is full: others see the old library for now."""
    write_game(tmp_path / "other", "new", SMALL_GAME)
    other = tmp_path / "other" / "games"
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: connected(ben))

    def full(self: State, epoch: bytes, rev: int, digest: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(State, "save_revision", full)
        with pytest.raises(LanspreadError, match="others see the old library") as caught:
            await change(anna, other)
    assert caught.value.code is Code.IO_ERROR
    assert anna.status().games_dir == str(other)
    await until(lambda: offering(ben, "new") == (anna.peer_id,))
