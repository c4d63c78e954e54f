"""What the API needs of a running peer; `lanspread.peer.Peer` is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import trio

from lanspread.commands import PeerCommand
from lanspread.eventhub import EventHub
from lanspread.views import GameView, PeerView, Picture, StatusView


class Runtime(Protocol):
    """A running peer, as a front-end's server sees it.

    `games`, `peers` and `status` never wait: taken without an await in between, they are one
    snapshot, and it belongs to `events.seq`. `execute` raises `LanspreadError`.
    `bytes_fetched` counts the chunks of games by their path, `quic` or `bulk`, since the start.
    `cover` is None unless `key` is the one of the game's `cover_url`.
    """

    @property
    def peer_id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def instance(self) -> str: ...

    @property
    def token(self) -> str: ...

    @property
    def events(self) -> EventHub: ...

    @property
    def shutdown_requested(self) -> trio.Event: ...

    def games(self) -> tuple[GameView, ...]: ...

    def peers(self) -> tuple[PeerView, ...]: ...

    def status(self) -> StatusView: ...

    def bytes_fetched(self) -> Mapping[str, int]: ...

    async def cover(self, game_id: str, key: str) -> Picture | None: ...

    async def execute(self, command: PeerCommand) -> object: ...
