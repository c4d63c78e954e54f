"""`kill -9` at random moments of a game's life: nothing of the user's is lost, nothing broken told.

One peer is killed again and again while it downloads, replaces, installs, updates, uninstalls and
removes a game that two others offer in two versions. Each time the disk is looked at before the
next start, and after it what recovery made of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from lanspread.cli.client import Client
from tests.cli.processes import Peer
from tests.conftest import SOAK
from tests.life.support import (
    MB,
    Version,
    done,
    game,
    shared,
    talking_to,
    tree,
    until_ended,
    until_shown,
)

ROUNDS = 200 if SOAK else 8
GAME = "alpha"
ONE = Version.make("1.0", data_bytes=3 * MB, installed_bytes=4 * MB)
TWO = Version.make("2.0", data_bytes=3 * MB, installed_bytes=4 * MB)
# A first guess at how long each takes, in seconds.
TAKES_S = {"download": 0.9, "update": 1.1, "install": 0.25, "uninstall": 0.1, "remove": 0.1}


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[list[str]]:
    """Two peers that offer one version each; their addresses."""
    with ExitStack() as stack:
        peers = []
        for version in (ONE, TWO):
            version.put(tmp_path / version.name / "games" / GAME)
            peer = Peer(tmp_path / version.name)
            stack.callback(peer.kill)
            peers.append(peer)
        yield [peer.ready()["listen"][0] for peer in peers]


class Life:
    """What was done with the game so far, and so what may be on the disk."""

    def __init__(self, folder: Path, addresses: list[str], rng: random.Random) -> None:
        self.folder = folder
        self.rng = rng
        self.arguments = [argument for one in addresses for argument in ("--peer", one)]
        self.saves: dict[str, bytes] = {}
        self.uninstalling = False
        self.log: list[str] = []
        # What each took when nobody interfered, in seconds: a kill comes somewhere in it.
        self.takes_s = dict(TAKES_S)

    @property
    def game(self) -> Path:
        return self.folder / "games" / GAME

    async def one_round(self) -> None:
        """Start, see what recovery left, do something or nothing, and be killed in the middle of
        something else."""
        peer = Peer(self.folder, *self.arguments)
        try:
            peer.ready()
            self.check_recovered()
            async with talking_to(peer) as client:
                for _ in range(self.rng.randrange(3)):
                    await self.do_something(client)
                self.play()
                kind, _ = await self.begin_something(client)
                await trio.sleep(self.rng.uniform(0, self.takes_s[kind]))
                self.log.append("killed")
        finally:
            peer.kill()
        self.check_disk()

    def play(self) -> None:
        """The user plays, and saves."""
        if (self.game / "local").is_dir():
            name = f"save-{len(self.saves)}.dat"
            self.saves[name] = self.rng.randbytes(1_000)
            (self.game / "local" / name).write_bytes(self.saves[name])

    async def do_something(self, client: Client) -> None:
        """Something that nobody interrupts."""
        began = trio.current_time()
        kind, operation_id = await self.begin_something(client)
        if operation_id is None:
            return
        end = await until_ended(client, operation_id, kind)
        assert end["type"] == f"{kind}.finished", (end, self.log)
        self.takes_s[kind] = trio.current_time() - began
        if kind == "uninstall":
            self.saves.clear()
            self.uninstalling = False

    async def begin_something(self, client: Client) -> tuple[str, str | None]:
        """(kind, operation) of what was begun, or of what went on by itself."""
        shown = await until_shown(client, GAME, lambda one: len(one["peers"]) >= 1)
        if shown["operation"] is not None:
            kind = str(shown["operation"]["kind"])
            self.log.append(f"{kind} went on")
            return kind, str(shown["operation"]["operation_id"])
        choices = ["download"]
        if shown["downloaded"]:
            choices = ["install", "install", "install", "download", "remove"]
        if shown["downloaded"] and shown["installed"]:
            choices = ["update", "update", "update", "download", "install", "uninstall"]
        kind = self.rng.choice(choices)
        self.log.append(kind)
        self.uninstalling = self.uninstalling or kind == "uninstall"
        parameters: dict[str, Any] = {"id": GAME}
        if kind == "download":
            variants = (await client.call("game.get", id=GAME))["variants"]
            parameters["variant"] = self.rng.choice(variants)["manifest_hash"]
        answer = await client.call(f"game.{kind}", **parameters)
        return kind, str(answer["operation_id"])

    def check_disk(self) -> None:
        """Straight after the kill: what says that it is whole is whole."""
        if (self.game / "version.ini").is_file():
            assert shared(self.game) in (ONE.files, TWO.files), self.log
        if (self.game / "local").is_dir():
            self.check_local()
        elif self.saves and not self.uninstalling:
            assert self.saves.items() <= tree(self.game / ".local.backup").items(), self.log

    def check_local(self) -> None:
        local = tree(self.game / "local")
        local.pop(".lanspread_owned", None)
        assert self.saves.items() <= local.items(), self.log
        rest = {path: data for path, data in local.items() if path not in self.saves}
        assert rest in (ONE.installs, TWO.installs), (self.log, sorted(rest))

    def check_recovered(self) -> None:
        """After a start: no scratch is left, and all or nothing of an install."""
        names = {path.name for path in self.game.iterdir()} if self.game.is_dir() else set()
        scratch = {".lanspread.json", ".local.installing", ".local.backup", ".version.ini.tmp"}
        assert not names & scratch, (self.log, names)
        if "local" in names:
            self.check_local()
        else:
            assert not self.saves or self.uninstalling, self.log
            self.saves.clear()
        self.uninstalling = False


async def test_killed_at_random_moments(tmp_path: Path, sources: list[str]) -> None:
    rng = random.Random(7)
    life = Life(tmp_path / "victim", sources, rng)
    for _ in range(ROUNDS):
        await life.one_round()
    print(life.log)
    peer = Peer(life.folder, *life.arguments)
    try:
        peer.ready()
        life.check_recovered()
        async with talking_to(peer) as client:
            await until_shown(client, GAME, lambda one: one["eti_version"] == "2.0")
            shown = await game(client, GAME)
            if shown is not None and shown["operation"] is not None:
                await client.call("game.cancel", id=GAME)
                await until_shown(client, GAME, lambda one: one["operation"] is None)
            assert (await done(client, "game.update", id=GAME))["type"] == "update.finished"
            assert (await done(client, "game.install", id=GAME))["type"] == "install.finished"
            shown = await until_shown(client, GAME, lambda one: one["installed"])
            assert (shown["local_version"], shown["installed_version"]) == ("2.0", "2.0")
        assert shared(life.game) == TWO.files
        assert tree(life.game / "local") == {**TWO.installs, **life.saves}
        code, _, _, err = peer.end()
        assert (code, "Traceback" in err) == (0, False)
    finally:
        peer.kill()
