"""Frames on a stream: a 4-byte big-endian length, then that many bytes; raw bytes may follow.

Source: docs/protocol.md, "Frames".
"""

from __future__ import annotations

import struct

import trio

from lanspread import limits
from lanspread.transport.stream import Stream

_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The bytes on the stream are not frames as agreed; the connection cannot go on."""


def frame(payload: bytes) -> bytes:
    """`payload` with its length before it. Raises `FrameError` above 1 MiB: our own mistake."""
    if len(payload) > limits.MAX_MESSAGE_BYTES:
        raise FrameError(f"a message of {len(payload)} bytes is longer than a frame may be")
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Reads frames, and raw bytes between or after them, off one stream.

    Holds at most one frame and one read, and of a QUIC stream nothing before the frame has all
    arrived. Cancelling a read keeps what has arrived.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def frame(self) -> bytes | None:
        """The next frame, or None at a clean end before one. Raises `FrameError`."""
        if not await self._fill(4):
            if self._buffer:
                raise FrameError("the stream ended inside a frame")
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > limits.MAX_MESSAGE_BYTES:
            raise FrameError(f"a frame of {length} bytes is longer than allowed")
        if not await self._fill(4 + length):
            raise FrameError("the stream ended inside a frame")
        payload = bytes(memoryview(self._buffer)[4 : 4 + length])
        del self._buffer[: 4 + length]
        return payload

    async def raw(self, max_bytes: int) -> bytes:
        """Between 1 and `max_bytes` bytes that follow a frame, or `b""` at a clean end."""
        if self._buffer:
            data = bytes(memoryview(self._buffer)[:max_bytes])
            del self._buffer[:max_bytes]
            return data
        return bytes(await self._stream.receive_some(max_bytes))

    async def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            if isinstance(self._stream, Stream):
                # Until a frame is there it stays where it is counted.
                await self._stream.wait_unread(size - len(self._buffer))
            data = await self._stream.receive_some(limits.READ_BYTES)
            if not data:
                return False
            self._buffer += data
        return True
