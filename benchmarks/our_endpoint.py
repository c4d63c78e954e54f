"""Our QUIC endpoint alone: two processes, one stream, bytes from memory to nowhere.

python -m benchmarks.our_endpoint serve BYTES
python -m benchmarks.our_endpoint fetch PORT
"""

from __future__ import annotations

import json
import sys
import time

import trio

from benchmarks.our_peer import PAYLOAD_BYTES
from lanspread.identity import new_identity
from lanspread.platform import RealEntropy, RealThreads
from lanspread.seams import Address
from lanspread.transport import (
    Endpoint,
    EndpointOptions,
    TlsIdentity,
    TransportError,
    open_endpoint,
)
from lanspread.transport.udp import UdpNetwork

PIECE = bytes(256 * 1024)


async def serve(endpoint: Endpoint, total: int) -> None:
    connection = await endpoint.accept()
    stream = await connection.accept_stream()
    await stream.receive_some()
    left = total
    while left:
        size = min(left, len(PIECE))
        await stream.send_all(PIECE[:size])
        left -= size
    await stream.send_eof()
    await connection.wait_closed()


async def fetch(endpoint: Endpoint, port: int) -> None:
    print(json.dumps({"ready": True}), flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)
    connection = await endpoint.connect(Address("127.0.0.1", port))
    stream = await connection.open_stream()
    start = time.monotonic()
    await stream.send_all(b"go")
    received = 0
    while data := await stream.receive_some():
        received += len(data)
    print(json.dumps({"bytes": received, "seconds": time.monotonic() - start}), flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)


async def main(role: str, number: int) -> None:
    socket = await UdpNetwork(RealThreads()).bind(Address("127.0.0.1", 0))
    identity = new_identity(RealEntropy())
    tls = TlsIdentity(identity.certificate, identity.private_key)
    try:
        options = EndpointOptions(payload_bytes=PAYLOAD_BYTES)
        async with open_endpoint([socket], tls, options) as endpoint:
            if role == "serve":
                print(json.dumps({"port": socket.address.port}), flush=True)
                await serve(endpoint, number)
            else:
                await fetch(endpoint, number)
    except TransportError as error:
        raise SystemExit(f"connection ended: {error}") from error


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
