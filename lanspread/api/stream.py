"""The byte stream under a client: replays what was read ahead, and never waits on a dead reader.

Everything that is sent to a client goes through here (answers, events, pongs, close frames), so
this is the one place that knows when a client does not read, and the one that parts from it.
Source: ARCHITECTURE.md, "A front-end that does not read".
"""

from __future__ import annotations

import contextlib

import trio

SEND_BYTES = 64 * 1024
# A client that takes not one piece of `SEND_BYTES` in this time does not read.
STALL_S = 5.0
# How long the farewell may wait for room behind what is on its way already.
FAREWELL_S = 0.8
# Empty fragments never make a message, and the library below keeps each: a client may send this
# much without completing one. Empty pings every 10 s fill it in five months.
MAX_UNFINISHED_BYTES = 8 * 1024 * 1024
LINGER_S = 0.5
LINGER_BYTES = 16 * 1024 * 1024
_NO_LIMIT = 2**31 - 1


class ClientStream(trio.abc.Stream):
    """A stream whose first bytes were read before.

    A client that does not read is expelled: what it was being sent is completed, `farewell` is put
    behind it, and from then on every sender gets `trio.BrokenResourceError`. `told`: the farewell
    is on its way in whole.
    """

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, replay: bytes, farewell: bytes = b""
    ) -> None:
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._replay = replay
        self._farewell = farewell
        self._unfinished_bytes = 0
        self._piece: trio.CancelScope | None = None
        self._parted = trio.Event()
        self.expelled = False
        self.told = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._replay:
            await trio.lowlevel.checkpoint()
            size = len(self._replay) if max_bytes is None else max_bytes
            data, self._replay = self._replay[:size], self._replay[size:]
            return data
        data = bytes(await self._stream.receive_some(max_bytes))
        self._unfinished_bytes += len(data)
        if self._unfinished_bytes > MAX_UNFINISHED_BYTES:
            raise trio.BrokenResourceError("the client completes no message")
        return data

    def message_completed(self) -> None:
        """A whole message came out of what was received."""
        self._unfinished_bytes = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. A client that stalls is expelled: `trio.BrokenResourceError`.

        Cancellation may leave a frame half sent: the connection is then worthless.
        """
        rest = memoryview(data)
        while rest and not self.expelled:
            piece, taken = rest[:SEND_BYTES], 0
            try:
                with trio.move_on_after(STALL_S) as self._piece:
                    while taken < len(piece):
                        taken += await self._send_some(piece[taken:])
            finally:
                self._piece = None
            rest = rest[taken:]
            if taken < len(piece) or self.expelled:
                self.expelled = True
                # What a stream that is no socket has taken of a piece is not known.
                await self._part(rest if taken or self._socket is not None else None)
        if self.expelled:
            raise trio.BrokenResourceError("the client does not read")
        if not data:
            await trio.lowlevel.checkpoint()

    async def expel(self) -> None:
        """Part from the client, which does not read; returns when all is said, or cannot be."""
        if self._piece is None and not self.expelled:
            self.expelled = True
            await self._part(memoryview(b""))
            return
        self.expelled = True
        if self._piece is not None:
            self._piece.cancel()  # Whoever is sending says the rest.
        with trio.move_on_after(FAREWELL_S):
            await self._parted.wait()

    async def _part(self, rest: memoryview | None) -> None:
        """Complete what was begun and say farewell. Waits a bounded time for room."""
        try:
            if rest is None:
                return
            self._take_room()
            words = memoryview(bytes(rest) + self._farewell)
            with trio.move_on_after(FAREWELL_S):
                while words:
                    words = words[await self._send_some(words) :]
                self.told = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._parted.set()

    def _take_room(self) -> None:
        """Let the system take what trio holds back to keep it short of unsent bytes: a reader that
        comes back finds it there."""
        option = getattr(trio.socket, "TCP_NOTSENT_LOWAT", None)
        if self._socket is not None and option is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(trio.socket.IPPROTO_TCP, option, _NO_LIMIT)

    async def _send_some(self, data: memoryview) -> int:
        """Send a part, and say how much. Cancelled, a socket has taken none of it."""
        if self._socket is None:
            await self._stream.send_all(data)
            return len(data)
        try:
            return await self._socket.send(data)
        except OSError as error:
            raise trio.BrokenResourceError("the connection failed") from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Does nothing: the server closes the TCP stream, once what was sent had time to arrive."""
        await trio.lowlevel.checkpoint()


async def linger(stream: trio.abc.HalfCloseableStream) -> None:
    """Let the last answer arrive before the stream is closed.

    Closing with unread bytes in the socket resets the connection, and a reset can overtake what
    was sent: an answer to a request that is still arriving would be lost. Bounded in time and
    bytes. The stream is left half closed.
    """
    with trio.move_on_after(LINGER_S):
        try:
            await stream.send_eof()
            left = LINGER_BYTES
            while left > 0:
                data = await stream.receive_some(SEND_BYTES)
                if not data:
                    return
                left -= len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
