"""One bidirectional QUIC stream as a `trio.abc.HalfCloseableStream`.

Source: RFC 9000 sections 2, 3, 19.4, 19.5; ARCHITECTURE.md, "Transport".
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final

import trio

from lanspread.transport.errors import (
    MAX_CODE,
    CloseInfo,
    ConnectionLost,
    StreamReset,
    StreamStopped,
    TransportCode,
)
from lanspread.transport.statistics import StreamStatistics
from lanspread.transport.waiting import OneAtATime

if TYPE_CHECKING:
    from lanspread.transport.connection import Connection


class Stream(trio.abc.HalfCloseableStream):
    """Made by `Connection.open_stream` and `Connection.accept_stream` only.

    At most one task sends and one receives at a time; a second gets `trio.BusyResourceError`.
    Everything raises `ConnectionLost` once the connection has ended, but what had arrived in order
    before a peer's close (or its silence) can still be read.
    """

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self.id: Final = stream_id
        self._connection = connection
        self._lost: CloseInfo | None = None
        self._aclosed = False
        # The receiving half.
        self._buffer = bytearray()
        self._received_bytes = 0
        self._consumed_bytes = 0
        self._all_received = False
        self._reset_code: int | None = None
        self._discarding = False
        self._readable: trio.Event | None = None
        self._receive_guard = OneAtATime("another task is receiving from this stream")
        # The sending half.
        self._sent_bytes = 0
        self._send_ended = False
        self._send_torn = False
        self._stopped_code: int | None = None
        self._writable: trio.Event | None = None
        self._send_guard = OneAtATime("another task is sending to this stream")

    def __repr__(self) -> str:
        return f"<Stream {self.id}>"

    # -- sending -----------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue all of `data` for sending; wait while the peer or the network is behind.

        Returning does not mean that the peer has it. Raises `StreamStopped` if the peer asked us
        to stop, `ConnectionLost` if the connection ended, `trio.ClosedResourceError` after
        `send_eof`, `reset` or `aclose`. A call that is cancelled may have sent any part of `data`;
        `aclose` then resets the stream, so that what is missing never looks like a clean end.
        """
        with self._send_guard:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            rest = memoryview(data).cast("B")
            try:
                while rest:
                    room = self._connection.send_room(self)
                    if not room:
                        await self._wait_writable()
                        continue
                    self._connection.write(self, rest[:room])
                    self._sent_bytes += min(room, len(rest))
                    rest = rest[room:]
            except BaseException:
                self._send_torn = True
                raise

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` would have room for some bytes. Raises as `send_all` does."""
        with self._send_guard:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            while not self._connection.send_room(self):
                await self._wait_writable()

    async def send_eof(self) -> None:
        """End the sending half cleanly (FIN). Again: no effect. Raises as `send_all` does."""
        with self._send_guard:
            await trio.lowlevel.checkpoint()
            if self._send_ended and not self._aclosed and self._stopped_code is None:
                return
            self._check_sendable()
            self._finish_sending()

    def reset(self, code: int) -> None:
        """Abandon the sending half (RESET_STREAM): what is queued is dropped, the peer gets `code`.

        No effect on a half that was reset or stopped before. After `send_eof` it takes back
        whatever the peer has not acknowledged yet.
        """
        _check_code(code)
        if self._lost is None and self._stopped_code is None:
            self._connection.reset_stream(self, code)
        self._send_ended = self._send_torn = True
        self._wake_sender()
        self._connection.release_if_done(self)

    def _check_sendable(self) -> None:
        if self._aclosed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        if self._stopped_code is not None:
            raise StreamStopped(self._stopped_code)
        if self._send_ended:
            raise trio.ClosedResourceError("the sending half was ended")

    async def _wait_writable(self) -> None:
        self._writable = trio.Event()
        self._connection.wants_room(self)
        try:
            await self._writable.wait()
        finally:
            self._writable = None
        self._check_sendable()

    def _wake_sender(self) -> None:
        if self._writable is not None:
            self._writable.set()

    def _finish_sending(self) -> None:
        self._send_ended = True
        self._connection.write(self, b"", end_stream=True)
        self._connection.release_if_done(self)

    # -- receiving ---------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for data and return what is there, at most `max_bytes`; b"" is the clean end (FIN).

        Raises `StreamReset` if the peer abandoned its half: at once, and what had arrived unread
        before it is dropped, because a peer resets a stream whose content has become worthless.
        Raises `ConnectionLost` if the connection ended before the stream did, and
        `trio.ClosedResourceError` after `stop` or `aclose`. Cancellation loses no data.
        """
        if max_bytes is not None:
            max_bytes = operator.index(max_bytes)
            if max_bytes < 1:
                raise ValueError("max_bytes must be at least 1")
        with self._receive_guard:
            await trio.lowlevel.checkpoint()
            while True:
                if self._discarding:
                    raise trio.ClosedResourceError("the receiving half was closed")
                if self._reset_code is not None:
                    raise StreamReset(self._reset_code)
                if self._buffer:
                    return self._take(max_bytes)
                if self._all_received:
                    return b""
                if self._lost is not None:
                    raise ConnectionLost(self._lost)
                self._readable = trio.Event()
                try:
                    await self._readable.wait()
                finally:
                    self._readable = None

    async def wait_unread(self, size: int) -> None:
        """Wait until `size` bytes are there to be received, or until there will not be so many.

        What is waited for so counts as unread, within the bounds on what a peer may make us hold,
        which it would not if it were gathered outside. `size` must be well below the window of a
        stream. Raises nothing of its own: `receive_some` says what is wrong.
        """
        with self._receive_guard:
            await trio.lowlevel.checkpoint()
            while len(self._buffer) < size and not self._receive_ended:
                self._readable = trio.Event()
                try:
                    await self._readable.wait()
                finally:
                    self._readable = None

    def stop(self, code: int) -> None:
        """Ask the peer to stop sending (STOP_SENDING); whatever still comes is dropped.

        No effect on what has all arrived, but that it can no longer be read.
        """
        _check_code(code)
        if self._discarding:
            return
        self._discarding = True
        if self._lost is None and not self._all_received and self._reset_code is None:
            self._connection.stop_stream(self, code)
        self._drop_unread()
        self._wake_receiver()
        self._connection.release_if_done(self)

    @property
    def _receive_ended(self) -> bool:
        return (
            self._discarding
            or self._all_received
            or self._reset_code is not None
            or self._lost is not None
        )

    def _take(self, max_bytes: int | None) -> bytes:
        buffer = self._buffer
        if max_bytes is None or len(buffer) <= max_bytes:
            data = bytes(buffer)
            self._buffer = bytearray()
        else:
            with memoryview(buffer) as view:
                data = bytes(view[:max_bytes])
            del buffer[:max_bytes]
        self._consume(len(data))
        if self._all_received and not self._buffer:
            self._connection.release_if_done(self)
        return data

    def _consume(self, size: int) -> None:
        self._consumed_bytes += size
        self._connection.consumed(self, size, self._consumed_bytes)

    def _drop_unread(self) -> None:
        if self._buffer:
            size = len(self._buffer)
            self._buffer = bytearray()
            self._consume(size)

    def _wake_receiver(self) -> None:
        if self._readable is not None:
            self._readable.set()

    # -- closing -----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Let go of both halves; never waits for the peer.

        The sending half ends with FIN if all of every `send_all` was queued, and is reset with
        code 0 if a `send_all` was cut short. The receiving half is stopped with code 0 unless all
        of it had arrived. Cancelled, it does the same: this is also the forceful close.
        """
        if not self._aclosed:
            if not self._send_ended and self._stopped_code is None and self._lost is None:
                if self._send_torn or self._send_guard.busy:
                    self.reset(TransportCode.NONE)
                else:
                    self._finish_sending()
            self._aclosed = True
            self.stop(TransportCode.NONE)
            self._wake_sender()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> StreamStatistics:
        return StreamStatistics(
            bytes_sent=self._sent_bytes,
            bytes_received=self._received_bytes,
            unacknowledged_bytes=self._connection.unacknowledged(self),
            unread_bytes=len(self._buffer),
        )

    # -- called by the connection ------------------------------------------------------------------

    def on_data(self, data: bytes, end_stream: bool) -> int:
        """Data in order; return the bytes that are now held for the application."""
        size = len(data)
        self._received_bytes += size
        if end_stream:
            self._all_received = True
        if self._discarding:
            self._consume(size)
            size = 0
        else:
            self._buffer += data
        if self._readable is not None:
            self._readable.set()
        return size

    def on_reset(self, code: int, final_size: int) -> None:
        """The peer abandoned its half; what it counted of our credit is given back."""
        self._reset_code = code
        self._drop_unread()
        self._consume(final_size - self._consumed_bytes)
        self._wake_receiver()

    def on_stop(self, code: int) -> None:
        """The peer wants no more; the engine has answered with a reset."""
        if self._stopped_code is None:
            self._stopped_code = code
        self._wake_sender()

    def on_room(self) -> None:
        """Some of what was queued has been acknowledged."""
        self._wake_sender()

    def on_lost(self, info: CloseInfo) -> None:
        """The connection ended. What arrived stays readable unless we ended it."""
        self._lost = info
        if info.by in ("us", "error"):
            self._buffer = bytearray()
            self._all_received = False
        self._wake_sender()
        self._wake_receiver()

    @property
    def finished(self) -> bool:
        """Whether nothing more can come of either half, and the application has all of it."""
        sent = self._send_ended or self._stopped_code is not None
        received = self._reset_code is not None or (self._all_received and not self._buffer)
        return sent and received

    @property
    def unread_bytes(self) -> int:
        return len(self._buffer)


def _check_code(code: int) -> None:
    if not 0 <= code <= MAX_CODE:
        raise ValueError("a code is a number from 0 to 2^62 - 1")
