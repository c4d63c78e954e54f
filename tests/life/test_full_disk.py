"""A disk that is full, for real: a small tmpfs holds the games folder of the peer that fetches."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from lanspread.cli.client import Client
from tests.cli.processes import Peer
from tests.life.support import MB, Version, done, shared, talking_to, tree, until_ended, until_shown

GAME = "alpha"
GAME_FILES = Version.make("1.0", data_bytes=20 * MB, installed_bytes=10 * MB)
SIZE = sum(map(len, GAME_FILES.files.values()))
UNPACKED = sum(map(len, GAME_FILES.installs.values()))


class SmallDisk:
    """A tmpfs, whose size can be changed while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: int) -> None:
        self._mount(f"remount,size={size}", str(self.folder))

    def mount(self, size: int) -> None:
        self._mount(f"size={size}", "-t", "tmpfs", "tmpfs", str(self.folder))

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def _mount(self, options: str, *arguments: str) -> None:
        done = subprocess.run(
            ["mount", "-o", options, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OSError(done.stderr.strip())


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """A tmpfs on `folder`. A machine that cannot mount one skips, and says so; not in CI."""
    folder.mkdir(parents=True, exist_ok=True)
    disk = SmallDisk(folder)
    try:
        disk.mount(size)
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED: a full disk needs a tmpfs, which needs root: {error}")
    try:
        yield disk
    finally:
        disk.unmount()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A peer with the game; its address."""
    folder = tmp_path_factory.mktemp("source")
    GAME_FILES.put(folder / "games" / GAME)
    peer = Peer(folder, "--max-up", "40")
    try:
        yield peer.ready()["listen"][0]
    finally:
        peer.kill()


async def test_no_space_from_the_start_is_said_at_once(tmp_path: Path, source: str) -> None:
    with small_disk(tmp_path / "b" / "games", SIZE - 5 * MB) as disk:
        peer = Peer(tmp_path / "b", "--peer", source)
        try:
            peer.ready()
            async with talking_to(peer) as client:
                await until_shown(client, GAME, lambda one: one["peers"])
                failed = await done(client, "game.download", id=GAME)
                assert (failed["type"], failed["data"]["code"]) == ("download.failed", "no_space")
                assert failed["data"]["remedy"]
                assert not list((disk.folder / GAME).glob("**/*.bin"))
                disk.resize(SIZE + 20 * MB)
                assert (await done(client, "game.download", id=GAME))["type"] == (
                    "download.finished"
                )
            assert shared(peer.games / GAME) == GAME_FILES.files
        finally:
            peer.kill()


async def test_full_in_the_middle_pauses_and_goes_on(tmp_path: Path, source: str) -> None:
    with small_disk(tmp_path / "b" / "games", SIZE + 10 * MB) as disk:
        peer = Peer(tmp_path / "b", "--peer", source)
        try:
            peer.ready()
            async with talking_to(peer) as client:
                await until_shown(client, GAME, lambda one: one["peers"])
                operation = (await client.call("game.download", id=GAME))["operation_id"]
                await _until(client, "download.progress")
                # Somebody else fills the disk.
                filler = disk.folder / "filler"
                # Without a buffer, which would have to be written when the file is closed.
                with (
                    filler.open("wb", buffering=0) as file,
                    pytest.raises(OSError, match="space"),
                ):
                    while True:
                        file.write(bytes(64 * 1024))
                paused = await _until(client, "download.paused")
                assert paused["data"]["reason"] == "disk_full"
                assert paused["data"]["needed_bytes"] > 0
                filler.unlink()
                await _until(client, "download.resumed")
                end = await until_ended(client, operation, "download")
                assert end["type"] == "download.finished"
                # What was there when the disk was full was not fetched again, but for what was on
                # its way.
                assert end["data"]["bytes_fetched"] <= SIZE + 16 * MB
            assert shared(peer.games / GAME) == GAME_FILES.files
        finally:
            peer.kill()


async def test_full_while_installing_leaves_everything_as_it_was(
    tmp_path: Path, source: str
) -> None:
    with small_disk(tmp_path / "b" / "games", SIZE + UNPACKED // 2) as disk:
        peer = Peer(tmp_path / "b", "--peer", source)
        try:
            peer.ready()
            async with talking_to(peer) as client:
                await until_shown(client, GAME, lambda one: one["peers"])
                assert (await done(client, "game.download", id=GAME))["type"] == (
                    "download.finished"
                )
                before = tree(disk.folder / GAME)
                failed = await done(client, "game.install", id=GAME)
                assert (failed["type"], failed["data"]["code"]) == ("install.failed", "no_space")
                assert failed["data"]["remedy"]
                assert tree(disk.folder / GAME) == before
                disk.resize(SIZE + UNPACKED + 20 * MB)
                assert (await done(client, "game.install", id=GAME))["type"] == "install.finished"
            assert tree(disk.folder / GAME / "local") == GAME_FILES.installs
        finally:
            peer.kill()


async def _until(client: Client, kind: str, within_s: float = 30) -> dict[str, Any]:
    with trio.fail_after(within_s):
        while True:
            event = await client.next_event()
            if event["type"] == kind:
                return event
