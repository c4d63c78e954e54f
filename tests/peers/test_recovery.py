"""What an interrupted operation left is put right before a game is shown, and told of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread.commands import InstallGame
from lanspread.eventhub import PublishedEvent
from lanspread.events import PeerEvent
from lanspread.peer import Peer
from lanspread.testing import InlineThreads, VirtualLan, open_virtual_lan
from tests.peers.support import Events, Party, game, open_party, until, write_game
from tests.peers.test_local_operations import a_game, do, local_files, names

OWNED = ".lanspread_owned"


def intent(kind: str) -> dict[str, bytes]:
    return {".lanspread.json": json.dumps({"format": 1, "intent": kind, "version": "1"}).encode()}


async def told(peer: Peer) -> list[PublishedEvent]:
    """Everything that it reported since it started."""
    subscription = peer.events.subscribe((peer.instance, 0))
    batch = await subscription.next_batch()
    return [event for event in batch if event.type.startswith("recovery.")]


async def start(
    party: Party, lan: VirtualLan, folder: Path, files: Mapping[str, bytes], name: str = "a"
) -> Peer:
    write_game(folder, "Quake", files)
    return await party.start(lan.add_host(name), folder)


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("games/**/*"))


@pytest.mark.parametrize(
    ("left", "local"),
    [
        # Killed while it unpacked, between the two renames of an update, and in an uninstall.
        (
            intent("installing") | {f".local.installing/{OWNED}": b"", ".local.installing/x": b"1"},
            {},
        ),
        (
            intent("updating")
            | {".local.backup/save": b"level 7", f".local.installing/{OWNED}": b""},
            {"save": b"level 7"},
        ),
        (intent("uninstalling") | {f".local.backup/{OWNED}": b"", ".local.backup/x": b"1"}, {}),
        # Committed, and not cleaned up.
        ({f".local.backup/{OWNED}": b"", ".local.backup/x": b"1", "local/y": b"2"}, {"y": b"2"}),
    ],
)
async def test_what_a_crash_left_is_repaired_at_the_start(
    autojump_clock: MockClock, tmp_path: Path, left: Mapping[str, bytes], local: Mapping[str, bytes]
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await start(party, lan, tmp_path, {**a_game("1"), **left})
        assert local_files(tmp_path) == local
        view = game(ann, "Quake")
        assert (view.installed, view.availability) == (bool(local), "ready")
        assert names(tmp_path) <= {"quake.eti", "version.ini", "local", ".lanspread"}
        (event,) = await told(ann)
        assert (event.type, event.data["id"]) == ("recovery.repaired", "Quake")
        assert event.data["what"]


async def test_what_is_not_understood_is_not_touched_and_not_offered(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    left = {".lanspread.json": b"{never seen", f".local.backup/{OWNED}": b"", "local/x": b"1"}
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await start(party, lan, tmp_path, {**a_game("1"), **left})
        before = tree(tmp_path)
        assert game(ann, "Quake").availability == "local_only"
        (event,) = await told(ann)
        assert (event.type, event.data["id"]) == ("recovery.blocked", "Quake")
        assert event.data["why"]
        end, _ = await do(ann, InstallGame(id="Quake"))
        assert (end.type, end.data["code"]) == ("install.failed", "io_error")
        await ann.library.rescan("Quake")
        assert len(await told(ann)) == 1, "told once"
        assert tree(tmp_path) == before
        # Somebody looked at it.
        (tmp_path / "games/Quake/.lanspread.json").unlink()
        await ann.library.rescan("Quake")
        assert game(ann, "Quake").availability == "ready"
        assert [event.type for event in await told(ann)] == [
            "recovery.blocked",
            "recovery.repaired",
        ]


async def test_it_is_seen_although_the_index_knows_the_game_as_it_is(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """A blocked game is looked at again at every start, unchanged or not."""
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        host = lan.add_host("a")
        write_game(tmp_path, "Quake", {**a_game("1"), ".lanspread.json": b"{"})
        ann = await party.start(host, tmp_path)
        await until(lambda: ann.library.is_settled)
        await party.leave(host)
        again = await party.start(host, tmp_path)
        assert game(again, "Quake").availability == "local_only"
        assert [event.type for event in await told(again)] == ["recovery.blocked"]


async def test_what_is_nobodys_is_left_alone(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A folder with one of our names, without our marker, while nothing was interrupted."""
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await start(party, lan, tmp_path, {**a_game("1"), ".local.backup/mine": b"1"})
        assert game(ann, "Quake").availability == "ready"
        assert (tmp_path / "games/Quake/.local.backup/mine").read_bytes() == b"1"
        assert not await told(ann)


async def test_a_game_that_comes_later_is_repaired_when_it_is_met(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await party.start(lan.add_host("a"), tmp_path)
        events = Events(ann)
        write_game(tmp_path, "Quake", {**a_game("1"), **intent("installing")})
        event = await events.wait_for("recovery.repaired", "library.updated", within=1_000)
        # Before anybody sees the game.
        assert event.type == "recovery.repaired"
        await events.wait_for("library.updated")
        assert game(ann, "Quake").availability == "ready"


async def test_nothing_is_repaired_under_an_operation_which_waits_for_a_repair(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair that has begun is over before an operation begins; none begins during one."""
    order: list[str] = []
    run = InlineThreads.run

    async def slow_run(self: InlineThreads, call: object, *args: object, **more: object) -> object:
        if "_recover" in getattr(call, "__qualname__", ""):
            await trio.sleep(5)
        return await run(self, call, *args, **more)  # type: ignore[arg-type]

    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await start(party, lan, tmp_path, a_game("1"))
        publish = ann.events.publish

        def noting(event: PeerEvent) -> None:
            order.append(event.event_type)
            publish(event)

        monkeypatch.setattr(ann.events, "publish", noting)
        monkeypatch.setattr(ann.game_operations.local, "_publish", noting)
        monkeypatch.setattr(InlineThreads, "run", slow_run)
        write_game(tmp_path, "Quake", intent("installing"))
        ann.library.request_walk("Quake")
        # The walk has seen it, and the repair is under way.
        await until(lambda: ann.library._shelf._repairs._active)
        end, _ = await do(ann, InstallGame(id="Quake"))
        assert end.type == "install.finished"
        assert order.index("recovery.repaired") < order.index("install.begin")
        assert local_files(tmp_path) == {"quake.exe": b"program 1", "cfg/keys": b"wasd"}
        # During one: what it has on the disk in the middle of it is its own.
        order.clear()
        with ann.library.hold("Quake"):
            write_game(tmp_path, "Quake", intent("updating"))
            await ann.library.rescan("Quake")
            assert (tmp_path / "games/Quake/.lanspread.json").exists()
        await ann.library.rescan("Quake")
        assert not (tmp_path / "games/Quake/.lanspread.json").exists()
        assert order.count("recovery.repaired") == 1
