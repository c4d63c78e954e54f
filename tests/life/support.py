"""A game's life between real processes: what sources offer, what is on disk, what a peer says.

The games are small and their contents follow from version and path, so that any file on the disk
can be told to be of one version, of the other, or of neither.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from lanspread.cli.client import Client, find_peer, open_endpoint
from tests.cli.processes import Peer

MB = 1_000_000


def noise(seed: str, size: int) -> bytes:
    """Bytes that look random and depend on the seed alone."""
    return random.Random(seed).randbytes(size)


def archive(files: dict[str, bytes]) -> bytes:
    """An archive to install from, the same bytes each time."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as made:
        for path, content in files.items():
            made.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), content)
    return data.getvalue()


@attrs.frozen
class Version:
    """One version of a game: the files that travel, and what they install."""

    name: str
    files: dict[str, bytes]
    installs: dict[str, bytes]

    @classmethod
    def make(cls, name: str, *, data_bytes: int, installed_bytes: int) -> Version:
        installs = {
            "game.exe": noise(f"exe {name}", installed_bytes),
            "data/level.dat": noise(f"level {name}", installed_bytes // 2),
            "data/same.dat": noise("same", installed_bytes // 2),
            "settings.ini": b"volume=10\n",
        }
        files = {
            "game.eti": archive(installs),
            "extra/large.bin": noise(f"large {name}", data_bytes),
            **{f"extra/small/{n}.dat": noise(f"{n} {name}", 3_000) for n in range(40)},
            "extra/same.bin": noise("same", data_bytes // 4),
            "version.ini": f"{name}\n".encode(),
        }
        return cls(name, files, installs)

    def put(self, folder: Path) -> None:
        """Write it as a game's folder, the sentinel last."""
        for path, content in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by path."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def shared(folder: Path) -> dict[str, bytes]:
    """A game's files without `local/` and what is ours."""
    return {
        path: content
        for path, content in tree(folder).items()
        if not path.startswith(("local/", ".local", ".lanspread", ".version.ini"))
    }


@asynccontextmanager
async def talking_to(peer: Peer) -> AsyncIterator[Client]:
    """A front-end of a running peer, subscribed to its events."""
    state = str(peer.state)
    async with open_endpoint(find_peer(state), state) as client:
        await client.call("subscribe")
        yield client


async def game(client: Client, game_id: str) -> dict[str, Any] | None:
    """The game as the peer shows it now."""
    games = await client.call("games.list")
    return next((one for one in games if one["id"] == game_id), None)


async def until_shown(
    client: Client, game_id: str, wanted: Callable[[dict[str, Any]], object], within_s: float = 20
) -> dict[str, Any]:
    """Ask until the game looks as wanted."""
    with trio.fail_after(within_s):
        while True:
            found = await game(client, game_id)
            if found is not None and wanted(found):
                return found
            await trio.sleep(0.05)


async def until_ended(
    client: Client, operation_id: str, kind: str, within_s: float = 60
) -> dict[str, Any]:
    """The event that ends an operation of this kind."""
    ends = {f"{kind}.{end}" for end in ("finished", "failed", "cancelled")}
    with trio.fail_after(within_s):
        while True:
            event = await client.next_event()
            if event["data"].get("operation_id") == operation_id and event["type"] in ends:
                return event


async def done(client: Client, method: str, **parameters: Any) -> dict[str, Any]:
    """Have something done with a game and wait for its end."""
    answer = await client.call(method, **parameters)
    return await until_ended(client, answer["operation_id"], method.partition(".")[2])
