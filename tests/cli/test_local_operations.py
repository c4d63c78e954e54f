"""A game's life by commands, with real peers: fetched and installed, updated, removed."""

from __future__ import annotations

import io
import json
import subprocess
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import Peer, command

GAME = f"game-{uuid.uuid4().hex[:12]}"


def put(folder: Path, version: str) -> None:
    """The game in a games folder, with an archive to install it from."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("game.exe", f"program {version}" * 1_000)
        archive.writestr("cfg/keys", "wasd")
    game = folder / "games" / GAME
    game.mkdir(parents=True, exist_ok=True)
    (game / "game.eti").write_bytes(made.getvalue())
    (game / "version.ini").write_text(version, encoding="utf-8")


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[tuple[Peer, Peer]]:
    put(tmp_path / "a", "1.0")
    source = Peer(tmp_path / "a")
    fetching = None
    try:
        # Slow enough to be paused in the middle of a larger game.
        fetching = Peer(tmp_path / "b", "--peer", source.ready()["listen"][0], "--max-down", "1")
        fetching.ready()
        yield source, fetching
        for peer in (fetching, source):
            code, _, _, err = peer.end()
            assert (code, "Traceback" in err) == (0, False)
    finally:
        source.kill()
        if fetching is not None:
            fetching.kill()


def shown(peer: Peer) -> dict[str, Any] | None:
    games = json.loads(command(peer, "games", "--json").stdout)
    return next((game for game in games if game["id"] == GAME), None)


def view(peer: Peer) -> dict[str, Any]:
    game = shown(peer)
    assert game is not None
    return game


def events(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, (done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_life_of_a_game(peers: tuple[Peer, Peer]) -> None:
    source, fetching = peers
    while shown(fetching) is None:
        pass
    told = events(command(fetching, "get", GAME, "--install", "--json"))
    kinds = [event["type"] for event in told if not event["type"].endswith(".progress")]
    assert kinds == ["download.begin", "download.finished", "install.begin", "install.finished"]
    local = fetching.games / GAME / "local"
    assert (local / "cfg/keys").read_text(encoding="utf-8") == "wasd"
    game = view(fetching)
    assert (game["installed"], game["installed_version"]) == (True, "1.0")

    # Once more there is nothing to do, and that is a success.
    assert events(command(fetching, "get", GAME, "--install", "--json"))[-1]["type"] == (
        "update.finished"
    )
    assert "installed" in command(fetching, "install", GAME).stdout

    (local / "save").write_bytes(b"level 7")
    put(source.games.parent, "2.00")
    while not view(fetching)["update_available"]:
        pass
    last = events(command(fetching, "update", GAME, "--json"))[-1]
    assert (last["type"], last["data"]["kept"]) == ("update.finished", ["save"])
    assert (local / "save").read_bytes() == b"level 7"
    assert "program 2.00" in (local / "game.exe").read_text(encoding="utf-8")

    removed = command(fetching, "remove", GAME)
    assert (removed.returncode, "removed" in removed.stdout) == (0, True)
    assert (local / "save").exists()
    assert not (fetching.games / GAME / "version.ini").exists()
    # Nobody is at a terminal, so nobody is asked.
    assert events(command(fetching, "uninstall", GAME, "--json"))[-1]["type"] == (
        "uninstall.finished"
    )
    assert not (fetching.games / GAME).exists()

    for words, code in (
        (("install", GAME), 1),
        (("uninstall", "no-such-game"), 4),
        (("cancel", GAME), 4),
        (("pause", GAME), 4),
    ):
        failed = command(fetching, *words)
        assert failed.returncode == code, failed.stderr
        assert failed.stderr.startswith("lanspread: ")
    failed = command(source, "remove", GAME, "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout.splitlines()[-1])["data"]["code"] == "folder_not_empty"
    assert command(source, "remove", GAME, "--force").returncode == 0
    assert not (source.games / GAME).exists()


def test_a_download_is_paused_resumed_and_cancelled(peers: tuple[Peer, Peer]) -> None:
    source, fetching = peers
    game = source.games / GAME
    (game / "large").write_bytes(bytes(40_000_000))
    (game / "version.ini").write_text("1.1", encoding="utf-8")
    while (found := shown(fetching)) is None or found["eti_version"] != "1.1":
        pass
    assert command(fetching, "get", GAME, "--no-wait").returncode == 0
    paused = events(command(fetching, "pause", GAME, "--json"))[-1]
    assert (paused["type"], paused["data"]["reason"]) == ("download.paused", "user")
    assert view(fetching)["operation"]["state"] == "paused"
    assert command(fetching, "pause", GAME).stdout == f"{GAME}: paused\n"
    # Its event is past, so it has no number; otherwise it is one.
    (again,) = events(command(fetching, "pause", GAME, "--json"))
    assert (again["seq"], again["type"]) == (None, "download.paused")
    assert again["time"].endswith("Z")
    assert again["data"]["id"] == GAME
    assert set(again["data"]) == {"operation_id", "id", "reason"}
    busy = command(fetching, "install", GAME)
    assert (busy.returncode, "busy" in busy.stderr) == (1, True)
    assert command(fetching, "resume", GAME).returncode == 0
    assert view(fetching)["operation"]["state"] != "paused"
    assert events(command(fetching, "cancel", GAME, "--json"))[-1]["type"] == "download.cancelled"
    assert view(fetching)["operation"] is None
