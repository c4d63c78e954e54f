"""A WebSocket by hand, for clients that no library would be: real sockets, frames as bytes."""

from __future__ import annotations

from collections.abc import Iterator

import trio

from lanspread.api import ApiServer
from tests.api.fake import TOKEN, UPGRADE, port_of, request

CLOSE = 8


async def raw_websocket(server: ApiServer, receive_bytes: int | None = None) -> trio.SocketStream:
    """A connection that has read its `hello`. `receive_bytes`: what the system takes for it."""
    socket = trio.socket.socket()
    if receive_bytes is not None:
        socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_bytes)
    await socket.connect(("127.0.0.1", port_of(server)))
    stream = trio.SocketStream(socket)
    await stream.send_all(request(f"/ws?token={TOKEN}", **UPGRADE).encode())
    received = b""
    while b"hello" not in received:
        received += await stream.receive_some()
    assert received.startswith(b"HTTP/1.1 101")
    return stream


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A frame of a client."""
    assert len(payload) < 126
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Opcode and payload of each frame of a server; the last may be cut off, and is left out."""
    while len(data) >= 2:
        size, start = data[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start])
        if len(data) < start + size:
            return
        yield data[0] & 0x0F, data[start : start + size]
        data = data[start + size :]


async def read_to_the_end(stream: trio.SocketStream) -> bytes:
    """Everything that comes until the connection ends, in whichever way."""
    data = bytearray()
    with trio.fail_after(20):
        try:
            while chunk := await stream.receive_some():
                data += chunk
        except trio.BrokenResourceError:
            pass
    return bytes(data)
