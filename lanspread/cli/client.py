"""A client of a running peer's API, found through `api.json` in the state folder.

Calls are made one after another, as a command line does; events that arrive meanwhile are kept in
order. Every wait has a deadline, so a stale `api.json` never hangs a command; and the token is
given to nobody who has not shown to know it, for the port may be another program's by now.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from lanspread.cli.published import read_api_json
from lanspread.errors import Code, LanspreadError
from lanspread.proof import is_proof

CONNECT_S = 5.0
ANSWER_S = 30.0
# A whole library in one answer; the server is our own, so this only bounds an accident.
MAX_ANSWER_BYTES = 256 * 1024 * 1024
_MAX_PROOF_BYTES = 64 * 1024
_SERVICE_UNAVAILABLE = 503
# What to do where no peer runs.
_START = "start one with `lanspread run --games DIR`"
_ELSEWHERE = "if one runs with another state folder, name it with --state DIR or LANSPREAD_STATE"


class NoPeerError(Exception):
    """No peer runs for this state folder; the text says so."""


class PeerBusyError(Exception):
    """A peer runs, or may, and does not take one more client; the text says so."""


class ConnectionLostError(Exception):
    """The peer went away while it was being talked to."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a peer's API is, and what opens it."""

    api_url: str
    token: str = attrs.field(repr=False)
    pid: int


class Client:
    """A connection to a peer, greeted."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._events: deque[dict[str, Any]] = deque()
        self._last_id = 0
        self.hello: dict[str, Any] = {}

    async def call(self, method: str, timeout_s: float = ANSWER_S, **params: object) -> Any:
        """Make a call and return its result.

        Raises `LanspreadError` for what the peer answers, `ConnectionLostError` if it does not.
        """
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        try:
            with trio.fail_after(timeout_s):
                await self._socket.send_message(json.dumps(request))
                while True:
                    message = await self._receive()
                    if message.get("id") == self._last_id and "method" not in message:
                        return _result(message)
        except trio.TooSlowError:
            raise ConnectionLostError(f"the peer did not answer {method} in time") from None
        except ConnectionClosed as error:
            raise _lost(error) from None

    async def next_event(self) -> dict[str, Any]:
        """The next event: `{seq, time, type, data}`. Raises `ConnectionLostError`."""
        while not self._events:
            try:
                await self._receive()
            except ConnectionClosed as error:
                raise _lost(error) from None
        return self._events.popleft()

    async def greet(self) -> None:
        """Wait for `hello`."""
        while not self.hello:
            await self._receive()

    async def aclose(self) -> None:
        """Say goodbye; callers set the deadline."""
        await self._socket.aclose()

    async def _receive(self) -> dict[str, Any]:
        text = await self._socket.get_message()
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise ConnectionLostError("the peer's API does not speak JSON-RPC")
        if message.get("method") == "event":
            self._events.append(message["params"])
        elif message.get("method") == "hello":
            self.hello = message["params"]
        return message


def _result(message: dict[str, Any]) -> Any:
    error = message.get("error")
    if error is None:
        return message.get("result")
    data = error.get("data") or {}
    try:
        code = Code(data.get("code", Code.INTERNAL))
    except ValueError:
        code = Code.INTERNAL
    raise LanspreadError(code, str(error.get("message")), str(data.get("remedy", "")))


def _lost(error: ConnectionClosed) -> ConnectionLostError:
    reason = error.reason.reason if error.reason is not None else None
    why = f" ({reason})" if reason else ""
    return ConnectionLostError(f"the connection to the peer was lost{why}")


@asynccontextmanager
async def open_client(state: str) -> AsyncIterator[Client]:
    """Connect to the peer that runs on this state folder. Raises as `open_endpoint`."""
    endpoint = find_peer(state)
    async with open_endpoint(endpoint, state) as client:
        yield client


@asynccontextmanager
async def open_endpoint(endpoint: Endpoint, state: str) -> AsyncIterator[Client]:
    """Connect to a peer whose endpoint is known.

    Raises `NoPeerError`, `PeerBusyError`; they and the block's own errors may arrive in exception
    groups. The token is sent only to who has proved to know it.
    """
    await _check_who_answers(endpoint, state)
    stream = await _connect(endpoint, state)
    # The stream is ours to close: trio-websocket leaves it open when the server closes first.
    try:
        async with stream, trio.open_nursery() as nursery:
            client = await _greet(nursery, stream, endpoint, state)
            yield client
            with trio.move_on_after(1):
                await client.aclose()
            nursery.cancel_scope.cancel()
    except* ConnectionRejected as group:
        status = _first(group).status_code
        if status == _SERVICE_UNAVAILABLE:
            raise PeerBusyError(
                f"the peer for {state} runs and serves as many clients as it can; close some pages "
                "or other front-ends"
            ) from None
        raise NoPeerError(
            f"no running peer for {state}: what listens at {endpoint.api_url} answered {status}"
        ) from None


async def _connect(endpoint: Endpoint, state: str) -> trio.SocketStream:
    try:
        url = urlsplit(endpoint.api_url)
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise NoPeerError(f"no running peer: api.json in {state} is damaged; {_START}")
    try:
        with trio.fail_after(CONNECT_S):
            return await trio.open_tcp_stream(host, port)
    except (OSError, trio.TooSlowError):
        raise NoPeerError(
            f"no running peer for {state}: nothing answers at {endpoint.api_url}; {_START}"
        ) from None


async def _check_who_answers(endpoint: Endpoint, state: str) -> None:
    nonce = secrets.token_urlsafe(32)
    request = (
        f"GET /healthz?nonce={nonce} HTTP/1.1\r\n"
        f"Host: {urlsplit(endpoint.api_url).netloc}\r\nConnection: close\r\n\r\n"
    )
    answer = bytearray()
    async with await _connect(endpoint, state) as stream:
        try:
            with trio.fail_after(CONNECT_S):
                await stream.send_all(request.encode("ascii", "replace"))
                while len(answer) < _MAX_PROOF_BYTES and (data := await stream.receive_some()):
                    answer += data
        except trio.BrokenResourceError:
            pass  # What came before that may be enough.
        except trio.TooSlowError:
            raise NoPeerError(
                f"no running peer for {state}: what listens at {endpoint.api_url} does not answer"
            ) from None
    if not answer:
        raise PeerBusyError(
            f"what listens at {endpoint.api_url} hung up: either the peer for {state} serves as "
            "many clients as it can, or another program has its port by now"
        )
    if not _is_proved(bytes(answer), endpoint.token, nonce):
        raise NoPeerError(
            f"no running peer for {state}: another program answers at {endpoint.api_url}; {_START}"
        )


def _is_proved(answer_untrusted: bytes, token: str, nonce: str) -> bool:
    head, _, body = answer_untrusted.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        return False
    try:
        told = json.loads(body)
        instance, proof = told["instance"], told["proof"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    texts = isinstance(instance, str) and isinstance(proof, str)
    return texts and is_proof(proof, token, instance, nonce)


async def _greet(
    nursery: trio.Nursery, stream: trio.SocketStream, endpoint: Endpoint, state: str
) -> Client:
    try:
        with trio.fail_after(CONNECT_S):
            socket = await wrap_client_stream(
                nursery,
                stream,
                urlsplit(endpoint.api_url).netloc,
                "/ws",
                extra_headers=[(b"Authorization", f"Bearer {endpoint.token}".encode())],
                max_message_size=MAX_ANSWER_BYTES,
                receive_buffer_size=256 * 1024,
            )
            client = Client(socket)
            await client.greet()
    except (trio.TooSlowError, ConnectionClosed, ConnectionLostError):
        raise NoPeerError(
            f"no running peer for {state}: what listens at {endpoint.api_url} is no lanspread"
        ) from None
    return client


def _first(group: BaseExceptionGroup[ConnectionRejected]) -> ConnectionRejected:
    part: BaseException = group
    while isinstance(part, BaseExceptionGroup):
        part = part.exceptions[0]
    assert isinstance(part, ConnectionRejected)
    return part


def find_peer(state: str) -> Endpoint:
    """The endpoint in the state folder. Raises `NoPeerError`."""
    found = read_api_json(state)
    if found is None:
        raise NoPeerError(f"no running peer for {state}: {_START}; {_ELSEWHERE}")
    if not _alive(found.pid):
        raise NoPeerError(
            f"no running peer for {state}: the last one ended without a goodbye; {_START}"
        )
    return Endpoint(api_url=found.api_url, token=found.token, pid=found.pid)


def page_link(state: str) -> str:
    """The link that opens the running peer's page, token included; empty if none runs any more."""
    found = read_api_json(state)
    return "" if found is None else f"{found.api_url}/#token={found.token}"


def is_published(state: str, instance: str) -> bool:
    """Whether `api.json` still names this run of the peer."""
    found = read_api_json(state)
    return found is not None and found.instance == instance


def _alive(pid: int) -> bool:
    if sys.platform == "win32" or pid <= 0:
        return True  # No harmless way to ask there; connecting tells.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
