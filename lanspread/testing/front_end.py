"""A front-end's side of a virtual peer: a JSON-RPC client in memory, or a real port for a browser.

Both go through the code that serves the API of a real peer: HTTP head, token, WebSocket, JSON-RPC.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from trio_websocket import WebSocketConnection, wrap_client_stream

from lanspread.api.server import ApiServer, open_api
from lanspread.errors import Code, LanspreadError
from lanspread.seams import Address
from lanspread.testing.peers import VirtualPeer

_ADDRESS = Address("127.0.0.1", 7374)
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_GOODBYE_S = 1.0


class ApiClient:
    """A greeted connection to a peer's API. Made by `connect_api`; for one task at a time.

    `hello` is what the peer said of itself. Events that come with the answers are kept in order.
    """

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._events: deque[dict[str, Any]] = deque()
        self._last_id = 0
        self.hello: dict[str, Any] = {}

    async def call(self, method: str, **params: object) -> Any:
        """Make a call and return its result.

        Raises `LanspreadError` for what the peer answers to it, `RpcFault` for a call that is
        none, `trio_websocket.ConnectionClosed`.
        """
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        await self._socket.send_message(json.dumps(request))
        while True:
            message = await self._receive()
            if message.get("id") == self._last_id and "method" not in message:
                return _result(message)

    async def subscribe(self) -> dict[str, Any]:
        """Ask for events; returns `{instance, seq, snapshot}`."""
        answer = await self.call("subscribe")
        assert isinstance(answer, dict)
        return answer

    async def next_event(self) -> dict[str, Any]:
        """The next event: `{seq, time, type, data}`. Cancellation loses none."""
        while not self._events:
            await self._receive()
        return self._events.popleft()

    async def wait_for(self, *types: str, timeout_s: float = 300.0) -> dict[str, Any]:
        """The next event of one of these types; others are dropped. Raises `trio.TooSlowError`."""
        with trio.move_on_after(timeout_s):
            while True:
                event = await self.next_event()
                if event["type"] in types:
                    return event
        raise trio.TooSlowError(f"none of {', '.join(types)} within {timeout_s:g} s")

    async def greet(self) -> None:
        """Wait for `hello`."""
        while not self.hello:
            await self._receive()

    async def _receive(self) -> dict[str, Any]:
        message = json.loads(await self._socket.get_message())
        assert isinstance(message, dict)
        if message.get("method") == "event":
            self._events.append(message["params"])
        elif message.get("method") == "hello":
            self.hello = message["params"]
        return message


class RpcFault(Exception):
    """The call itself was wrong: unknown method, wrong parameters. `code` is JSON-RPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _result(message: dict[str, Any]) -> Any:
    error = message.get("error")
    if error is None:
        return message.get("result")
    data = error.get("data")
    if data is None:
        raise RpcFault(error["code"], error["message"])
    raise LanspreadError(Code(data["code"]), error["message"], data["remedy"])


@asynccontextmanager
async def connect_api(peer: VirtualPeer) -> AsyncIterator[ApiClient]:
    """A client of a running peer's API over a stream in memory, until the block is left.

    Works under the mock clock, unlike a port. Each call is a connection of its own.
    """
    server = ApiServer(peer.peer, _ADDRESS, ())
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, theirs)
        socket = await wrap_client_stream(
            nursery,
            ours,  # type: ignore[arg-type]  # any stream will do
            str(_ADDRESS),
            "/ws",
            extra_headers=[(b"Authorization", f"Bearer {peer.peer.token}".encode())],
            max_message_size=_MAX_ANSWER_BYTES,
        )
        client = ApiClient(socket)
        await client.greet()
        try:
            yield client
        finally:
            with trio.CancelScope(deadline=trio.current_time() + _GOODBYE_S, shield=True):
                await socket.aclose()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def serve_api(peer: VirtualPeer, port: int = 0) -> AsyncIterator[str]:
    """Serve a running peer's API on a real loopback port until the block is left.

    Gives the page's address, with the token in its fragment; the WebSocket is `/ws` there. It
    needs trio's real clock: a mock clock does not wait for a browser. Raises `StartError` if the
    port is taken, `RuntimeError` under a mock clock.
    """
    if isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock):
        raise RuntimeError("a real port needs the real clock; use connect_api under the mock clock")
    async with open_api(peer.peer, Address("127.0.0.1", port)) as server:
        yield f"{server.url}/#token={peer.peer.token}"
