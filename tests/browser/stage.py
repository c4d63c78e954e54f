"""A peer that is only played, for what real ones cannot be made to show at will.

It serves the real API on a loopback port from a thread of its own, and changes when the test says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import trio

from lanspread.api import open_api
from lanspread.commands import (
    CancelGame,
    DownloadGame,
    GetGame,
    GetSettings,
    GetStatus,
    ListGames,
    ListPeers,
    PeerCommand,
    RemoveGame,
    SetGamesDir,
    SetSettings,
    UninstallGame,
)
from lanspread.errors import Code, LanspreadError
from lanspread.eventhub import EventHub
from lanspread.events import DownloadProgress, PeerEvent
from lanspread.model import Availability, FileEntry
from lanspread.seams import Address
from lanspread.views import (
    GameDetail,
    GameView,
    OperationKind,
    OperationState,
    OperationView,
    PeerState,
    PeerView,
    Picture,
    SettingsView,
    StatusView,
    VariantView,
)
from tests.api.fake import INSTANCE, PEER_ID, TOKEN, FixedClock, a_game, a_peer
from tests.fs.pictures import png

T = TypeVar("T")

ANNA, BEN, CARL = (f"{number}" * 8 + "-0000-4000-8000-000000000000" for number in (2, 3, 4))
MB = 1_000_000


def some_peers() -> tuple[PeerView, ...]:
    """Three who are here, one who left, one of another age."""
    return (
        a_peer(peer_id=ANNA, name="anna", addresses=("192.168.1.20:7373",), game_count=24),
        a_peer(peer_id=BEN, name="ben's laptop", addresses=("192.168.1.31:7373",), game_count=24),
        a_peer(peer_id=CARL, name="cellar", addresses=("192.168.1.2:7373",), game_count=36),
        a_peer(
            peer_id="5" * 8,
            name="dora",
            addresses=("192.168.1.44:7373",),
            state=PeerState.LOST,
            last_seen=None,
        ),
        a_peer(
            peer_id="6" * 8,
            name="attic",
            addresses=("192.168.1.9:7373",),
            state=PeerState.INCOMPATIBLE,
            game_count=0,
        ),
    )


_NAMES = (
    "Alpine Rally", "Astro Foundry", "Bastion of Ash", "Blockfall", "Canal Wars", "Cinder Circuit",
    "Crater League", "Deep Current", "Dust & Diesel", "Ember Knights", "Foxhole Football",
    "Gravel Kings", "Hexmoor", "Iron Harvest Moon", "Jellyfish Jam", "Kestrel Down",
    "Lantern Keep", "Long Night Station", "Meridian", "Moss Giants", "Neon Paddock",
    "North of Nowhere", "Orbit Yard", "Paper Armada", "Quarry 9", "Rook & Ruin",
    "Salt Flats Turbo", "Skyhook", "Tin Soldiers II", "Turbine", "Umbra Tactics", "Vault Runners",
    "Wharf Rats", "Xylo Arena", "Yonder Isles", "Zero Hour Hockey",
)  # fmt: skip
_GENRES = ("Racing", "Strategy", "Shooter", "Sports", "Puzzle", "Role-playing")


def some_games() -> tuple[GameView, ...]:
    """A shelf in every state, without operations."""
    return tuple(_game(number, name) for number, name in enumerate(_NAMES))


def _game(number: int, name: str) -> GameView:
    here, installed = number % 4 == 1, number % 8 == 1
    outdated = number == 17
    peers = tuple(peer for at, peer in enumerate((ANNA, BEN, CARL)) if (number + at) % 3 or at == 2)
    return a_game(
        name.lower().replace(" ", "-"),
        name=name,
        year=1994 + number * 7 % 30,
        genre=_GENRES[number % len(_GENRES)],
        players=("2-8", "1-16", "2-4")[number % 3],
        description=f"{name} was made for long evenings: quick to learn, and the next round is "
        "always the last one. Everybody on the network can join in the middle of a match.",
        size=(40 + number * 397 % 4000) * MB,
        eti_version="1.4" if outdated else "1.2",
        local_version="1.2" if here else None,
        installed_version="1.2" if installed else None,
        downloaded=here,
        installed=installed,
        availability=Availability.READY if here else None,
        update_available=outdated,
        peers=peers,
    )


def many_games(count: int) -> tuple[GameView, ...]:
    """A large library."""
    return tuple(
        a_game(
            f"game-{number:05}", name=f"{_NAMES[number % len(_NAMES)]} {number}", size=number * MB
        )
        for number in range(count)
    )


class StageRuntime:
    """What the API asks of a peer, answered from memory. `commands` is what was asked for."""

    def __init__(self, games: Sequence[GameView], peers: Sequence[PeerView]) -> None:
        self.peer_id = PEER_ID
        self.name = "living room"
        self.instance = INSTANCE
        self.token = TOKEN
        self.events = EventHub(INSTANCE, FixedClock())
        self.shutdown_requested = trio.Event()
        self.all_games = {game.id: game for game in games}
        self.all_peers = tuple(peers)
        self.variants: dict[str, tuple[VariantView, ...]] = {}
        self.commands: list[PeerCommand] = []

    def games(self) -> tuple[GameView, ...]:
        return tuple(self.all_games.values())

    def peers(self) -> tuple[PeerView, ...]:
        return self.all_peers

    def bytes_fetched(self) -> dict[str, int]:
        return {"quic": 3, "bulk": 4_000_000_001}

    def status(self) -> StatusView:
        operations = [game.operation for game in self.games() if game.operation is not None]
        return StatusView(
            peer_id=self.peer_id,
            name=self.name,
            instance=self.instance,
            version="0.1.0",
            games_dir="/home/eva/games",
            listen=("192.168.1.17:7373", "[fd00::17]:7373"),
            peers=len(self.all_peers),
            games=len(self.all_games),
            operations=tuple(operations),
            up_rate=0.0,
            down_rate=0.0,
            uptime_s=5025.0,
        )

    async def cover(self, game_id: str, key: str) -> Picture | None:
        await trio.lowlevel.checkpoint()
        return Picture("image/png", png()) if key == "good" else None

    async def execute(self, command: PeerCommand) -> object:
        await trio.lowlevel.checkpoint()
        self.commands.append(command)
        match command:
            case GetStatus():
                return self.status()
            case ListGames():
                wanted = command.ids
                return tuple(one for one in self.games() if wanted is None or one.id in wanted)
            case ListPeers():
                return self.peers()
            case GetGame():
                return self._detail(command.id)
            case GetSettings():
                return self._settings()
            case SetSettings():
                self.name = command.name or self.name
                return self._settings()
            case SetGamesDir():
                raise LanspreadError(Code.NOT_FOUND, "there is no such folder", "make it first")
            case DownloadGame() | UninstallGame() | RemoveGame() | CancelGame():
                raise LanspreadError(
                    Code.BUSY, "another operation is active", "wait until it is done"
                )
        raise LanspreadError(Code.NOT_FOUND, "nobody answers there", "check the address")

    def _settings(self) -> SettingsView:
        return SettingsView(
            name=self.name,
            games_dir="/home/eva/games",
            max_up=40.0,
            max_down=None,
            auto_install=False,
        )

    def _detail(self, game_id: str) -> GameDetail:
        game = self.all_games[game_id]
        files = (
            FileEntry("data/maps.pak", game.size // 3),
            FileEntry(f"{game.id}.eti", game.size - game.size // 3 - 4),
            FileEntry("version.ini", 4),
        )
        return GameDetail(game=game, files=files, variants=self.variants.get(game_id, ()))

    # -- what happens --------------------------------------------------------------------------

    def set(self, game_id: str, **changes: Any) -> None:
        """Change a game, silently."""
        self.all_games[game_id] = attrs.evolve(self.all_games[game_id], **changes)

    def happen(self, *events: PeerEvent) -> None:
        """Tell of something."""
        for event in events:
            self.events.publish(event)

    def operation(
        self,
        game_id: str,
        done: float,
        kind: OperationKind = OperationKind.DOWNLOAD,
        state: OperationState = OperationState.RUNNING,
    ) -> str:
        """Put an operation on a game, `done` of 1 through; returns its id."""
        total = self.all_games[game_id].size
        operation = OperationView(
            operation_id=f"op-{game_id}",
            kind=kind,
            state=state,
            done_bytes=int(total * done),
            total_bytes=total,
        )
        self.set(game_id, operation=operation)
        return operation.operation_id

    def rates(self, game_id: str, rate: float, by_source: Mapping[str, float]) -> None:
        """A progress event."""
        game = self.all_games[game_id]
        assert game.operation is not None
        left = game.operation.total_bytes - game.operation.done_bytes
        self.events.publish(
            DownloadProgress(
                operation_id=game.operation.operation_id,
                id=game_id,
                done_bytes=game.operation.done_bytes,
                total_bytes=game.operation.total_bytes,
                rate=rate,
                eta_s=left / rate,
                sources=game.peers,
                source_rates=by_source,
            )
        )


class Stage:
    """A played peer whose API is being served at `url`; the token is in it."""

    def __init__(
        self,
        runtime: StageRuntime,
        url: str,
        trio_token: trio.lowlevel.TrioToken,
        scope: trio.CancelScope,
    ) -> None:
        self.runtime = runtime
        self.url = url
        self._trio = trio_token
        self._scope = scope
        self._ended = False
        self.samples = 0

    def do(self, act: Callable[[StageRuntime], T]) -> T:
        """Change the peer, in its own thread."""
        return trio.from_thread.run_sync(act, self.runtime, trio_token=self._trio)

    def end(self) -> None:
        """Stop serving; nothing is answered any more."""
        if not self._ended:
            self._ended = True
            self.do(lambda _: self._scope.cancel())


@contextmanager
def open_stage(games: Sequence[GameView] = (), peers: Sequence[PeerView] = ()) -> Iterator[Stage]:
    """Serve a played peer until the block is left."""
    made: list[Stage] = []
    ready = threading.Event()

    async def serve() -> None:
        runtime = StageRuntime(games, peers)
        with trio.CancelScope() as scope:
            async with open_api(runtime, Address("127.0.0.1", 0)) as server:
                token = trio.lowlevel.current_trio_token()
                made.append(Stage(runtime, f"{server.url}/#token={TOKEN}", token, scope))
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(serve,), daemon=True)
    thread.start()
    assert ready.wait(20), "the played peer did not start"
    try:
        yield made[0]
    finally:
        made[0].end()
        thread.join(10)
