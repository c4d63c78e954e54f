"""The library is alive between two real processes: what one copies, the other's `watch` shows."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import Peer, command
from tests.machine import at_most

pytestmark = pytest.mark.alone


class Watching:
    """`lanspread watch --json` of one peer: its events, and when each was read."""

    def __init__(self, peer: Peer) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lanspread", "watch", "--json", "--state", str(peer.state)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[tuple[float, str]] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put((time.monotonic(), line))

    def next(self, kind: str, game_id: str, within_s: float) -> tuple[float, dict[str, Any]]:
        """The next event of this type that names the game. Raises `queue.Empty`."""
        until = time.monotonic() + within_s
        while True:
            at, line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            event = json.loads(line)
            if event["type"] == kind and game_id in event["data"]["games"]:
                return at, event

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[tuple[Peer, Peer, Watching]]:
    """Where games are copied to, a peer that is connected to it, and what that one shows."""
    with contextlib.ExitStack() as stack:
        source = Peer(tmp_path / "a")
        stack.callback(source.kill)
        other = Peer(tmp_path / "b", "--peer", source.ready()["listen"][0])
        stack.callback(other.kill)
        other.ready()
        watching = Watching(other)
        stack.callback(watching.end)
        wait_until_it_sees(source, watching)
        yield source, other, watching


def wait_until_it_sees(source: Peer, watching: Watching) -> None:
    """Once a new game is seen, everything stands: watches, session, subscription."""
    for _ in range(30):
        game = f"first-{uuid.uuid4().hex[:8]}"
        (source.games / game).mkdir()
        with contextlib.suppress(queue.Empty):
            watching.next("library.updated", game, 1.0)
            return
    raise AssertionError("nothing is seen")


def shown(peer: Peer, game_id: str) -> dict[str, Any] | None:
    """The game as `lanspread games` shows it; one that nobody can give is not listed."""
    games = json.loads(command(peer, "games", "--json").stdout)
    return next((game for game in games if game["id"] == game_id), None)


def test_a_copied_file_is_seen_at_once(scene: tuple[Peer, Peer, Watching]) -> None:
    """500 ms from the write to the line of the other's `watch`, best of three."""
    source, _, watching = scene
    game = f"game-{uuid.uuid4().hex[:8]}"
    (source.games / game).mkdir()
    watching.next("library.updated", game, 20)
    took = []
    for number in range(3):
        with contextlib.suppress(queue.Empty):  # what the settling of the last one brings
            while True:
                watching.next("library.updated", game, 1.0)
        wrote = time.monotonic()
        (source.games / game / f"file-{number}.dat").write_bytes(b"x" * 10_000)
        at, _ = watching.next("library.updated", game, 20)
        took.append(at - wrote)
    assert min(took) < at_most(0.5), took


def test_a_game_copied_in_slowly_is_told_once(scene: tuple[Peer, Peer, Watching]) -> None:
    """`version.ini` comes last; what follows it is one event, and then the game is all there."""
    source, other, watching = scene
    game = f"game-{uuid.uuid4().hex[:8]}"
    folder = source.games / game
    folder.mkdir()
    for number in range(5):
        (folder / f"data-{number}.eti").write_bytes(os.urandom(200_000))
        time.sleep(0.3)
    with contextlib.suppress(queue.Empty):
        while True:
            # As below: what the copying itself brings may come after the settling time.
            watching.next("library.updated", game, 5)
    assert shown(other, game) is None
    (folder / "version.ini").write_bytes(b"1.0\n")
    watching.next("library.updated", game, 20)
    found = shown(other, game)
    assert found is not None
    assert found["eti_version"] == "1.0"
    assert found["content_hash"] is not None
    assert len(found["peers"]) == 1
    with pytest.raises(queue.Empty):
        # Longer than the settling time, after which the game is looked at once more.
        watching.next("library.updated", game, 5)
