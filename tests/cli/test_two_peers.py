"""Two peers on one machine, as a person starts them: found, listed, fetched, byte for byte."""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import Peer, command
from tests.machine import at_most

# Other peers may be about on this machine's loopback: the game has a name of its own.
GAME = f"game-{uuid.uuid4().hex[:12]}"


def make_game(folder: Path) -> dict[str, bytes]:
    rng = random.Random(5)
    files = {
        f"maps/{number:03} ü.dat": rng.randbytes(rng.randrange(9_000)) for number in range(200)
    }
    files |= {"large.eti": rng.randbytes(20_000_000), "empty": b"", "version.ini": b"3.1\n"}
    for path, data in files.items():
        file = folder / GAME / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return files


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "a", tmp_path / "b"


def listed(peer: Peer) -> dict[str, Any] | None:
    games = json.loads(command(peer, "games", "--json").stdout)
    return next((game for game in games if game["id"] == GAME and game["peers"]), None)


@pytest.mark.parametrize("by", ["mdns", "peer"])
def test_found_listed_and_fetched(folders: tuple[Path, Path], by: str) -> None:
    files = make_game(folders[0] / "games")
    source = Peer(folders[0], mdns=by == "mdns")
    fetching = None
    try:
        address = source.ready()["listen"][0]
        arguments = () if by == "mdns" else ("--peer", address)
        fetching = Peer(folders[1], *arguments, mdns=by == "mdns")
        fetching.ready()
        started = time.monotonic()
        while listed(fetching) is None:
            assert time.monotonic() - started < at_most(3), "not listed within 3 s"
        done = command(fetching, "get", GAME)
        assert done.returncode == 0, done.stderr
        target = fetching.games / GAME
        fetched = {
            str(file.relative_to(target)): file.read_bytes()
            for file in target.rglob("*")
            if file.is_file() and ".lanspread" not in file.parts
        }
        assert fetched == files
        # The sentinel came last: nothing of the game was changed after it.
        changed = {path: os.stat(target / path).st_ctime_ns for path in files}
        assert max(changed, key=lambda path: changed[path]) == "version.ini"
        for peer in (source, fetching):
            code, seconds, _, err = peer.end()
            assert (code, "Traceback" in err) == (0, False)
            assert seconds < at_most(2)
    finally:
        source.kill()
        if fetching is not None:
            fetching.kill()


def test_a_signal_in_the_middle_of_a_download_ends_both_sides_at_once(
    folders: tuple[Path, Path],
) -> None:
    make_game(folders[0] / "games")
    source = Peer(folders[0])
    fetching = None
    try:
        address = source.ready()["listen"][0]
        fetching = Peer(folders[1], "--peer", address, "--max-down", "4")
        fetching.ready()
        while listed(fetching) is None:
            pass
        assert command(fetching, "get", GAME, "--no-wait").returncode == 0
        while json.loads(command(source, "status", "--json").stdout)["up_rate"] == 0:
            pass
        for peer in (source, fetching):
            code, seconds, _, err = peer.end()
            assert (code, "Traceback" in err) == (0, False)
            assert seconds < at_most(2)
        assert not (fetching.games / GAME / "version.ini").exists()
        assert not (fetching.state / "api.json").exists()
    finally:
        source.kill()
        if fetching is not None:
            fetching.kill()
