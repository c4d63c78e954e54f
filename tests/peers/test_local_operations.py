"""Install, update, uninstall and remove on whole peers: what is on the disk, and what is told."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.commands import (
    DownloadGame,
    GameCommand,
    InstallGame,
    OperationStarted,
    PauseGame,
    RemoveGame,
    ResumeGame,
    UninstallGame,
    UpdateGame,
)
from lanspread.errors import Code, LanspreadError
from lanspread.eventhub import PublishedEvent
from lanspread.peer import Peer
from lanspread.testing import Link, VirtualLan, open_virtual_lan
from lanspread.views import OperationView
from tests.peers.support import (
    Events,
    Party,
    begin,
    done_bytes,
    fetch,
    game,
    listed,
    offering,
    open_party,
    until,
    write_game,
)


def packed(files: Mapping[str, bytes]) -> bytes:
    """An archive with these files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return made.getvalue()


def a_game(version: str, inside: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    inside = {"quake.exe": f"program {version}".encode(), "cfg/keys": b"wasd"} | dict(inside or {})
    return {"quake.eti": packed(inside), "version.ini": version.encode()}


def local_files(folder: Path, game_id: str = "Quake") -> dict[str, bytes]:
    root = folder / "games" / game_id / "local"
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file()
    }


def names(folder: Path, game_id: str = "Quake") -> set[str]:
    return {path.name for path in (folder / "games" / game_id).iterdir()}


async def start(peer: Peer, command: GameCommand) -> str:
    answer = await peer.execute(command)
    assert isinstance(answer, OperationStarted)
    return answer.operation_id


async def do(peer: Peer, command: GameCommand) -> tuple[PublishedEvent, list[PublishedEvent]]:
    """Carry out a command; its last event, and all events that came up to it."""
    events = Events(peer)
    operation_id = await start(peer, command)
    area = command.method.partition(".")[2]
    end = await events.wait_for(f"{area}.finished", f"{area}.failed", f"{area}.cancelled")
    assert end.data["operation_id"] == operation_id
    assert game_or_none(peer, command.id) is None or game(peer, command.id).operation is None
    return end, events.seen


def game_or_none(peer: Peer, game_id: str) -> object:
    return game(peer, game_id) if listed(peer, game_id) else None


async def test_a_game_is_installed_updated_with_a_save_kept_uninstalled_and_removed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        write_game(tmp_path / "a", "Quake", a_game("1"))
        host_a = lan.add_host("a")
        await party.start(host_a, tmp_path / "a")
        ben = await party.start(lan.add_host("b"), tmp_path / "b")
        await until(lambda: offering(ben, "Quake"))
        assert (await fetch(ben, "Quake")).type == "download.finished"

        end, seen = await do(ben, InstallGame(id="Quake"))
        assert end.type == "install.finished"
        assert end.data["version"] == "1"
        assert [event.type for event in seen if event.type.startswith("install.")] == [
            "install.begin",
            "install.finished",
        ]
        begun = next(event for event in seen if event.type == "install.begin")
        assert begun.data["version"] == "1"
        assert begun.data["total_bytes"] > 0
        assert local_files(tmp_path / "b") == {"quake.exe": b"program 1", "cfg/keys": b"wasd"}
        view = game(ben, "Quake")
        assert (view.installed, view.installed_version) == (True, "1")
        assert not view.update_available

        # Once more: there is nothing to do.
        inode = (tmp_path / "b/games/Quake/local").stat().st_ino
        assert (await do(ben, InstallGame(id="Quake")))[0].type == "install.finished"
        assert (tmp_path / "b/games/Quake/local").stat().st_ino == inode

        (tmp_path / "b/games/Quake/local/save1").write_bytes(b"level 7")
        (tmp_path / "b/games/Quake/local/cfg/keys").write_bytes(b"esdf")
        await party.leave(host_a)
        write_game(tmp_path / "a", "Quake", a_game("2.0"))
        await party.start(host_a, tmp_path / "a")
        await until(lambda: game(ben, "Quake").update_available and offering(ben, "Quake"))

        end, seen = await do(ben, UpdateGame(id="Quake"))
        kinds = [event.type for event in seen if event.type.partition(".")[0] in AREAS]
        assert [kind for kind in kinds if not kind.endswith("progress")] == [
            "download.begin",
            "download.finished",
            "update.begin",
            "update.finished",
        ]
        assert len({e.data["operation_id"] for e in seen if "operation_id" in e.data}) == 1
        assert end.data["kept"] == ["cfg/keys", "save1"]
        assert local_files(tmp_path / "b") == {
            "quake.exe": b"program 2.0",
            "cfg/keys": b"esdf",
            "save1": b"level 7",
        }
        view = game(ben, "Quake")
        assert (view.local_version, view.installed_version) == ("2.0", "2.0")
        assert not view.update_available

        end, _ = await do(ben, RemoveGame(id="Quake"))
        assert end.type == "remove.finished"
        view = game(ben, "Quake")
        assert (view.downloaded, view.installed) == (False, True)
        assert names(tmp_path / "b") == {".lanspread", "local"}

        end, _ = await do(ben, UninstallGame(id="Quake"))
        assert (end.type, end.data["version"]) == ("uninstall.finished", "2.0")
        # Nothing is left of it.
        assert not (tmp_path / "b/games/Quake").exists()
        assert game(ben, "Quake").availability is None


AREAS = ("download", "install", "update", "uninstall", "remove")


async def alone(
    party: Party, lan: VirtualLan, folder: Path, files: Mapping[str, bytes], **settings: object
) -> Peer:
    """A peer that nobody else is with, and its one game."""
    write_game(folder, "Quake", files)
    return await party.start(lan.add_host("a"), folder, **settings)


async def test_repeated_it_is_the_running_one_and_another_kind_is_busy(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await alone(party, lan, tmp_path, a_game("1"))
        events = Events(ann)
        # In one step of this task: nothing of it is done yet.
        first = ann.game_operations.execute(InstallGame(id="Quake"))
        assert ann.game_operations.execute(InstallGame(id="quake")) == first
        others = [UpdateGame(id="Quake"), UninstallGame(id="Quake"), DownloadGame(id="Quake")]
        for command in (*others, RemoveGame(id="Quake", force=True)):
            with pytest.raises(LanspreadError) as error:
                ann.game_operations.execute(command)
            assert error.value.code is Code.BUSY
        view = game(ann, "Quake")
        assert view.operation is not None
        assert (view.operation.operation_id, view.operation.kind) == (first, "install")
        assert view.availability == "downloading"
        await events.wait_for("install.finished")
        assert game(ann, "Quake").availability == "ready"
        # It is over: asked again it is another one.
        assert await start(ann, InstallGame(id="Quake")) != first


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (InstallGame(id="nothing"), Code.NOT_FOUND),
        (UpdateGame(id="nothing"), Code.NOT_FOUND),
        (UninstallGame(id="nothing"), Code.NOT_FOUND),
        (RemoveGame(id="nothing"), Code.NOT_FOUND),
        (UninstallGame(id="Quake"), Code.NOT_AVAILABLE),
        (InstallGame(id="Begun"), Code.NOT_AVAILABLE),
        (RemoveGame(id="Begun"), Code.NOT_AVAILABLE),
    ],
)
async def test_what_cannot_be_done_is_said_at_once(
    autojump_clock: MockClock, tmp_path: Path, command: GameCommand, code: Code
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        write_game(tmp_path, "Begun", {"quake.eti": b"half"})
        ann = await alone(party, lan, tmp_path, a_game("1"))
        with pytest.raises(LanspreadError) as error:
            await ann.execute(command)
        assert error.value.code is code
        assert error.value.remedy


@pytest.mark.parametrize(
    "command",
    [
        InstallGame(id="Doom"),
        UpdateGame(id="Doom"),
        UninstallGame(id="Doom"),
        RemoveGame(id="Doom"),
        DownloadGame(id="Doom"),
    ],
)
async def test_folders_that_collide_are_named_as_the_reason(
    autojump_clock: MockClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: GameCommand,
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await alone(party, lan, tmp_path, a_game("1"))
        # Not every disk can hold two such folders.
        monkeypatch.setattr(ann.library, "is_withheld", lambda game_id: game_id == "Doom")
        with pytest.raises(LanspreadError, match="several folders") as error:
            await ann.execute(command)
        assert error.value.code is Code.NOT_AVAILABLE


async def test_what_is_only_at_others_is_not_available(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        await alone(party, lan, tmp_path / "a", a_game("1"))
        ben = await party.start(lan.add_host("b"), tmp_path / "b")
        await until(lambda: offering(ben, "Quake"))
        for command in (InstallGame(id="Quake"), RemoveGame(id="Quake", force=True)):
            with pytest.raises(LanspreadError) as error:
                await ben.execute(command)
            assert error.value.code is Code.NOT_AVAILABLE
        # An update fetches it, and has nothing to update then.
        end, seen = await do(ben, UpdateGame(id="Quake"))
        assert (end.type, end.data["kept"]) == ("update.finished", [])
        assert "download.finished" in [event.type for event in seen]
        assert (game(ben, "Quake").downloaded, game(ben, "Quake").installed) == (True, False)


async def test_remove_waits_for_nobody_who_fetches_unless_it_is_forced(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await alone(party, lan, tmp_path, a_game("1"))
        events = Events(ann)

        async def read() -> None:
            with ann._access.reading("Quake"):
                with pytest.raises(LanspreadError) as error:
                    await ann.execute(RemoveGame(id="Quake"))
                assert error.value.code is Code.IN_USE
                await start(ann, RemoveGame(id="Quake", force=True))
                # The reader is cancelled.
                await trio.sleep_forever()

        with trio.fail_after(60):
            await read()
        await events.wait_for("remove.finished")
        assert not (tmp_path / "games/Quake").exists()


async def test_what_was_copied_here_is_removed_only_by_force(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await alone(party, lan, tmp_path, a_game("1"))
        end, _ = await do(ann, RemoveGame(id="Quake"))
        assert (end.type, end.data["code"]) == ("remove.failed", "folder_not_empty")
        assert game(ann, "Quake").availability == "ready"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"quake.exe": b"program"}, "nothing_to_install"),
        ({"quake.eti": b"no archive at all"}, "archive_unsupported"),
        ({"quake.eti": packed({"a": b"x" * 5_000})[:2_000]}, "archive_damaged"),
        ({"quake.eti": packed({"../evil": b"x"})}, "unsafe_path"),
    ],
)
async def test_what_cannot_be_installed_fails_with_a_remedy_and_changes_nothing(
    autojump_clock: MockClock, tmp_path: Path, files: Mapping[str, bytes], code: str
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await alone(party, lan, tmp_path, {**files, "version.ini": b"1"})
        end, _ = await do(ann, InstallGame(id="Quake"))
        assert (end.type, end.data["code"]) == ("install.failed", code)
        assert end.data["remedy"]
        assert names(tmp_path) - {".lanspread"} == {*files, "version.ini"}
        assert not game(ann, "Quake").installed


async def test_a_failing_fetch_fails_the_update_and_leaves_what_is_installed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        host = lan.add_host("a")
        write_game(tmp_path / "a", "Quake", a_game("2.0"))
        await party.start(host, tmp_path / "a")
        write_game(tmp_path / "b", "Quake", a_game("1"))
        ben = await party.start(lan.add_host("b"), tmp_path / "b")
        assert (await do(ben, InstallGame(id="Quake")))[0].type == "install.finished"
        await until(lambda: game(ben, "Quake").update_available and offering(ben, "Quake"))

        def broken(*_: object) -> None:
            raise OSError(5, "Input/output error")

        ben.library.make_game = broken  # type: ignore[method-assign, assignment]
        end, seen = await do(ben, UpdateGame(id="Quake"))
        assert (end.type, end.data["code"]) == ("update.failed", "io_error")
        failed = [event for event in seen if event.type == "download.failed"]
        assert [event.data["operation_id"] for event in failed] == [end.data["operation_id"]]
        assert local_files(tmp_path / "b")["quake.exe"] == b"program 1"


@pytest.mark.parametrize("paused", [False, True])
async def test_an_update_that_was_killed_in_its_download_is_one_after_the_restart(
    autojump_clock: MockClock, tmp_path: Path, paused: bool
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        lan.set_default_link(Link(bytes_per_s=400_000.0))
        new = {**a_game("2.0"), "big": random.Random(1).randbytes(500_000)}
        write_game(tmp_path / "a", "Quake", new)
        await party.start(lan.add_host("a"), tmp_path / "a")
        write_game(tmp_path / "b", "Quake", a_game("1"))
        host = lan.add_host("b")
        ben = await party.start(host, tmp_path / "b")
        assert (await do(ben, InstallGame(id="Quake")))[0].type == "install.finished"
        await until(lambda: game(ben, "Quake").update_available and offering(ben, "Quake"))
        await start(ben, UpdateGame(id="Quake"))
        await until(lambda: done_bytes(ben, "Quake") > 150_000)
        if paused:
            await ben.execute(PauseGame(id="Quake"))
            await trio.sleep(5)
        await party.kill(host)
        ben = await party.start(host, tmp_path / "b")
        events = Events(ben)
        await until(lambda: operation_of(ben) is not None)
        found = operation_of(ben)
        assert found is not None
        assert found.kind == "update"
        if paused:
            # It is there before it has looked at its plan.
            await until(lambda: (op := operation_of(ben)) is not None and op.state == "paused")
            await ben.execute(ResumeGame(id="Quake"))
        # Whoever asks again joins it.
        assert await start(ben, UpdateGame(id="Quake")) == found.operation_id
        end = await events.wait_for("update.finished", "update.failed")
        assert end.type == "update.finished", end.data
        assert local_files(tmp_path / "b")["quake.exe"] == b"program 2.0"


def operation_of(peer: Peer) -> OperationView | None:
    return game(peer, "Quake").operation if listed(peer, "Quake") else None


@pytest.mark.parametrize("command", [InstallGame(id="Quake"), UpdateGame(id="Quake")])
async def test_the_disk_and_not_the_library_says_what_is_installed(
    autojump_clock: MockClock, tmp_path: Path, command: GameCommand
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await alone(party, lan, tmp_path, a_game("1"))
        await do(ann, InstallGame(id="Quake"))
        shutil.rmtree(tmp_path / "games/Quake/local")
        assert game(ann, "Quake").installed
        end, _ = await do(ann, command)
        assert end.type.endswith(".finished")
        # An update only fetches what is not installed.
        assert bool(local_files(tmp_path)) == isinstance(command, InstallGame)
        assert game(ann, "Quake").installed == isinstance(command, InstallGame)


async def test_very_many_kept_files_are_not_all_named(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_IDS_PER_EVENT", 3)
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        write_game(tmp_path / "b", "Quake", a_game("1"))
        host = lan.add_host("b")
        ben = await party.start(host, tmp_path / "b")
        await do(ben, InstallGame(id="Quake"))
        local = tmp_path / "b/games/Quake/local"
        for version, count in (("2", 3), ("3", 5)):
            for number in range(count):
                (local / f"save{number}").write_bytes(b"s")
            write_game(tmp_path / "b", "Quake", a_game(version))
            await party.leave(host)
            ben = await party.start(host, tmp_path / "b")
            end, _ = await do(ben, UpdateGame(id="Quake"))
            assert end.data["kept"] == ["save0", "save1", "save2"]
            assert end.data.get("kept_omitted") == (2 if count == 5 else None)
            assert len(list(local.glob("save*"))) == count


@pytest.mark.parametrize("archive", [True, False])
async def test_auto_install_installs_and_then_updates_what_was_fetched(
    autojump_clock: MockClock, tmp_path: Path, archive: bool
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ben = await party.start(lan.add_host("b"), tmp_path / "b", auto_install=True)
        host = lan.add_host("a")
        for version, how in (("1", "install"), ("2.0", "update")):
            files = a_game(version) if archive else {"x": b"", "version.ini": version.encode()}
            write_game(tmp_path / "a", "Quake", files)
            await party.start(host, tmp_path / "a")
            await until(partial(_is_offered, ben, version))
            events = Events(ben)
            await begin(ben, "Quake")
            await events.wait_for("download.finished")
            if archive:
                await events.wait_for(f"{how}.finished")
                assert game(ben, "Quake").installed_version == version
            else:
                # Nothing to install, and no complaint about it.
                await trio.sleep(5)
                assert game(ben, "Quake").operation is None
                assert not game(ben, "Quake").installed
            await party.leave(host)


def _is_offered(peer: Peer, version: str) -> bool:
    return bool(offering(peer, "Quake")) and game(peer, "Quake").eti_version == version
