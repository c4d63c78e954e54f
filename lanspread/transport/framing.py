"""Frames on a stream: a 4-byte big-endian length, then that many bytes; raw bytes may follow.

Source: docs/protocol.md, "Frames".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from lanspread import limits
from lanspread.transport.stream import Stream

_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The bytes on the stream are not frames as agreed; the connection cannot go on."""


class Receives(Protocol):
    """What frames are read from: a `trio.abc.ReceiveStream`, or what reads like one."""

    async def receive_some(self, max_bytes: int) -> bytes | bytearray: ...


def frame(payload: bytes) -> bytes:
    """`payload` with its length before it. Raises `FrameError` above 1 MiB: our own mistake."""
    if len(payload) > limits.MAX_MESSAGE_BYTES:
        raise FrameError(f"a message of {len(payload)} bytes is longer than a frame may be")
    return _LENGTH.pack(len(payload)) + payload


def read_frame(receive: Callable[[int], bytes]) -> bytes:
    """The next frame where reading blocks; `receive` gives as many bytes as it is asked for.

    Raises `FrameError`, and what `receive` raises.
    """
    (length,) = _LENGTH.unpack(receive(_LENGTH.size))
    if length > limits.MAX_MESSAGE_BYTES:
        raise FrameError(f"a frame of {length} bytes is longer than allowed")
    return receive(length)


class FrameReader:
    """Reads frames of at most `max_frame_bytes`, and raw bytes behind them, off one stream.

    Holds no byte behind the frame that is being read, and of a QUIC stream nothing but the length
    before all of the frame has arrived. Cancelling a read keeps what has arrived.
    """

    def __init__(
        self,
        stream: Receives,
        *,
        max_frame_bytes: int = limits.MAX_MESSAGE_BYTES,
    ) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._stream = stream
        self._buffer = bytearray()

    async def frame(self) -> bytes | None:
        """The next frame, or None at a clean end before one. Raises `FrameError`."""
        if not await self._fill(4):
            if self._buffer:
                raise FrameError("the stream ended inside a frame")
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self.max_frame_bytes:
            raise FrameError(f"a frame of {length} bytes is longer than allowed")
        if not await self._fill(4 + length):
            raise FrameError("the stream ended inside a frame")
        with memoryview(self._buffer) as view:
            payload = bytes(view[4:])
        self._buffer = bytearray()
        return payload

    async def raw(self, max_bytes: int) -> bytes:
        """Between 1 and `max_bytes` bytes that follow a frame, or `b""` at a clean end."""
        return bytes(await self._stream.receive_some(max_bytes))

    async def _fill(self, size: int) -> bool:
        while (missing := size - len(self._buffer)) > 0:
            if isinstance(self._stream, Stream):
                # Until a frame is there it stays where it is counted.
                await self._stream.wait_unread(missing)
            data = await self._stream.receive_some(missing)
            if not data:
                return False
            self._buffer += data
        return True
