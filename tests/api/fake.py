"""A runtime without a network or a disk, for tests that run the real API on real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket

from lanspread.api import ApiServer, open_api
from lanspread.commands import (
    CancelGame,
    ConnectPeer,
    Done,
    DownloadGame,
    GetGame,
    GetStatus,
    ListGames,
    ListPeers,
    OperationStarted,
    PeerCommand,
    Shutdown,
)
from lanspread.errors import Code, LanspreadError
from lanspread.eventhub import EventHub
from lanspread.events import (
    DownloadBegin,
    DownloadCancelled,
    DownloadFinished,
    DownloadProgress,
    Warning_,
)
from lanspread.model import Availability, FileEntry
from lanspread.seams import Address
from lanspread.views import (
    GameDetail,
    GameView,
    LoopLagView,
    OperationKind,
    OperationState,
    OperationView,
    PeerState,
    PeerView,
    Picture,
    StatusView,
    VariantView,
)

TOKEN = "t0ken-of-this-test"
INSTANCE = "instance-1"
PEER_ID = "11111111-1111-8111-8111-111111111111"
OTHER_ID = "22222222-2222-8222-8222-222222222222"
MOMENT = datetime(2025, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)


class FixedClock:
    """A wall clock that stands still."""

    def now(self) -> datetime:
        return MOMENT


def a_game(id_: str = "quake", **changes: Any) -> GameView:
    """A game of another peer."""
    fields: dict[str, Any] = {
        "id": id_,
        "name": "Quake",
        "description": None,
        "year": None,
        "genre": None,
        "players": None,
        "eti_version": "1.0",
        "local_version": None,
        "installed_version": None,
        "size": 1000,
        "downloaded": False,
        "installed": False,
        "availability": None,
        "update_available": False,
        "manifest_hash": "aa",
        "content_hash": None,
        "peers": (OTHER_ID,),
        "operation": None,
        "cover_url": None,
    }
    return GameView(**{**fields, **changes})


def a_peer(**changes: Any) -> PeerView:
    """A connected peer."""
    fields: dict[str, Any] = {
        "peer_id": OTHER_ID,
        "name": "other",
        "addresses": ("127.0.0.1:7373",),
        "state": PeerState.CONNECTED,
        "features": {"x": 1},
        "library_rev": 3,
        "game_count": 1,
        "last_seen": "2025-02-03T04:05:06.789Z",
        "proto_ver": 3,
    }
    return PeerView(**{**fields, **changes})


def progress(operation_id: str, done: int) -> DownloadProgress:
    """A progress event."""
    return DownloadProgress(
        operation_id=operation_id,
        id="quake",
        done_bytes=done,
        total_bytes=1000,
        rate=10.0,
        eta_s=None,
        sources=(OTHER_ID,),
    )


def begin(operation_id: str) -> DownloadBegin:
    """The first event of a download."""
    return DownloadBegin(
        operation_id=operation_id, id="quake", version="1.0", total_bytes=1000, sources=(OTHER_ID,)
    )


def finished(operation_id: str, fetched: int = 1000) -> DownloadFinished:
    """A terminal event."""
    return DownloadFinished(
        operation_id=operation_id, id="quake", version="1.0", bytes_fetched=fetched, seconds=2.0
    )


def warning(number: int, padding: int = 0) -> Warning_:
    """A state event that can be told from others."""
    return Warning_(code="test", message=f"{number}", remedy="x" * padding)


class FakeRuntime:
    """Answers from memory. `hold` keeps `game.get` waiting; `broken` makes calls fail oddly."""

    def __init__(self) -> None:
        self.peer_id = PEER_ID
        self.name = "mine"
        self.instance = INSTANCE
        self.token = TOKEN
        self.events = EventHub(INSTANCE, FixedClock())
        self.shutdown_requested = trio.Event()
        self.hold: trio.Event | None = None
        self.executed: list[PeerCommand] = []
        self.all_games: tuple[GameView, ...] = (a_game(),)
        self.all_peers: tuple[PeerView, ...] = (a_peer(),)
        self.waiting = 0

    def games(self) -> tuple[GameView, ...]:
        return self.all_games

    def peers(self) -> tuple[PeerView, ...]:
        return self.all_peers

    def bytes_fetched(self) -> dict[str, int]:
        return {"quic": 3, "bulk": 4_000_000_001}

    def status(self) -> StatusView:
        operation = OperationView(
            operation_id="op-0",
            kind=OperationKind.DOWNLOAD,
            state=OperationState.RUNNING,
            done_bytes=1,
            total_bytes=2,
        )
        return StatusView(
            peer_id=self.peer_id,
            name=self.name,
            instance=self.instance,
            version="0",
            games_dir="/games",
            listen=("127.0.0.1:1",),
            peers=1,
            games=len(self.all_games),
            operations=(operation,),
            up_rate=1.5,
            down_rate=0.0,
            uptime_s=3.0,
            loop_lag=LoopLagView(p50_s=0.001, p99_s=0.02, max_s=0.25),
        )

    async def cover(self, game_id: str, key: str) -> Picture | None:
        await trio.lowlevel.checkpoint()
        return Picture("image/png", game_id.encode()) if key == "good" else None

    async def execute(self, command: PeerCommand) -> object:
        self.executed.append(command)
        match command:
            case GetStatus():
                return self.status()
            case ListGames():
                return self.games()
            case ListPeers():
                return self.peers()
            case GetGame(id="hold"):
                assert self.hold is not None
                self.waiting += 1
                await self.hold.wait()
                return self._detail()
            case GetGame(id="broken"):
                raise RuntimeError("a bug that only this test knows")
            case GetGame(id="odd"):
                return object()
            case GetGame(id="quake"):
                return self._detail()
            case DownloadGame(id="quake"):
                self.events.publish(begin("op-1"))
                self.events.publish(progress("op-1", 500))
                self.events.publish(finished("op-1"))
                return OperationStarted("op-1")
            case DownloadGame(id="stuck"):
                return OperationStarted("op-2")
            case CancelGame(id="quake"):
                self.events.publish(DownloadCancelled(operation_id="op-1", id="quake"))
                return OperationStarted("op-1")
            case ConnectPeer():
                raise LanspreadError(Code.NOT_FOUND, "nobody is there", "check the address")
            case Shutdown():
                self.shutdown_requested.set()
                return Done()
        raise LanspreadError(Code.NOT_FOUND, "there is no such game", "see `games`")

    def _detail(self) -> GameDetail:
        variant = VariantView(
            version="1.0", manifest_hash="aa", content_hash=None, size=1000, peers=(OTHER_ID,)
        )
        return GameDetail(
            game=a_game(availability=Availability.READY, year=1996),
            files=(FileEntry("version.ini", 3),),
            variants=(variant,),
        )


@asynccontextmanager
async def running(
    runtime: FakeRuntime | None = None, address: Address | None = None, **options: Any
) -> AsyncIterator[tuple[FakeRuntime, ApiServer]]:
    """The real API on a free loopback port, with a fake runtime behind it."""
    runtime = runtime or FakeRuntime()
    async with open_api(runtime, address or Address("127.0.0.1", 0), **options) as server:
        yield runtime, server


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something real (sockets, processes) has come about; fails after `seconds`."""
    with trio.fail_after(seconds):
        while not condition():  # what is waited for has no event
            await trio.sleep(0.01)


def port_of(server: ApiServer) -> int:
    """The TCP port of a running API."""
    return int(server.url.rpartition(":")[2])


class Front:
    """A front-end: a thin JSON-RPC client."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.socket = socket

    async def receive(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        with trio.fail_after(10):
            message: dict[str, Any] = json.loads(await self.socket.get_message())
        return message

    async def send(self, **message: Any) -> None:
        """A frame of JSON."""
        await self.socket.send_message(json.dumps(message))

    async def call(self, method: str, params: Any = None, id_: Any = 1) -> dict[str, Any]:
        """Ask, and wait for the whole answer; events in between are skipped."""
        extra = {} if params is None else {"params": params}
        await self.send(jsonrpc="2.0", id=id_, method=method, **extra)
        while True:
            message = await self.receive()
            if "method" not in message:
                return message

    async def event(self) -> dict[str, Any]:
        """The next message, which is an event."""
        message = await self.receive()
        assert message["method"] == "event", message
        params: dict[str, Any] = message["params"]
        return params


async def closing(front: Front) -> int:
    """Read until the server closes; the code."""
    with trio.fail_after(10):
        while True:
            try:
                await front.socket.get_message()
            except ConnectionClosed as error:
                return error.reason.code if error.reason is not None else 0


@asynccontextmanager
async def front_end(server: ApiServer, token: str = TOKEN) -> AsyncIterator[Front]:
    """Connect, and take the `hello`."""
    async with open_websocket(
        "127.0.0.1",
        port_of(server),
        f"/ws?token={token}",
        use_ssl=False,
        max_message_size=64 * 1024 * 1024,
        disconnect_timeout=2,
    ) as socket:
        front = Front(socket)
        hello = await front.receive()
        assert hello["method"] == "hello"
        try:
            yield front
        finally:
            # trio-websocket leaves it open when the server closes first.
            await trio.aclose_forcefully(socket._stream)


async def http(server: ApiServer, request: str) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes and read until the end: status, headers, body."""
    stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
    async with stream:
        await stream.send_all(request.encode("latin-1"))
        data = b""
        with trio.fail_after(15):
            while chunk := await stream.receive_some():
                data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return int(lines[0].split()[1]), headers, body


def request(path: str, host: str = "127.0.0.1", method: str = "GET", **headers: str) -> str:
    """The text of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines) + "\r\n\r\n"


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
