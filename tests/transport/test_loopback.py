"""Over real UDP sockets of this machine: two endpoints, one stream."""

from __future__ import annotations

import os

import trio

from lanspread.transport import open_endpoint
from tests.transport.memory import IDENTITY, LoopbackSocket


async def test_a_transfer_over_loopback() -> None:
    data = os.urandom(4_000_000)
    with trio.fail_after(30):
        async with (
            open_endpoint([await LoopbackSocket.bind()], IDENTITY) as listening,
            open_endpoint([await LoopbackSocket.bind()], IDENTITY) as dialing,
            trio.open_nursery() as nursery,
        ):
            client = await dialing.connect(listening.addresses[0])
            stream = await client.open_stream()

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            nursery.start_soon(send)
            server = await listening.accept()
            far = await server.accept_stream()
            received = bytearray()
            while part := await far.receive_some():
                received += part
            assert received == data
            rtt = client.statistics().rtt_s
            assert rtt is not None
            assert rtt < 5
