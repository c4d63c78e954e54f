"""trio's own checks of what a stream promises, over real QUIC in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock, check_half_closeable_stream

from lanspread.transport import Connection, EndpointOptions, Stream
from tests.transport.memory import MemoryNetwork, open_pair


def stream_maker(
    client: Connection, server: Connection
) -> Callable[[], Awaitable[tuple[Stream, Stream]]]:
    async def make() -> tuple[Stream, Stream]:
        near = await client.open_stream()
        # The peer hears of a stream with its first data.
        await near.send_all(b"!")
        far = await server.accept_stream()
        assert await far.receive_some(1) == b"!"
        return near, far

    return make


async def test_streams_pass_trios_checks(autojump_clock: MockClock) -> None:
    # A small bound and window, so that a clogged stream is made quickly.
    options = EndpointOptions(
        send_high_water_bytes=20_000, stream_window_bytes=20_000, connection_window_bytes=400_000
    )
    async with open_pair(MemoryNetwork(latency_s=0), options=options) as pair:
        make = stream_maker(pair.client, pair.server)

        async def make_clogged() -> tuple[Stream, Stream]:
            near, far = await make()
            for sender in (near, far):
                with trio.move_on_after(2):
                    while True:
                        await sender.send_all(b"x" * 1_000)
            return near, far

        await check_half_closeable_stream(make, make_clogged)
