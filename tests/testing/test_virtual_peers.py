"""Whole peers on a virtual LAN, under the mock clock: the sockets, discovery and clocks fit."""

from __future__ import annotations

from pathlib import Path

import trio
from trio.testing import MockClock

from lanspread.commands import DownloadGame
from lanspread.peer import Peer
from lanspread.testing import Link, open_virtual_lan, open_virtual_peer


def make_game(folder: Path, name: str, size: int) -> Path:
    game = folder / "games" / name
    game.mkdir(parents=True)
    (game / "data.bin").write_bytes(bytes(number % 251 for number in range(size)))
    (game / "version.ini").write_text("20240101\n")
    return game


async def wait_until_offered(peer: Peer, game_id: str) -> None:
    while not any(game.id == game_id and game.peers for game in peer.games()):
        await trio.sleep(0.1)


async def test_a_game_crosses_a_lossy_virtual_lan(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    game = make_game(tmp_path / "anna", "chess", 300_000)
    link = Link(latency_s=0.001, loss=0.02, duplication=0.01, reordering=0.05)
    with trio.fail_after(120):
        async with open_virtual_lan(seed=7, link=link) as lan:
            anna, ben = lan.add_host("anna"), lan.add_host("ben")
            async with (
                open_virtual_peer(anna, tmp_path / "anna"),
                open_virtual_peer(ben, tmp_path / "ben") as fetching,
            ):
                await wait_until_offered(fetching, "chess")
                await fetching.execute(DownloadGame(id="chess"))
                fetched = tmp_path / "ben" / "games" / "chess"
                while not (fetched / "version.ini").exists():
                    await trio.sleep(0.1)
                for path in game.iterdir():
                    assert (fetched / path.name).read_bytes() == path.read_bytes()
