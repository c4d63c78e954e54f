"""Whole peers on a virtual LAN: games to move, events to wait for, trees to compare."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from lanspread import testing
from lanspread.commands import CancelGame, DownloadGame, OperationStarted
from lanspread.eventhub import PublishedEvent
from lanspread.peer import Peer
from lanspread.seams import Address
from lanspread.testing import EventLog, VirtualHost, VirtualPeer
from lanspread.testing.peers import BLOCK_BYTES
from lanspread.testing.waiting import DOWNLOAD_ENDS
from lanspread.transport import Connection, Unreachable
from lanspread.views import GameView, PeerState

BLOCK = BLOCK_BYTES
# Long before the peers' clock, so that nothing counts as just changed.
PAST = 1_600_000_000

SMALL_GAME: Mapping[str, bytes] = {
    "data.eti": random.Random(1).randbytes(100_000),
    "empty": b"",
    "a/very/deep/folder/of/its/own/file.bin": random.Random(2).randbytes(20_000),
    "with space and ünïcode 日本.txt": b"hello",
    "version.ini": b"1.0\r\nsecond line\n",
}


def large_game(seed: int = 1, size: int = 3_000_000) -> dict[str, bytes]:
    """Several chunks, some of many files."""
    rng = random.Random(seed)
    files = {"big.eti": rng.randbytes(size)}
    files.update({f"many/{number:03}.dat": rng.randbytes(3_000) for number in range(50)})
    files["version.ini"] = b"1.0\n"
    return files


def write_game(folder: Path, game_id: str, files: Mapping[str, bytes]) -> Path:
    """A game that was copied in by hand into `folder/games`, long ago."""
    game = folder / "games" / game_id
    for path, data in files.items():
        file = game / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, (PAST, PAST))
    return game


def read_game(folder: Path, game_id: str) -> dict[str, bytes]:
    """What `write_game` wrote, or a download; reserved names left out."""
    game = folder / "games" / game_id
    return {
        str(file.relative_to(game)): file.read_bytes()
        for file in game.rglob("*")
        if file.is_file() and not file.relative_to(game).parts[0].startswith(".")
    }


class Party:
    """Peers on folders of the test's own, until the test ends or switches them off."""

    def __init__(self) -> None:
        self._peers: dict[VirtualHost, VirtualPeer] = {}

    async def start(self, host: VirtualHost, folder: Path, **settings: object) -> Peer:
        """Run a peer on `host` with `folder/games` and `folder/state`; nothing is watched."""
        virtual = self._peers[host] = host.lan.add_peer(
            host, folder=folder, games=folder / "games", watched=False
        )
        return await virtual.start(**settings)

    def scope_of(self, host: VirtualHost) -> trio.CancelScope:
        """Cancelling it ends the peer on `host`, wherever it is."""
        return self._peers[host].scope

    def ended(self, host: VirtualHost) -> trio.Event:
        return self._peers[host].ended

    async def leave(self, host: VirtualHost) -> None:
        """Shut a peer down in order."""
        await self._peers[host].stop()

    async def kill(self, host: VirtualHost) -> None:
        """Switch the machine off: nobody hears of it."""
        await self._peers[host].crash()

    async def stop(self) -> None:
        for host in list(self._peers):
            await self.leave(host)


@asynccontextmanager
async def open_party() -> AsyncIterator[Party]:
    party = Party()
    try:
        yield party
    finally:
        with trio.CancelScope(deadline=trio.current_time() + 60, shield=True):
            await party.stop()


def listed(peer: Peer, game_id: str) -> bool:
    return any(found.id == game_id for found in peer.games())


def game(peer: Peer, game_id: str) -> GameView:
    """The game as `peer` shows it; it must be there."""
    return next(found for found in peer.games() if found.id == game_id)


def done_bytes(peer: Peer, game_id: str) -> int:
    """How far the game's operation is; it must be running."""
    operation = game(peer, game_id).operation
    assert operation is not None
    return operation.done_bytes


def offering(peer: Peer, game_id: str) -> tuple[str, ...]:
    """Who offers the game, as `peer` sees it, with content known."""
    found = game(peer, game_id) if listed(peer, game_id) else None
    return found.peers if found is not None and found.content_hash is not None else ()


def connected(peer: Peer) -> set[str]:
    return {view.peer_id for view in peer.peers() if view.state is PeerState.CONNECTED}


async def until(condition: Callable[[], object], within: float = 60.0) -> None:
    """Wait, in virtual time, until something is true."""
    await testing.until(condition, within)


def forbid_dialing(peer: Peer) -> None:
    """As a firewall in front of it that lets nothing out but answers."""

    async def refuse(address: Address) -> Connection:
        await trio.lowlevel.checkpoint()
        raise Unreachable(address, "a firewall")

    peer.sessions._endpoint.connect = refuse  # type: ignore[method-assign]


class Events(EventLog):
    """Everything that a peer reports from now on."""

    async def wait_for(self, *types: str, within: float = 300.0) -> PublishedEvent:  # type: ignore[override]
        return await super().wait_for(*types, timeout_s=within)


END = DOWNLOAD_ENDS


async def begin(peer: Peer, game_id: str, variant: str | None = None) -> str:
    answer = await peer.execute(DownloadGame(id=game_id, variant=variant))
    assert isinstance(answer, OperationStarted)
    return answer.operation_id


async def fetch(
    peer: Peer, game_id: str, variant: str | None = None, within: float = 300.0
) -> PublishedEvent:
    """Download and return the terminal event."""
    events = Events(peer)
    await begin(peer, game_id, variant)
    return await events.wait_for(*END, within=within)


async def cancel(peer: Peer, game_id: str) -> None:
    await peer.execute(CancelGame(id=game_id))
