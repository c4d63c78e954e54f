"""What a download finds on the disk: files of others, parts that are right, no space."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.commands import CancelGame, DownloadGame, PauseGame, ResumeGame, SetGamesDir
from lanspread.errors import LanspreadError
from lanspread.fs.download.records import PlanState
from lanspread.testing import Link, MemoryFileSystem, MemoryGames, VirtualLan, VirtualPeer, until
from lanspread.testing.peers import BLOCK_BYTES
from lanspread.testing.waiting import DOWNLOAD_ENDS
from tests.peers.support import Events, Party, done_bytes, offering, read_game, write_game
from tests.peers.test_resume import (
    FILES,
    SLOW,
    TOTAL,
    begin,
    done,
    end,
    finished,
    game_of,
    operation,
    plan_of,
    start,
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MIN_CHUNK_BYTES", 2 * BLOCK_BYTES)


def memory_of(peer: VirtualPeer) -> MemoryFileSystem:
    assert isinstance(peer.games, MemoryGames)
    return peer.games.memory


def put(peer: VirtualPeer, path: str, data: bytes) -> None:
    """A file that a person brought, long ago."""
    memory_of(peer).write_file(
        f"{peer.games.path}/Quake/{path}", data, mtime_ns=1_600_000_000 * 10**9
    )


# -- files of others -------------------------------------------------------------------------------


async def test_half_the_game_from_a_stick_is_adopted(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    put(ben, "big.eti", FILES["big.eti"])
    put(ben, "many/00", FILES["many/00"])
    await ben.restart()
    expected = TOTAL - len(FILES["big.eti"]) - len(FILES["many/00"])
    assert await finished(await begin(ben), ben) == expected


@pytest.mark.parametrize("wrong", ["a byte", "its size"])
async def test_a_wrong_file_from_a_stick_is_named_and_nothing_touched(
    autojump_clock: MockClock, lan: VirtualLan, wrong: str
) -> None:
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    data = bytearray(FILES["big.eti"])
    if wrong == "a byte":
        data[-1] ^= 1
    else:
        data += b"x"
    put(ben, "big.eti", bytes(data))
    put(ben, "many/00", FILES["many/00"])
    await ben.restart()
    before = memory_of(ben).read_tree(ben.games.path)
    last = await end(await begin(ben))
    assert (last.type, last.data["code"]) == ("download.failed", "folder_not_empty")
    assert "big.eti" in str(last.data["message"])
    assert "many/00" not in str(last.data["message"])
    assert memory_of(ben).read_tree(ben.games.path) == before


async def test_a_block_that_went_bad_meanwhile_is_fetched_again(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    lan.set_default_link(SLOW)
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    events = await begin(ben)
    await until(lambda: done(ben) > 0.5 * TOTAL)
    await ben.peer.execute(PauseGame(id="Quake"))
    await events.wait_for("download.paused")
    # The disk did it: a file that a person wrote to would be that person's.
    path = f"{ben.games.path}/Quake/big.eti"
    with memory_of(ben).open_folder(f"{ben.games.path}/Quake") as folder:
        mtime_ns = folder.entry("big.eti").mtime_ns
    data = bytearray(memory_of(ben).read_tree(f"{ben.games.path}/Quake")["big.eti"])
    data[100] ^= 1
    memory_of(ben).write_file(path, bytes(data), mtime_ns=mtime_ns)
    await trio.sleep(10)
    await ben.peer.execute(ResumeGame(id="Quake"))
    fetched = await finished(events, ben)
    assert fetched < TOTAL + 10 * BLOCK_BYTES


async def test_a_file_has_the_name_of_our_folder(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    put(ben, ".lanspread", b"a note")
    await ben.restart()
    before = memory_of(ben).read_tree(ben.games.path)
    last = await end(await begin(ben))
    assert (last.type, last.data["code"]) == ("download.failed", "folder_not_empty")
    assert ".lanspread" in str(last.data["message"])
    assert "move it away" in str(last.data["remedy"])
    assert memory_of(ben).read_tree(ben.games.path) == before


# -- moved away ------------------------------------------------------------------------------------


def move(peer: VirtualPeer, source: str, target: str) -> None:
    """What a person does with a file manager; paths of the whole disk."""
    with memory_of(peer).open_folder("/") as root:
        root.rename(source.lstrip("/"), target.lstrip("/"))


@pytest.mark.parametrize("instead", ["nothing", "a folder"])
async def test_the_games_folder_is_moved_away_in_the_middle(
    autojump_clock: MockClock, lan: VirtualLan, instead: str
) -> None:
    lan.set_default_link(SLOW)
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    events = await begin(ben)
    await until(lambda: done(ben) > 0.3 * TOTAL)
    here = f"{ben.games.path}/Quake"
    move(ben, here, "/elsewhere")
    if instead == "a folder":
        memory_of(ben).write_file(f"{here}/theirs", b"x")
    last = await end(events)
    assert (last.type, last.data["code"]) == ("download.failed", "io_error")
    assert "moved away" in str(last.data["message"])
    assert "put it back" in str(last.data["remedy"])
    # Nothing says that it is complete, and what took its place was left alone.
    assert "version.ini" not in memory_of(ben).read_tree("/elsewhere")
    if instead == "a folder":
        assert memory_of(ben).read_tree(here) == {"theirs": b"x"}
        memory_of(ben).discard(here)
    # Put back, all that was fetched is still good.
    move(ben, "/elsewhere", here)
    await ben.restart()
    assert await finished(await begin(ben), ben) < 0.1 * TOTAL


# -- no space --------------------------------------------------------------------------------------


async def test_no_space_at_the_beginning_fails_at_once(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    memory_of(ben).space.capacity = 500_000
    last = await end(await begin(ben))
    assert (last.type, last.data["code"]) == ("download.failed", "no_space")
    assert str(TOTAL + limits.MIB)[:2] in str(last.data["message"])
    assert ben.read_game("Quake") == {}


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_full_disk_pauses_and_space_lets_it_go_on(
    autojump_clock: MockClock, lan: VirtualLan, restarted: bool
) -> None:
    lan.set_default_link(SLOW)
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    space = memory_of(ben).space
    roomy = space.capacity
    events = await begin(ben)
    await until(lambda: done(ben) > 0.3 * TOTAL)
    space.capacity = space.used
    paused = await events.wait_for("download.paused")
    assert paused.data["reason"] == "disk_full"
    needed = paused.data["needed_bytes"]
    assert isinstance(needed, int)
    assert 0 < needed < TOTAL + 2 * limits.MIB
    found = operation(ben)
    assert found is not None
    assert found.state == "waiting"
    if restarted:
        await ben.restart()
        events = ben.events()
        await until(lambda: ben.offers("Quake"))
        await trio.sleep(30)
        found = operation(ben)
        assert found is not None
        assert found.state == "waiting"
    had = found.done_bytes
    await trio.sleep(60)
    sent = anna.peer.bytes_sent()
    await trio.sleep(60)
    assert anna.peer.bytes_sent() == sent
    space.capacity = roomy
    fetched = await finished(events, ben)
    assert fetched < TOTAL + 10 * BLOCK_BYTES
    if restarted:
        assert fetched <= TOTAL - had
    told = [one.type for one in events.seen if one.type in ("download.paused", "download.resumed")]
    assert told[-1] == "download.resumed"
    assert told.count("download.paused") <= 2


async def test_a_full_disk_can_be_cancelled_and_paused(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    lan.set_default_link(SLOW)
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    space = memory_of(ben).space
    events = await begin(ben)
    await until(lambda: done(ben) > 0.3 * TOTAL)
    space.capacity = space.used
    await events.wait_for("download.paused")
    await ben.peer.execute(PauseGame(id="Quake"))
    assert (await events.wait_for("download.paused", timeout_s=5)).data["reason"] == "user"
    await ben.peer.execute(ResumeGame(id="Quake"))
    assert (await events.wait_for("download.paused", timeout_s=20)).data["reason"] == "disk_full"
    await ben.peer.execute(CancelGame(id="Quake"))
    assert (await end(events)).type == "download.cancelled"
    assert operation(ben) is None


# -- selections ------------------------------------------------------------------------------------


async def test_a_selection_and_then_the_whole_game(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    last = await end(await begin(ben, files=("big.eti", "many/01")))
    assert last.type == "download.finished"
    size = len(FILES["big.eti"]) + len(FILES["many/01"])
    assert last.data["bytes_fetched"] == size + len(FILES["version.ini"])
    assert ben.read_game("Quake") == {path: FILES[path] for path in ("big.eti", "many/01")}
    assert not ben.has_game("Quake")
    assert plan_of(ben).state is PlanState.SELECTED
    # It does not go on by itself.
    await ben.restart()
    await until(lambda: ben.offers("Quake"))
    assert operation(ben) is None
    assert await finished(await begin(ben), ben) == TOTAL - size


async def test_a_selection_of_everything_is_the_game(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    assert await finished(await begin(ben, files=tuple(FILES)), ben) == TOTAL
    assert ben.has_game("Quake")


async def test_a_selection_of_what_does_not_exist(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    last = await end(await begin(ben, files=("big.eti", "../evil")))
    assert (last.type, last.data["code"]) == ("download.failed", "not_found")
    assert ben.read_game("Quake") == {}


async def test_a_selection_of_a_game_that_is_here(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    await finished(await begin(ben), ben)
    last = await end(await begin(ben, files=("big.eti",)))
    assert (last.type, last.data["bytes_fetched"]) == ("download.finished", 0)
    with pytest.raises(LanspreadError) as caught:
        await ben.peer.execute(DownloadGame(id="Quake", files=("nothing",)))
    assert caught.value.code == "not_found"
    anna.put_game("Quake", game_of(7, "2.0"))
    await until(lambda: any(game.update_available for game in ben.peer.games()))
    with pytest.raises(LanspreadError) as caught:
        await ben.peer.execute(DownloadGame(id="Quake", files=("big.eti",)))
    assert caught.value.code == "not_available"
    assert ben.read_game("Quake") == FILES
    assert ben.has_game("Quake")


# -- sources that are wrong ------------------------------------------------------------------------


async def test_a_source_with_bad_blocks_is_named_after_a_restart_too(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    lan.set_default_link(Link(bytes_per_s=200_000.0))
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    await begin(ben)
    await until(lambda: done(ben) > 0.3 * TOTAL)
    await ben.crash()
    await start(lan, "c", FILES)
    # One byte of every block, behind the library's back.
    path = f"{anna.games.path}/Quake/big.eti"
    node = memory_of(anna).find(path)
    for at in range(0, len(FILES["big.eti"]), BLOCK_BYTES // 2):
        node.content[at] ^= 1  # type: ignore[attr-defined]
    await ben.start()
    events = ben.events()
    assert await finished(events, ben) < TOTAL
    dropped = {one.data["peer_id"] for one in events.seen if one.type == "source.dropped"}
    assert dropped == {anna.peer_id}


# -- another games folder --------------------------------------------------------------------------


async def test_what_is_unfinished_in_another_games_folder_goes_on_when_it_is_chosen(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    lan.set_default_link(SLOW)
    write_game(tmp_path / "a", "Quake", FILES)
    await party.start(lan.add_host("a"), tmp_path / "a")
    host = lan.add_host("b")
    ben = await party.start(host, tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    await ben.execute(DownloadGame(id="Quake"))
    await until(lambda: done_bytes(ben, "Quake") > 0.5 * TOTAL)
    await party.leave(host)
    other = tmp_path / "other"
    other.mkdir()
    ben = await party.start(host, tmp_path / "b", games=str(other))
    await until(lambda: offering(ben, "Quake"))
    events = Events(ben)
    await ben.execute(SetGamesDir(path=str(tmp_path / "b/games")))
    last = await events.wait_for(*DOWNLOAD_ENDS)
    assert last.type == "download.finished"
    fetched = last.data["bytes_fetched"]
    assert isinstance(fetched, int)
    assert fetched <= 0.55 * TOTAL
    assert read_game(tmp_path / "b", "Quake") == FILES
