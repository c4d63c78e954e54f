"""The TCP port of the local API: one bounded task per client, from its HTTP head to its end."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from importlib import resources

import msgspec
import structlog
import trio
from trio_websocket import wrap_server_stream

from lanspread import limits
from lanspread.api import http, metrics, schema
from lanspread.api.runtime import Runtime
from lanspread.api.session import TOO_SLOW_FRAME, Session
from lanspread.api.stream import SEND_BYTES, ClientStream, linger
from lanspread.errors import StartError
from lanspread.proof import prove
from lanspread.seams import Address

log = structlog.get_logger(__name__)

HEAD_TIMEOUT_S = 5.0
# How long clients have to say goodbye when the API ends.
STOP_S = 0.6

DEFAULT_ADDRESS = Address("127.0.0.1", limits.DEFAULT_API_PORT)
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ApiServer:
    """A running API. `url` is where another local process reaches it."""

    def __init__(self, runtime: Runtime, address: Address, hosts: Sequence[str]) -> None:
        self._runtime = runtime
        self._hosts = frozenset(hosts)
        self._pages = {
            name: resources.files("lanspread.api").joinpath("static", name).read_bytes()
            for name, _ in http.PAGE.values()
        }
        self._stop = trio.Event()
        self._client_left = trio.Event()
        self.clients = 0
        self.sockets = 0
        # Who has not yet said what they want, the oldest first.
        self._strangers: dict[trio.CancelScope, None] = {}
        host = _WILDCARDS.get(address.host, address.host)
        self.url = f"http://{Address(host, address.port)}"

    async def serve(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Serve one client to its end. Raises nothing but Cancelled: a client harms nobody else.

        Any stream will do: the virtual LAN serves clients in memory.
        """
        if self.clients >= limits.MAX_API_CONNECTIONS and not self._make_room():
            log.debug("api.too_many_clients", clients=self.clients)
            await trio.aclose_forcefully(stream)
            return
        self.clients += 1
        try:
            await self._client(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # It left in the middle of something.
        except* Exception:
            log.exception("api.client_failed")
        finally:
            self.clients -= 1
            self._client_left.set()
            self._client_left = trio.Event()
            await trio.aclose_forcefully(stream)

    def _make_room(self) -> bool:
        """Whether one more may come: who has said nothing for longest makes way, so that idle
        connections keep nobody out."""
        for scope in self._strangers:
            if not scope.cancel_called:
                scope.cancel()
                return True
        return False

    async def stop(self) -> None:
        """Ask all clients to leave and wait until they did; callers set the deadline."""
        self._stop.set()
        while self.clients:
            await self._client_left.wait()

    async def _client(self, stream: trio.abc.HalfCloseableStream) -> None:
        received = b""
        head = None
        try:
            with (
                trio.fail_after(HEAD_TIMEOUT_S),
                trio.CancelScope() as scope,
                self._stranger(scope),
            ):
                while head is None:
                    data = await stream.receive_some(limits.MAX_HTTP_HEAD_BYTES)
                    if not data:
                        return
                    received += data
                    head = http.parse_head(received)
            if head is None:
                return  # Others needed the room.
            http.check(head, self._runtime.token, self._hosts)
        except http.Refused as refused:
            await self._answer(stream, http.refusal(refused))
        except trio.TooSlowError:
            late = http.Refused(HTTPStatus.REQUEST_TIMEOUT, "the request took too long")
            await self._answer(stream, http.refusal(late))
        else:
            if head.path != http.SOCKET:
                await self._answer(stream, await self._document(head))
            elif self.sockets >= limits.MAX_CLIENTS:
                full = http.Refused(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"this peer serves {limits.MAX_CLIENTS} clients already",
                    Retry_After="5",
                )
                await self._answer(stream, http.refusal(full))
            else:
                self.sockets += 1
                try:
                    await self._websocket(stream, received)
                finally:
                    self.sockets -= 1

    @contextmanager
    def _stranger(self, scope: trio.CancelScope) -> Iterator[None]:
        self._strangers[scope] = None
        try:
            yield
        finally:
            del self._strangers[scope]

    async def _answer(self, stream: trio.abc.HalfCloseableStream, answer: bytes) -> None:
        await ClientStream(stream, b"").send_all(answer)
        await linger(stream)

    async def _document(self, head: http.Head) -> bytes:
        asked = http.cover_asked(head)
        if asked is None:
            return self._page(head)
        picture = await self._runtime.cover(*asked)
        if picture is None:
            return http.refusal(http.Refused(HTTPStatus.NOT_FOUND, "there is no such picture"))
        # Another picture has another key, so this one may be kept.
        headers = {"Cache-Control": "private, max-age=86400"}
        return http.response(HTTPStatus.OK, picture.data, picture.media_type, headers)

    def _page(self, head: http.Head) -> bytes:
        if head.path == http.HEALTH:
            return self._health(head)
        if head.path == http.SCHEMA:
            body = msgspec.json.format(msgspec.json.encode(schema.build()))
            return http.response(HTTPStatus.OK, body, "application/schema+json")
        if head.path == http.METRICS:
            body = metrics.render(self._runtime, self.clients)
            return http.response(HTTPStatus.OK, body, metrics.CONTENT_TYPE)
        name, content_type = http.PAGE[head.path]
        policy = http.page_policy(head.headers["host"])
        headers = {
            "Content-Security-Policy": policy,
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        return http.response(HTTPStatus.OK, self._pages[name], content_type, headers)

    def _health(self, head: http.Head) -> bytes:
        nonce = http.nonce_asked(head)
        if nonce is None:
            return http.response(HTTPStatus.OK, b"ok\n")
        instance = self._runtime.instance
        body = {"instance": instance, "proof": prove(self._runtime.token, instance, nonce)}
        return http.response(HTTPStatus.OK, msgspec.json.encode(body), "application/json")

    async def _websocket(self, stream: trio.abc.HalfCloseableStream, received: bytes) -> None:
        client = ClientStream(stream, received, TOO_SLOW_FRAME)
        async with trio.open_nursery() as nursery:
            session = None
            # The head was checked; should the library still refuse it, it would wait for ever.
            with trio.move_on_after(HEAD_TIMEOUT_S):
                request = await wrap_server_stream(
                    nursery,
                    client,
                    max_message_size=limits.MAX_MESSAGE_BYTES,
                    receive_buffer_size=SEND_BYTES,
                )
                session = Session(self._runtime, await request.accept(), client)
            if session is not None:
                await session.run(self._stop)
            nursery.cancel_scope.cancel()
        if session is not None and not session.closed:
            await linger(stream)


@asynccontextmanager
async def open_api(
    runtime: Runtime, address: Address | None, *, hosts: Sequence[str] = ()
) -> AsyncIterator[ApiServer]:
    """Serve the API until the block is left.

    `address` None: the default port, or a free one if it is taken. `hosts` are names and addresses
    by which it may be reached, besides loopback and the host of `address`. Raises `StartError`.
    Leaving closes every client with 1001, or without if it does not answer in time.
    """
    listener = await _listen(address)
    name = listener.socket.getsockname()
    given = () if address is None else (address.host,)
    server = ApiServer(runtime, Address(str(name[0]), int(name[1])), (*given, *hosts))
    async with trio.open_nursery() as clients, trio.open_nursery() as accepting:
        accepting.start_soon(_accept, server, listener, clients)
        try:
            yield server
        finally:
            accepting.cancel_scope.cancel()
            with trio.CancelScope(deadline=trio.current_time() + STOP_S, shield=True):
                await server.stop()
            clients.cancel_scope.cancel()


async def _accept(server: ApiServer, listener: trio.SocketListener, clients: trio.Nursery) -> None:
    # trio's own loop: it also survives running out of file descriptors.
    await trio.serve_listeners(server.serve, [listener], handler_nursery=clients)


async def _listen(address: Address | None) -> trio.SocketListener:
    if address is not None:
        try:
            return await _bind(address)
        except OSError as error:
            raise StartError(f"cannot serve the API on {address}: {_reason(error)}") from None
    try:
        return await _bind(DEFAULT_ADDRESS)
    except OSError as error:
        log.warning("api.default_port_taken", address=str(DEFAULT_ADDRESS), reason=_reason(error))
    try:
        return await _bind(Address(DEFAULT_ADDRESS.host, 0))
    except OSError as error:
        raise StartError(f"cannot serve the API on loopback: {_reason(error)}") from None


async def _bind(address: Address) -> trio.SocketListener:
    # One address only: a name may have several, and port 0 would give each a port of its own.
    found = await trio.socket.getaddrinfo(address.host, address.port, type=trio.socket.SOCK_STREAM)
    listeners = await trio.open_tcp_listeners(address.port, host=str(found[0][4][0]))
    return listeners[0]


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken"
    return error.strerror or str(error)
