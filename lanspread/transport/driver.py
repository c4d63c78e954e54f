"""What moves one connection: a task that feeds the engine and sleeps when there is nothing to do.

The endpoint's receive loop puts datagrams into the inbox. The driver takes them out in batches,
hands them to the engine, delivers events, sends what is due, and waits for a wake-up or for the
engine's timer, whichever is first. It never runs code of the application. An engine that fails ends
its own connection and no other. Source: ARCHITECTURE.md, "Transport"; RFC 9000 section 10.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import trio
from aioquic.quic.events import QuicEvent
from aioquic.quic.packet import QuicErrorCode

from lanspread import limits
from lanspread.seams import Address, DatagramSocket
from lanspread.transport.engine import Engine
from lanspread.transport.errors import CloseInfo, clean_reason
from lanspread.transport.options import EndpointOptions
from lanspread.transport.waiting import Wakeup

# A timer that is still due after it was served must not make the driver spin, and the pacer's
# microseconds must not make it wake for each datagram. It counts from the start of a step, so one
# that sent a full burst goes on at once (a whole millisecond here cost a tenth of the throughput).
MIN_SLEEP_S: Final = 0.000_25
# Addresses of one peer whose socket is remembered.
MAX_PATHS: Final = 8
# aioquic's words for it; the event has no code of its own for silence.
IDLE_REASON: Final = "Idle timeout"


class Driven(Protocol):
    """What the driver tells the connection."""

    established: bool
    closed: CloseInfo | None
    last_received: float

    def on_events(self, events: Iterable[QuicEvent]) -> None: ...

    def on_received(self) -> None:
        """A batch was taken in: acknowledgements and credit may have come with it."""

    def end(self, info: CloseInfo) -> None:
        """The connection is over: wake everybody."""


class Driver:
    """The inbox, the outbox and the clock of one connection."""

    def __init__(
        self,
        engine: Engine,
        driven: Driven,
        sockets: Sequence[DatagramSocket],
        socket: DatagramSocket,
        options: EndpointOptions,
        turns: trio.StrictFIFOLock,
        handshake_deadline: float,
    ) -> None:
        """`turns` is one lock for all drivers of an endpoint: whose step it is."""
        self._engine = engine
        self._turns = turns
        self._driven = driven
        self._socket = socket
        self._via: dict[Address, DatagramSocket] | None = {} if len(sockets) > 1 else None
        self._inbox: deque[tuple[bytes, Address]] = deque()
        self._inbox_bytes = 0
        self._queue_datagrams = options.datagram_queue
        self._queue_bytes = options.datagram_queue_bytes
        self._wakeup = Wakeup()
        self._handshake_deadline = handshake_deadline
        self._deadline = math.inf
        self._path_address: Address | None = None
        self._path_check_at = -math.inf
        self._close_request: tuple[int, str, bool] | None = None
        self._farewell: list[tuple[bytes, Address]] | None = None
        self._linger_until = -math.inf
        self._late_datagrams = 0
        self._over = False
        self.lingers = True
        self.queue_drops = 0
        self.datagrams_received = self.bytes_received = 0
        self.datagrams_sent = self.bytes_sent = 0

    # -- called from outside -----------------------------------------------------------------------

    def post(self, data: bytes, address: Address, socket: DatagramSocket) -> bool:
        """Put a datagram into the inbox; False if it is full and the datagram was dropped."""
        inbox = self._inbox
        held = self._inbox_bytes + len(data)
        if len(inbox) >= self._queue_datagrams or held > self._queue_bytes:
            self.queue_drops += 1
            return False
        self._inbox_bytes = held
        inbox.append((data, address))
        if self._via is not None and self._via.get(address) is not socket:
            self._remember(address, socket)
        self._wakeup.wake()
        return True

    def wake(self) -> None:
        """The engine was changed from outside: look at it again."""
        self._wakeup.wake()

    def close(self, code: int, reason: str, *, application: bool) -> None:
        """Say goodbye with the next step. The connection itself has been ended already."""
        if self._close_request is None:
            self._close_request = (code, reason, application)
            self._wakeup.wake()

    async def run(self) -> None:
        """Move the connection until it is over."""
        while True:
            datagrams = await self._take_turn()
            if datagrams:
                await self._transmit(datagrams)
            if self._over:
                return
            if self._inbox:
                self._wakeup.wake()
            await self._wakeup.wait(self._deadline)

    async def _take_turn(self) -> list[tuple[bytes, Address]]:
        """One step of ours, and then one round of the event loop before anyone else's.

        Drivers that are woken together, as those of many downloaders are, would else run all their
        steps in one round, milliseconds each, and everything that is no driver would wait for them.
        """
        try:
            self._turns.acquire_nowait()
        except trio.WouldBlock:
            await self._turns.acquire()
        try:
            received = self.datagrams_received
            datagrams = self._step(trio.current_time())
            if datagrams or self.datagrams_received != received:
                await trio.lowlevel.checkpoint()
            return datagrams
        finally:
            self._turns.release()

    async def finish(self) -> None:
        """Send the goodbye in the caller's task: the driver's own may be cancelled already.

        Also if there is one already: perhaps it was cancelled before that was sent, and to hear it
        twice does no harm.
        """
        if self._farewell is not None:
            await self._transmit(self._farewell)
        elif not self._over:
            await self._transmit(self._step(trio.current_time()))

    @property
    def never_started(self) -> bool:
        """Whether no authentic packet ever came to a listener."""
        return not self._engine.started

    # -- one step ----------------------------------------------------------------------------------

    def _step(self, now: float) -> list[tuple[bytes, Address]]:
        """All that can be done now without waiting; returns what is to be sent."""
        if self._over:
            return []
        if self._farewell is not None:
            return self._linger(now)
        try:
            return self._say_goodbye(now) if self._asked_to_close() else self._advance(now)
        except Exception as error:
            # Hostile input can make the engine raise nearly anything.
            return self._engine_failed(error, now)

    def _advance(self, now: float) -> list[tuple[bytes, Address]]:
        engine, driven = self._engine, self._driven
        batch = self._take_batch()
        if batch and engine.receive(batch, now):
            driven.last_received = now
        if not engine.started:
            # Whoever wrote the first datagram did not have even the keys that anyone can derive.
            self._end_silently(CloseInfo(0, "no authentic packet", "error", application=False))
            return []
        timer = engine.get_timer()
        if timer is not None and timer <= now:
            engine.handle_timer(now)
        driven.on_events(engine.take_events())
        if batch:
            driven.on_received()
        if self._asked_to_close():
            # An event, or what the peer made us hold, has ended the connection.
            return self._say_goodbye(now)
        if driven.established:
            self._look_at_path(now)
        datagrams = engine.datagrams_to_send(now)
        driven.on_events(engine.take_events())
        if engine.ending is not None:
            self._on_ending(datagrams, now)
        elif not driven.established and now >= self._handshake_deadline:
            self._end_silently(CloseInfo(0, "handshake timeout", "timeout", application=False))
        elif self._asked_to_close():
            self._wakeup.wake()
        else:
            self._deadline = self._next_deadline(now)
        return datagrams

    def _asked_to_close(self) -> bool:
        return self._close_request is not None

    def _take_batch(self) -> list[tuple[bytes, Address]]:
        inbox = self._inbox
        if len(inbox) <= limits.DATAGRAM_BATCH:
            batch = list(inbox)
            inbox.clear()
        else:
            batch = [inbox.popleft() for _ in range(limits.DATAGRAM_BATCH)]
        size = sum([len(data) for data, _ in batch])
        self._inbox_bytes -= size
        self.datagrams_received += len(batch)
        self.bytes_received += size
        return batch

    def _clear_inbox(self) -> None:
        self._inbox.clear()
        self._inbox_bytes = 0

    def _look_at_path(self, now: float) -> None:
        """Ask the system what the way to the peer carries, if that may have changed."""
        address = self._engine.peer_address
        if address is None or (address == self._path_address and now < self._path_check_at):
            return
        self._path_address = address = Address(*address[:2])
        self._path_check_at = now + limits.PATH_CHECK_S
        self._engine.path_is(self._socket_to(address).path_payload(address), address)

    def _next_deadline(self, now: float) -> float:
        timer = self._engine.get_timer()
        deadline = math.inf if timer is None else max(timer, now + MIN_SLEEP_S)
        if not self._driven.established:
            deadline = min(deadline, self._handshake_deadline)
        return deadline

    # -- the end -----------------------------------------------------------------------------------

    def _on_ending(self, last_datagrams: list[tuple[bytes, Address]], now: float) -> None:
        """The engine is closing: the peer closed, fell silent, or broke the protocol."""
        assert self._engine.ending is not None
        event, by_peer = self._engine.ending
        application = event.frame_type is None
        reason = clean_reason(event.reason_phrase)
        if by_peer:
            self._end_silently(CloseInfo(event.error_code, reason, "peer", application))
        elif self._engine.terminated and event.reason_phrase == IDLE_REASON:
            self._end_silently(CloseInfo(0, "idle timeout", "timeout", application=False))
        elif self._engine.terminated:
            self._end_silently(CloseInfo(event.error_code, reason, "error", application))
        else:
            # The engine has put its CONNECTION_CLOSE into what it just gave us.
            self._driven.end(CloseInfo(event.error_code, reason, "error", application))
            self._start_linger(last_datagrams or self._engine.datagrams_to_send(now), now)

    def _say_goodbye(self, now: float) -> list[tuple[bytes, Address]]:
        """Send what may still be sent, so that last words arrive, then the close."""
        assert self._close_request is not None
        code, reason, application = self._close_request
        engine = self._engine
        if not engine.started or engine.ending is not None:
            self._over = True
            return []
        last_words = engine.datagrams_to_send(now)
        engine.close(code, reason, application=application)
        farewell = engine.datagrams_to_send(now)
        self._start_linger(farewell, now)
        return last_words + farewell

    def _start_linger(self, farewell: list[tuple[bytes, Address]], now: float) -> None:
        """Stay for three probe timeouts, to repeat the goodbye to a peer that missed it."""
        self._farewell = farewell
        timer = self._engine.get_timer()
        self._linger_until = now
        if self.lingers and self._driven.established and farewell and timer is not None:
            self._linger_until = min(timer, now + limits.CLOSE_LINGER_S)
        self._over = self._linger_until <= now
        self._deadline = self._linger_until
        self._clear_inbox()

    def _linger(self, now: float) -> list[tuple[bytes, Address]]:
        assert self._farewell is not None
        answer: list[tuple[bytes, Address]] = []
        for _ in self._inbox:
            self._late_datagrams += 1
            # Ever fewer answers: two closed ends must not talk forever (RFC 9000 section 10.2.1).
            if self._late_datagrams & (self._late_datagrams - 1) == 0:
                answer = self._farewell
        self._clear_inbox()
        self._over = now >= self._linger_until or not self.lingers
        return answer

    def _end_silently(self, info: CloseInfo) -> None:
        self._driven.end(info)
        self._over = True

    def _engine_failed(self, error: Exception, now: float) -> list[tuple[bytes, Address]]:
        reason = clean_reason(f"{type(error).__name__}: {error}")
        code = int(QuicErrorCode.INTERNAL_ERROR)
        self._end_silently(CloseInfo(code, reason, "error", application=False))
        try:
            self._engine.close(code, "", application=False)
            return self._engine.datagrams_to_send(now)
        except Exception:
            # The engine is past talking; the peer will find out by silence.
            return []

    # -- sockets -----------------------------------------------------------------------------------

    async def _transmit(self, datagrams: list[tuple[bytes, Address]]) -> None:
        """Send in order, each run of datagrams to one address in one call."""
        start = 0
        count = len(datagrams)
        while start < count:
            address = datagrams[start][1]
            stop = start + 1
            while stop < count and datagrams[stop][1] == address:
                stop += 1
            run = [data for data, _ in datagrams[start:stop]]
            self.datagrams_sent += len(run)
            self.bytes_sent += sum([len(data) for data in run])
            await self._socket_to(address).send(run, address)
            start = stop

    def _socket_to(self, address: Address) -> DatagramSocket:
        return self._socket if self._via is None else self._via.get(address, self._socket)

    def _remember(self, address: Address, socket: DatagramSocket) -> None:
        assert self._via is not None
        self._via.pop(address, None)
        while len(self._via) >= MAX_PATHS:
            del self._via[next(iter(self._via))]
        self._via[address] = socket
