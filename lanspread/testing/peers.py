"""Whole peers on a virtual LAN: their folders, their settings, their start."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs

from lanspread.config import Config
from lanspread.peer import Peer, open_peer
from lanspread.testing.lan import VirtualHost


def open_virtual_peer(
    host: VirtualHost, folder: Path, *, mdns: bool = True, **settings: object
) -> AbstractAsyncContextManager[Peer]:
    """Run a peer on `host` until the block is left, with `folder/games` and `folder/state`.

    Both are made if they are missing; a second start on the same folder is the same peer again.
    `settings` are fields of `Config`. Give every peer an `api` of its own only if it has one.
    """
    games, state = folder / "games", folder / "state"
    for path in (games, state):
        path.mkdir(parents=True, exist_ok=True)
    config = Config(games=str(games), state=str(state), name=host.name, mdns=mdns)
    for name, value in settings.items():
        config = attrs.evolve(config, **{name: value})  # type: ignore[arg-type]
    return open_peer(config, host.lan.seams(host, mdns=config.mdns))
