"""One WebSocket client: its calls, its answers, its subscription.

One lock orders everything that is sent, so an answer to `subscribe` always comes before the events
it announces. Calls that only look are answered in turn; calls that wait for others run beside it,
a bounded number at a time. Reading stops while answers cannot be sent: that is the backpressure.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

import lanspread
from lanspread import limits
from lanspread.api import encoding, rpc
from lanspread.api.runtime import Runtime
from lanspread.api.schema import API_VERSION
from lanspread.api.stream import ClientStream
from lanspread.commands import GetStatus, ListGames, ListPeers
from lanspread.errors import Code, LanspreadError
from lanspread.eventhub import SubscriberTooSlow, Subscription, SubscriptionClosed

log = structlog.get_logger(__name__)

MAX_CALLS = 32
TOO_SLOW_REASON = "this client does not read"
# How long a close frame may take to be sent and answered before the connection is cut.
CLOSE_S = 0.8
GOING_AWAY_S = 0.3
# How long calls that are under way at shutdown may still answer.
LAST_ANSWERS_S = 0.2

GOING_AWAY, UNSUPPORTED, TOO_BIG, TOO_SLOW = 1001, 1003, 1009, 4008
# An unmasked frame, whole and last: its code, and the reason for people.
TOO_SLOW_FRAME = (
    bytes([0x88, 2 + len(TOO_SLOW_REASON)]) + TOO_SLOW.to_bytes(2) + TOO_SLOW_REASON.encode()
)
_QUICK = (GetStatus, ListGames, ListPeers)


class Session:
    """A client from `hello` to the end of its connection; `closed`: nothing is left to say."""

    def __init__(self, runtime: Runtime, socket: WebSocketConnection, stream: ClientStream) -> None:
        self._runtime = runtime
        self._socket = socket
        self._stream = stream
        self._sending = trio.Lock()
        self._slots = trio.Semaphore(MAX_CALLS)
        self._all_answered = trio.Event()
        self._all_answered.set()
        self._subscription: Subscription | None = None
        self.closed = False

    async def run(self, stop: trio.Event) -> None:
        """Serve until the client leaves, misbehaves, or `stop` is set. Raises nothing of its own.

        Cancellation cancels the calls under way, not what they began.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._end_on_stop, stop)
                await self._send(lambda: rpc.notification("hello", self._hello()))
                await self._read()
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, LocalProtocolError):
            pass  # The client went away while something was being sent.
        finally:
            if self._subscription is not None:
                self._subscription.close()
            if self._stream.expelled:
                log.warning(
                    "api.client_too_slow", remedy="a front-end has to read what it asks for"
                )
                self.closed = not self._stream.told

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                message = await self._socket.get_message()
            except ConnectionClosed:
                return
            self._stream.message_completed()
            if isinstance(message, bytes):
                await self._close(UNSUPPORTED, "text frames only")
                return
            # trio-websocket counts characters, the limit is in bytes.
            if len(message.encode()) > limits.MAX_MESSAGE_BYTES:
                await self._close(TOO_BIG, "frame too large")
                return
            try:
                call = rpc.parse(message)
            except rpc.RpcError as error:
                if not error.silent:
                    text = rpc.fault(error)
                    await self._send(lambda text=text: text)  # type: ignore[misc]
                continue
            await self._handle(call)

    async def _handle(self, call: rpc.Call) -> None:
        if isinstance(call.action, rpc.Subscribe):
            await self._subscribe(call, call.action)
        elif isinstance(call.action, _QUICK):
            await self._execute(call)
        else:
            await self._slots.acquire()
            if self._all_answered.is_set():
                self._all_answered = trio.Event()
            self._nursery.start_soon(self._execute_beside, call)

    async def _execute_beside(self, call: rpc.Call) -> None:
        await self._execute(call)
        self._slots.release()
        if self._slots.value == MAX_CALLS:
            self._all_answered.set()

    async def _execute(self, call: rpc.Call) -> None:
        """Carry out one call and answer it. What goes wrong inside is this call's answer only."""
        assert not isinstance(call.action, rpc.Subscribe)
        try:
            value = await self._runtime.execute(call.action)
        except LanspreadError as error:
            failure = error
            await self._answer(call, lambda: rpc.failure(call.id, failure))
        except Exception:
            await self._answer(call, lambda: self._internal(call, "api.call_failed"))
        else:
            await self._answer(call, lambda: self._result(call, value))

    def _result(self, call: rpc.Call, value: object) -> str:
        try:
            return rpc.result(call.id, encoding.answer(value))
        except Exception:
            return self._internal(call, "api.encoding_failed")

    def _internal(self, call: rpc.Call, event: str) -> str:
        log.exception(event, call=type(call.action).__name__)
        error = LanspreadError(
            Code.INTERNAL, "something went wrong inside the peer", "its log says more"
        )
        return rpc.failure(call.id, error)

    # -- subscription -----------------------------------------------------------------------------

    async def _subscribe(self, call: rpc.Call, wanted: rpc.Subscribe) -> None:
        since = (wanted.since.instance, wanted.since.seq) if wanted.since is not None else None
        async with self._sending:
            try:
                subscription = self._runtime.events.subscribe(since)
            except LanspreadError as error:
                await self._answer_locked(call, rpc.failure(call.id, error))
                return
            # No await up to here: snapshot and subscription are of the same moment.
            try:
                text = rpc.result(call.id, self._subscribed(since))
            except Exception:
                subscription.close()
                await self._answer_locked(call, self._internal(call, "api.snapshot_failed"))
                return
            if self._subscription is not None:
                self._subscription.close()
            self._subscription = subscription
            await self._answer_locked(call, text)
        self._nursery.start_soon(self._follow, subscription)

    def _subscribed(self, since: tuple[str, int] | None) -> dict[str, object]:
        """`seq` is the number before the first event that follows, replayed ones included."""
        events = self._runtime.events
        if since is not None:
            return {"instance": events.instance, "seq": since[1]}
        return {
            "instance": events.instance,
            "seq": events.seq,
            "snapshot": {
                "games": encoding.answer(self._runtime.games()),
                "peers": encoding.answer(self._runtime.peers()),
                "status": encoding.answer(self._runtime.status()),
            },
        }

    async def _follow(self, subscription: Subscription) -> None:
        """Send a subscription's events until it is closed or another takes its place."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_on_overflow, subscription)
            try:
                while True:
                    for event in await subscription.next_batch():
                        text = rpc.notification("event", encoding.event(event))
                        async with self._sending:
                            if self._subscription is not subscription:
                                raise SubscriptionClosed
                            await self._socket.send_message(text)
            except SubscriptionClosed:
                nursery.cancel_scope.cancel()
            except SubscriberTooSlow:
                pass  # `_end_on_overflow` is closing the connection.

    # -- sending ----------------------------------------------------------------------------------

    async def _send(self, build: Callable[[], str]) -> None:
        # Built with the lock held: however many answers wait, one text is in memory.
        async with self._sending:
            await self._socket.send_message(build())

    async def _answer(self, call: rpc.Call, build: Callable[[], str]) -> None:
        if call.silent:
            build()  # for what it logs
        else:
            await self._send(build)

    async def _answer_locked(self, call: rpc.Call, text: str) -> None:
        if not call.silent:
            await self._socket.send_message(text)

    def _hello(self) -> dict[str, object]:
        return {
            "api_version": API_VERSION,
            "instance": self._runtime.instance,
            "peer_id": self._runtime.peer_id,
            "name": self._runtime.name,
            "version": lanspread.__version__,
            "capabilities": rpc.CAPABILITIES,
        }

    # -- ending -----------------------------------------------------------------------------------

    async def _end_on_stop(self, stop: trio.Event) -> None:
        await stop.wait()
        with trio.move_on_after(LAST_ANSWERS_S):
            await self._all_answered.wait()
        await self._close(GOING_AWAY, "the peer is shutting down", GOING_AWAY_S)

    async def _end_on_overflow(self, subscription: Subscription) -> None:
        await subscription.wait_overflowed()
        await self._stream.expel()
        self._nursery.cancel_scope.cancel()

    async def _close(self, code: int, reason: str, seconds: float = CLOSE_S) -> None:
        """Close with a code if the client lets us, and end the session either way in time."""
        with trio.move_on_after(seconds):
            async with self._sending:
                await self._socket.aclose(code, reason)
        self.closed = True
        self._nursery.cancel_scope.cancel()
