"""The byte stream under a client: replays what was read ahead, and never waits on a dead reader."""

from __future__ import annotations

import trio

SEND_BYTES = 64 * 1024
# A client that takes not one piece of `SEND_BYTES` in this time has stopped reading.
STALL_S = 5.0
# Empty fragments never make a message, and the library below keeps each: a client may send this
# much without completing one. Empty pings every 10 s fill it in five months.
MAX_UNFINISHED_BYTES = 8 * 1024 * 1024
LINGER_S = 0.5
LINGER_BYTES = 16 * 1024 * 1024


class ClientStream(trio.abc.Stream):
    """A stream whose first bytes were read before; `stalled` is set once it stops reading."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, replay: bytes) -> None:
        self._stream = stream
        self._replay = replay
        self._unfinished_bytes = 0
        self.stalled = trio.Event()

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
        """Send everything. A client that stalls breaks the stream: `trio.BrokenResourceError`.

        Every sender goes through here (answers, events, pongs, close frames), so none of them can
        hang. Cancellation may leave a frame half sent: the connection is then worthless.
        """
        view = memoryview(data)
        for start in range(0, len(view), SEND_BYTES):
            with trio.move_on_after(STALL_S) as scope:
                await self._stream.send_all(view[start : start + SEND_BYTES])
            if scope.cancelled_caught:
                self.stalled.set()
                raise trio.BrokenResourceError("the client does not read")

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
