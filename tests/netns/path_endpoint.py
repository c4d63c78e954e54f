"""One end of a transfer, for hosts in network namespaces; prints what its connection found out.

python -m tests.netns.path_endpoint serve HOST PORT BYTES
python -m tests.netns.path_endpoint fetch HOST PORT
"""

from __future__ import annotations

import json
import sys

import attrs
import trio

from lanspread.identity import new_identity
from lanspread.platform import RealEntropy, RealThreads
from lanspread.seams import Address
from lanspread.transport import Connection, Endpoint, TlsIdentity, open_endpoint
from lanspread.transport.udp import UdpNetwork

PIECE = bytes(100_000)


async def serve(endpoint: Endpoint, total: int) -> None:
    """Answer one request in two halves; the second begins when it is asked for."""
    print("ready", flush=True)
    connection = await endpoint.accept()
    stream = await connection.accept_stream()
    for _ in range(2):
        await stream.receive_some()
        for _ in range(total // 2 // len(PIECE)):
            await stream.send_all(PIECE)
        await stream.send_all(b"!")
        report(connection)
    await stream.send_eof()
    await connection.wait_closed()


async def fetch(endpoint: Endpoint, server: Address) -> None:
    connection = await endpoint.connect(server)
    stream = await connection.open_stream()
    for _ in range(2):
        await stream.send_all(b"go")
        received = 0
        while data := await stream.receive_some():
            received += len(data)
            if data.endswith(b"!"):
                break
        print(received, flush=True)
        # Between the halves the test changes the network.
        await trio.to_thread.run_sync(sys.stdin.readline)


def report(connection: Connection) -> None:
    print(json.dumps(attrs.asdict(connection.statistics())), flush=True)


async def main(role: str, host: str, port: str, total: str) -> None:
    identity = new_identity(RealEntropy())
    tls = TlsIdentity(identity.certificate, identity.private_key)
    wildcard = "::" if ":" in host else "0.0.0.0"
    here = Address(wildcard, int(port) if role == "serve" else 0)
    socket = await UdpNetwork(RealThreads()).bind(here)
    async with open_endpoint([socket], tls) as endpoint:
        if role == "serve":
            await serve(endpoint, int(total))
        else:
            await fetch(endpoint, Address(host, int(port)))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], "".join(sys.argv[4:]))
