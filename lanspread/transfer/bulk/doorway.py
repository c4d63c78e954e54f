"""The listening side of lanes: who may come in.

A stranger costs one bounded slot for a few seconds and no thread: the id of a ticket comes first
and in clear, and what has none is closed before any cryptography.
Source: docs/protocol.md, "Lanes"; ARCHITECTURE.md, "The second path for bulk data".
"""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import structlog
import trio

from lanspread import limits
from lanspread.seams import Threads
from lanspread.sync.fair import FairSlots
from lanspread.transfer.bulk.tickets import ID_BYTES, SECRET_BYTES, Ticket, TicketBook
from lanspread.transport.lane import Lane, LaneBroken
from lanspread.transport.tcp import accept

_log = structlog.get_logger(__name__)

# After the system refused to accept (out of descriptors, say), so long nobody comes in.
_PAUSE_S = 0.1


class Arrivals:
    """Lanes that were let in, each for the one who gave out its ticket."""

    def __init__(self) -> None:
        self._expected: dict[Ticket, trio.MemorySendChannel[Lane]] = {}

    @contextmanager
    def expect(self, ticket: Ticket) -> Iterator[trio.MemoryReceiveChannel[Lane]]:
        """Where the lane of this ticket will come; the caller closes it. From before it is told."""
        send, receive = trio.open_memory_channel[Lane](1)
        self._expected[ticket] = send
        try:
            yield receive
        finally:
            del self._expected[ticket]
            # It may have come just when nobody waited any more.
            with suppress(trio.WouldBlock):
                receive.receive_nowait().close()
            receive.close()
            send.close()

    def deliver(self, ticket: Ticket, lane: Lane) -> bool:
        """Whether somebody expects it; if not, the lane stays the caller's."""
        channel = self._expected.get(ticket)
        if channel is None:
            return False
        channel.send_nowait(lane)
        return True


class Doorway:
    """Accepts connections on `listeners`, which stay the caller's, and checks their tickets."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        context: ssl.SSLContext,
        threads: Threads,
        book: TicketBook,
        arrivals: Arrivals,
    ) -> None:
        self._listeners = listeners
        self._context = context
        self._threads = threads
        self._book = book
        self._arrivals = arrivals
        self._pending: Counter[str] = Counter()
        # A message is read in a moment, or in `LANE_READ_S` from somebody who sends nothing that is
        # one: no host can take all the threads with that.
        self._reading = FairSlots(limits.MAX_LANES_READING)

    async def run(self) -> None:
        """Let lanes in until cancelled."""
        async with trio.open_nursery() as nursery:
            for listener in self._listeners:
                nursery.start_soon(self._accept, listener, nursery)

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        failing = False
        while True:
            try:
                sock, host = await accept(listener)
            except OSError as error:
                if not failing:
                    _log.warning("no connection can be accepted", why=str(error))
                failing = True
                await trio.sleep(_PAUSE_S)
                continue
            failing = False
            if (
                self._pending.total() >= limits.MAX_LANES_PENDING
                or self._pending[host] >= limits.MAX_LANES_PENDING_PER_HOST
            ):
                sock.close()
                continue
            self._pending[host] += 1
            nursery.start_soon(self._admit, sock, host)

    async def _admit(self, sock: socket.socket, host: str) -> None:
        lane: Lane | None = None
        try:
            with trio.move_on_after(limits.LANE_ADMISSION_S):
                ticket_id = await _read_clear(sock, ID_BYTES)
                ticket = self._book.find(ticket_id, trio.current_time())
                if ticket is None:
                    sock.close()
                    return
                lane = Lane(
                    sock,
                    self._context,
                    self._threads,
                    listening=True,
                    turn=partial(self._reading.take, host),
                )
                await lane.handshake()
                secret = await lane.receive_exactly(SECRET_BYTES)
                if self._book.spend(ticket, secret, trio.current_time()) and self._arrivals.deliver(
                    ticket, lane
                ):
                    lane = None
        except (LaneBroken, OSError) as error:
            _log.info("no lane came of a connection", host=host, why=str(error))
        except Exception:
            # Whoever knocks chooses what is read here; nothing of it may end the doorway.
            _log.exception("a fault of the program, met by a connection", host=host)
        finally:
            if lane is not None:
                lane.close()
            self._pending[host] -= 1
            if not self._pending[host]:
                del self._pending[host]


async def _read_clear(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, none behind them. Raises `OSError`; then the socket is closed."""
    data = bytearray()
    complete = False
    try:
        while len(data) < size:
            await trio.lowlevel.wait_readable(sock)
            try:
                more = sock.recv(size - len(data))
            except BlockingIOError:
                continue
            if not more:
                raise ConnectionError("it ended before it named a ticket")
            data += more
        complete = True
        return bytes(data)
    finally:
        if not complete:
            sock.close()
