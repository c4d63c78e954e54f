"""Downloads that are interrupted and go on: what was fetched is not fetched again."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.commands import CancelGame, DownloadGame, PauseGame, ResumeGame
from lanspread.errors import LanspreadError
from lanspread.eventhub import PublishedEvent
from lanspread.fs.download.records import Plan, PlanState, decode_plan
from lanspread.testing import (
    EVERYTHING_LOST,
    EventLog,
    Link,
    MemoryGames,
    VirtualLan,
    VirtualPeer,
    until,
)
from lanspread.testing.peers import BLOCK_BYTES
from lanspread.testing.waiting import DOWNLOAD_ENDS
from lanspread.views import OperationView

SLOW = Link(bytes_per_s=400_000.0)
SIZE = 1_000_000
PLAN = ".lanspread/plan.json"


def game_of(seed: int = 1, version: str = "1.0") -> dict[str, bytes]:
    chance = random.Random(seed)
    return {
        "big.eti": chance.randbytes(SIZE - 100_000),
        **{f"many/{number:02}": chance.randbytes(5_000) for number in range(20)},
        "version.ini": f"{version}\n".encode(),
    }


FILES = game_of()
TOTAL = sum(map(len, FILES.values()))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two blocks: a small game is then fetched in as many steps as a large one."""
    monkeypatch.setattr(limits, "MIN_CHUNK_BYTES", 2 * BLOCK_BYTES)


async def start(
    lan: VirtualLan, name: str, files: Mapping[str, bytes] | None = None
) -> VirtualPeer:
    peer = lan.add_peer(name)
    if files is not None:
        peer.put_game("Quake", files)
    await peer.start()
    return peer


async def begin(peer: VirtualPeer, **wanted: object) -> EventLog:
    await until(lambda: peer.offers("Quake"))
    events = peer.events()
    await peer.peer.execute(DownloadGame(id="Quake", **wanted))  # type: ignore[arg-type]
    return events


def operation(peer: VirtualPeer) -> OperationView | None:
    return next((game.operation for game in peer.peer.games() if game.id == "Quake"), None)


def done(peer: VirtualPeer) -> int:
    found = operation(peer)
    return 0 if found is None else found.done_bytes


def on_disk(peer: VirtualPeer) -> dict[str, bytes]:
    """Everything in the game's folder, what is ours included."""
    assert isinstance(peer.games, MemoryGames)
    return peer.games.memory.read_tree(f"{peer.games.path}/Quake")


def plan_of(peer: VirtualPeer) -> Plan:
    plan = decode_plan(on_disk(peer)[PLAN])
    assert plan is not None
    return plan


async def end(events: EventLog) -> PublishedEvent:
    return await events.wait_for(*DOWNLOAD_ENDS)


async def finished(events: EventLog, peer: VirtualPeer, files: Mapping[str, bytes] = FILES) -> int:
    """It ends well; returns the bytes that were fetched."""
    last = await end(events)
    assert last.type == "download.finished", last.data
    assert peer.read_game("Quake") == files
    assert sorted(name for name in on_disk(peer) if name.startswith(".")) == [
        ".lanspread/download.json"
    ]
    fetched = last.data["bytes_fetched"]
    assert isinstance(fetched, int)
    return fetched


# -- restarts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["killed", "stopped"])
async def test_after_a_restart_it_goes_on_by_itself(
    autojump_clock: MockClock, lan: VirtualLan, way: str
) -> None:
    lan.set_default_link(SLOW)
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    await begin(ben)
    await until(lambda: done(ben) > 0.6 * TOTAL)
    await (ben.crash() if way == "killed" else ben.stop())
    assert plan_of(ben).state is PlanState.RUNNING
    await ben.start()
    await until(lambda: operation(ben) is not None, 5)
    assert await finished(ben.events(), ben) <= 0.42 * TOTAL
    assert anna.is_running


async def test_it_goes_on_without_anybody_and_then_from_somebody_else(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    """Killed, restarted alone: it waits as an operation, for whoever has the same content."""
    lan.set_default_link(SLOW)
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    await begin(ben)
    await until(lambda: done(ben) > 0.5 * TOTAL)
    await ben.crash()
    await anna.crash()
    await ben.start()
    events = ben.events()
    await until(lambda: operation(ben) is not None, 5)
    found = operation(ben)
    assert found is not None
    assert (found.state, found.total_bytes) == ("waiting", TOTAL)
    await start(lan, "c", FILES)
    assert await finished(events, ben) <= 0.55 * TOTAL
    assert "download.resumed" in {event.type for event in events.seen}


async def test_a_power_loss_costs_no_more_than_what_was_not_behind_a_checkpoint(
    autojump_clock: MockClock, lan: VirtualLan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_BYTES", 150_000)
    lan.set_default_link(SLOW)
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    await begin(ben)
    await until(lambda: done(ben) > 0.6 * TOTAL)
    assert isinstance(ben.games, MemoryGames)
    left = ben.games.memory.after_power_loss(EVERYTHING_LOST)
    await ben.crash()
    ben.games.memory.restore(left)
    await ben.start()
    fetched = await finished(ben.events(), ben)
    # Of what was there, at most a checkpoint's worth and what came while it was being made.
    assert fetched < 0.4 * TOTAL + 150_000 + 150_000


# -- by hand ---------------------------------------------------------------------------------------


async def test_pause_restart_resume(autojump_clock: MockClock, lan: VirtualLan) -> None:
    lan.set_default_link(SLOW)
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    events = await begin(ben)
    await until(lambda: done(ben) > 0.5 * TOTAL)
    await ben.peer.execute(PauseGame(id="Quake"))
    await ben.peer.execute(PauseGame(id="Quake"))
    paused = await events.wait_for("download.paused", timeout_s=1)
    assert paused.data["reason"] == "user"
    assert plan_of(ben).state is PlanState.PAUSED
    await ben.restart()
    events = ben.events()
    await until(lambda: ben.offers("Quake"))
    found = operation(ben)
    assert found is not None
    assert found.state == "paused"
    # What is there is known without a look at the files, as far as a checkpoint says so.
    assert 0.3 * TOTAL < found.done_bytes <= found.total_bytes * 0.6
    assert ben.peer.status().operations == (found,)
    await ben.peer.execute(ResumeGame(id="Quake"))
    await events.wait_for("download.resumed", timeout_s=1)
    assert await finished(events, ben) <= 0.55 * TOTAL


async def test_a_pause_while_it_is_resumed_is_not_lost(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    """Whatever a resume is waiting for."""
    lan.set_default_link(SLOW)
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    events = await begin(ben)
    await until(lambda: done(ben) > 0.1 * TOTAL)
    await ben.peer.execute(PauseGame(id="Quake"))
    await events.wait_for("download.paused", timeout_s=1)
    for count in range(40):
        await ben.peer.execute(ResumeGame(id="Quake"))
        for _ in range(count):
            await trio.lowlevel.checkpoint()
        await ben.peer.execute(PauseGame(id="Quake"))
        await trio.sleep(1)
        found = operation(ben)
        assert found is not None
        assert found.state == "paused", count
        assert plan_of(ben).state is PlanState.PAUSED, count
        had = done(ben)
        await trio.sleep(5)
        assert done(ben) == had, count
    await ben.peer.execute(ResumeGame(id="Quake"))
    await finished(events, ben)


async def test_a_paused_download_fetches_nothing(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    lan.set_default_link(SLOW)
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    events = await begin(ben)
    await until(lambda: done(ben) > 0.3 * TOTAL)
    await ben.peer.execute(PauseGame(id="Quake"))
    await events.wait_for("download.paused", timeout_s=1)
    # What was under way arrives, and is thrown away.
    await trio.sleep(2)
    sent, had = anna.peer.bytes_sent(), done(ben)
    await trio.sleep(60)
    assert (anna.peer.bytes_sent(), done(ben)) == (sent, had)
    await ben.peer.execute(ResumeGame(id="Quake"))
    assert await finished(events, ben) < TOTAL + 150_000
    assert [one.type for one in events.seen if "paused" in one.type or "resumed" in one.type] == [
        "download.paused",
        "download.resumed",
    ]


async def test_cancelled_it_stays_so_and_a_later_get_goes_on(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    lan.set_default_link(SLOW)
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    events = await begin(ben)
    await until(lambda: done(ben) > 0.5 * TOTAL)
    await ben.peer.execute(CancelGame(id="Quake"))
    assert (await end(events)).type == "download.cancelled"
    assert plan_of(ben).state is PlanState.STOPPED
    assert set(plan_of(ben).made or ()) == on_disk(ben).keys() & FILES.keys()
    await ben.restart()
    await until(lambda: ben.offers("Quake"))
    assert operation(ben) is None
    assert await finished(await begin(ben), ben) <= 0.55 * TOTAL


async def test_a_paused_download_can_be_cancelled(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    lan.set_default_link(SLOW)
    _, ben = await start(lan, "a", FILES), await start(lan, "b")
    events = await begin(ben)
    await until(lambda: done(ben) > 0.2 * TOTAL)
    await ben.peer.execute(PauseGame(id="Quake"))
    await ben.restart()
    await until(lambda: operation(ben) is not None)
    events = ben.events()
    await ben.peer.execute(CancelGame(id="Quake"))
    assert (await end(events)).type == "download.cancelled"
    assert plan_of(ben).state is PlanState.STOPPED


async def test_only_a_download_can_be_paused(autojump_clock: MockClock, lan: VirtualLan) -> None:
    anna = await start(lan, "a", FILES)
    for command in (PauseGame(id="Quake"), ResumeGame(id="Quake")):
        with pytest.raises(LanspreadError) as caught:
            await anna.peer.execute(command)
        assert caught.value.code == "not_found"


# -- other variants --------------------------------------------------------------------------------


async def test_when_everybody_updated_it_moves_over(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    """The only source changed its files: after a while the new ones are fetched, the rest kept."""
    newer = {**FILES, "many/00": b"new", "version.ini": b"1.1\n"}
    lan.set_default_link(SLOW)
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    events = await begin(ben)
    await until(lambda: done(ben) > 0.6 * TOTAL)
    anna.put_game("Quake", newer)
    assert (await events.wait_for("download.paused")).data["reason"] == "no_sources"
    fetched = await finished(events, ben, newer)
    assert fetched < TOTAL + 150_000
    assert "download.resumed" in {one.type for one in events.seen}
    assert "source.dropped" not in {one.type for one in events.seen}
    assert events.seen[-1].data["version"] == "1.1"


async def test_it_moves_over_after_a_restart_too(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    newer = {**FILES, "many/00": b"new", "version.ini": b"1.1\n"}
    lan.set_default_link(SLOW)
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    await begin(ben)
    await until(lambda: done(ben) > 0.6 * TOTAL)
    await ben.crash()
    anna.put_game("Quake", newer)
    await ben.start()
    assert await finished(ben.events(), ben, newer) <= 0.45 * TOTAL


async def test_a_named_variant_is_waited_for(autojump_clock: MockClock, lan: VirtualLan) -> None:
    newer = {**FILES, "many/00": b"new", "version.ini": b"1.1\n"}
    lan.set_default_link(SLOW)
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    await until(lambda: ben.offers("Quake"))
    wanted = next(game.content_hash for game in ben.peer.games() if game.id == "Quake")
    events = await begin(ben, variant=wanted)
    await until(lambda: done(ben) > 0.5 * TOTAL)
    anna.put_game("Quake", newer)
    await events.wait_for("download.paused")
    await trio.sleep(10 * limits.MOVE_OVER_S)
    assert operation(ben) is not None
    await ben.crash()
    await ben.start()
    events = ben.events()
    await trio.sleep(10 * limits.MOVE_OVER_S)
    assert operation(ben) is not None
    anna.put_game("Quake", FILES)
    assert await finished(events, ben) <= 0.55 * TOTAL


async def test_two_contents_of_the_same_sizes_are_not_mixed_by_a_restart(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    """Begun with one group; only the other is there afterwards."""
    other = game_of(2)
    assert {path: len(data) for path, data in other.items()} == {
        path: len(data) for path, data in FILES.items()
    }
    lan.set_default_link(SLOW)
    anna, ben = await start(lan, "a", FILES), await start(lan, "b")
    await begin(ben)
    await until(lambda: done(ben) > 0.6 * TOTAL)
    await ben.crash()
    await anna.crash()
    carl = await start(lan, "c", other)
    await ben.start()
    events = ben.events()
    fetched = await finished(events, ben, other)
    assert fetched >= TOTAL - 10
    assert "source.dropped" not in {one.type for one in events.seen}
    assert carl.is_running


async def test_an_update_fetches_only_the_blocks_that_differ(
    autojump_clock: MockClock, lan: VirtualLan
) -> None:
    chance = random.Random(3)
    old = {f"{name}.eti": chance.randbytes(300_000) for name in "xyz"}
    old["version.ini"] = b"1.0\n"
    changed = bytearray(old["y.eti"])
    changed[150_000:150_100] = bytes(100)
    new = {**old, "y.eti": bytes(changed), "version.ini": b"2.0\n"}
    anna, ben = await start(lan, "a", old), await start(lan, "b")
    assert await finished(await begin(ben), ben, old) == sum(map(len, old.values()))
    anna.put_game("Quake", new)
    await until(lambda: any(game.update_available for game in ben.peer.games()))
    assert await finished(await begin(ben), ben, new) <= 2 * BLOCK_BYTES + 4
