"""Five peers with games that see each other: the usual stage of a front-end's test."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import trio

from lanspread.testing.lan import VirtualLan
from lanspread.testing.peers import VirtualPeer, until_connected
from lanspread.testing.waiting import until

Library = Mapping[str, Mapping[str, bytes | int]]

# Two peers have Quake and two have Tetris: such a game has more than one source.
_QUAKE: Final = {"quake.eti": 120_000, "maps/e1m1.bsp": 30_000}
_TETRIS: Final = {"tetris.eti": 50_000}
PARTY: Final[Mapping[str, Library]] = {
    "anna": {"Quake": _QUAKE, "Chess": {"chess.eti": 20_000}},
    "ben": {"Doom": {"doom.eti": 80_000}},
    "carl": {"Tetris": _TETRIS, "Worms": {"worms.eti": 60_000}},
    "dora": {"Tetris": _TETRIS},
    "emil": {"Quake": _QUAKE},
}


async def start_party(
    lan: VirtualLan, libraries: Mapping[str, Library] = PARTY, timeout_s: float = 60.0
) -> tuple[VirtualPeer, ...]:
    """Start a peer with games in memory for each name, and wait until each sees all the others'.

    Raises `trio.TooSlowError` if that takes too long in virtual time.
    """
    peers = tuple(lan.add_peer(name) for name in libraries)
    async with trio.open_nursery() as nursery:
        for peer in peers:
            for game_id, files in libraries[peer.name].items():
                peer.put_game(game_id, files)
            nursery.start_soon(peer.start)
    await until_connected(peers, timeout_s)
    for peer in peers:
        await until(partial(_sees, peer, _elsewhere(libraries, peer.name)), timeout_s)
    return peers


def numbered_party(count: int) -> Mapping[str, Library]:
    """The first `count` libraries; more than there are get a game of their own each."""
    party = dict(list(PARTY.items())[:count])
    for number in range(len(party) + 1, count + 1):
        party[f"peer{number}"] = {f"Game {number}": {"game.eti": 10_000 * number}}
    return party


def _sees(peer: VirtualPeer, game_ids: set[str]) -> bool:
    """Whether a peer sees all these games at others, with their content known."""
    offered = {view.id for view in peer.peer.games() if view.peers and view.content_hash}
    return offered >= game_ids


def _elsewhere(libraries: Mapping[str, Library], name: str) -> set[str]:
    return {id for other, games in libraries.items() if other != name for id in games}
