"""What a peer can make us hold: stalled readers, and peers that do not keep to the rules."""

from __future__ import annotations

import contextlib

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.limits import MIB
from lanspread.seams import Address
from lanspread.transport import (
    Connection,
    ConnectionLost,
    EndpointOptions,
    Stream,
    TransportCode,
    open_endpoint,
)
from tests.transport.memory import IDENTITY, A, B, MemoryNetwork, open_pair
from tests.transport.raw import RawClient, buffered, withhold_first_byte


async def test_a_stalled_reader_costs_one_window_and_the_connection_lives(
    autojump_clock: MockClock,
) -> None:
    total = 40 * MIB
    async with open_pair() as pair, trio.open_nursery() as nursery:
        streams = [await pair.client.open_stream() for _ in range(8)]

        async def send(stream: Stream) -> None:
            await stream.send_all(bytes(total // 8))
            await stream.send_eof()

        for stream in streams:
            nursery.start_soon(send, stream)
        far = [await pair.server.accept_stream() for _ in streams]
        await trio.sleep(20)
        held = buffered(pair.listening)
        assert held == pair.server.statistics().unread_bytes
        assert 8 * MIB < held <= limits.QUIC_CONNECTION_WINDOW_BYTES
        assert held < limits.MAX_CONNECTION_BUFFER_BYTES
        assert pair.server.closed is None
        received = 0

        async def read(stream: Stream) -> None:
            nonlocal received
            while data := await stream.receive_some(MIB):
                received += len(data)

        async with trio.open_nursery() as readers:
            for stream in far:
                readers.start_soon(read, stream)
        assert received == total
        assert buffered(pair.listening) == 0


async def test_one_stalled_stream_leaves_room_for_the_others(autojump_clock: MockClock) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:
        near = await pair.client.open_stream()
        nursery.start_soon(near.send_all, bytes(40 * MIB))
        await pair.server.accept_stream()
        await trio.sleep(5)
        control = await pair.client.open_stream()
        await control.send_all(b"ping")
        far = await pair.server.accept_stream()
        with trio.fail_after(1):
            assert await far.receive_some() == b"ping"
        nursery.cancel_scope.cancel()


async def test_credit_of_reset_and_dropped_streams_comes_back(autojump_clock: MockClock) -> None:
    # Otherwise a connection would starve after a few aborted transfers.
    options = EndpointOptions(stream_window_bytes=100_000, connection_window_bytes=400_000)
    async with open_pair(options=options) as pair:
        for number in range(30):
            near = await pair.client.open_stream()
            with trio.move_on_after(1):
                await near.send_all(bytes(300_000))
            far = await pair.server.accept_stream()
            if number % 3 == 0:
                near.reset(1)
            elif number % 3 == 1:
                far.stop(1)
            await near.aclose()
            await far.aclose()
        await trio.sleep(1)
        near = await pair.client.open_stream()
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.send_all, bytes(300_000))
                far = await pair.server.accept_stream()
                received = 0
                while received < 300_000:
                    received += len(await far.receive_some())
        assert pair.server.statistics().streams == 1


@pytest.mark.parametrize("how", ["lost", "unwanted"])
async def test_credit_of_data_that_nobody_saw_comes_back(
    autojump_clock: MockClock, how: str
) -> None:
    options = EndpointOptions(stream_window_bytes=30_000, connection_window_bytes=40_000)
    async with open_pair(options=options) as pair:
        network = pair.network
        for _ in range(40):
            near = await pair.client.open_stream()
            await near.send_all(b"!")
            far = await pair.server.accept_stream()
            if how == "lost":
                # Sent, lost, then reset: it counts against us up to the final size.
                network.lose = lambda data, source, target: target == B
                await near.send_all(bytes(10_000))
                await trio.sleep(0.0015)
                near.reset(1)
                network.lose = lambda *_: False
            else:
                # All of it arrives, with its end, after we stopped reading.
                await near.send_all(bytes(8_000))
                await near.send_eof()
                far.stop(1)
            await far.aclose()
            await near.aclose()
            await trio.sleep(1)
        near = await pair.client.open_stream()
        with trio.fail_after(5):
            await near.send_all(b"still room")
            assert await (await pair.server.accept_stream()).receive_some() == b"still room"
        assert pair.client.statistics().streams == 1


async def test_withheld_first_bytes_are_bounded_by_the_window(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        client = RawClient(network.bind(A), B)
        await client.pump(1)
        server = await listening.accept()
        for _ in range(20):
            stream_id = client.quic.get_next_available_stream_id()
            client.quic.send_stream_data(stream_id, bytes(2 * MIB))
            withhold_first_byte(client, stream_id)
        await client.pump(20)
        # It kept to our credit, so it is not closed; but it got no more credit either.
        assert server.closed is None
        statistics = server.statistics()
        assert statistics.unread_bytes == 0
        assert 8 * MIB < statistics.reassembly_bytes <= limits.MAX_CONNECTION_BUFFER_BYTES
        assert buffered(listening) == statistics.reassembly_bytes


async def test_a_peer_that_ignores_credit_is_closed(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        client = RawClient(network.bind(A), B)
        await client.pump(1)
        server = await listening.accept()
        for _ in range(12):
            stream_id = client.quic.get_next_available_stream_id()
            client.quic.send_stream_data(stream_id, bytes(2 * MIB))
            withhold_first_byte(client, stream_id)
        await client.pump(20, ignore_limits=True)
        assert server.closed is not None
        assert server.closed.by == "error"
        assert server.closed.code == 3  # FLOW_CONTROL_ERROR
        assert client.terminated is not None
        assert client.terminated.error_code == 3
        assert buffered(listening) == 0


async def test_a_connection_past_its_bound_is_closed_with_a_clear_code(
    autojump_clock: MockClock,
) -> None:
    # Credit alone would allow more than the bound here.
    options = EndpointOptions(connection_buffer_bytes=MIB)
    async with open_pair(options=options) as pair, trio.open_nursery() as nursery:
        near = await pair.client.open_stream()

        async def send() -> None:
            with pytest.raises(ConnectionLost) as caught:
                await near.send_all(bytes(20 * MIB))
            assert caught.value.info.by == "peer"
            assert caught.value.info.code == TransportCode.BUFFER_LIMIT

        nursery.start_soon(send)
        far = await pair.server.accept_stream()
        info = await pair.server.wait_closed()
        assert (info.by, info.code) == ("error", TransportCode.BUFFER_LIMIT)
        with pytest.raises(ConnectionLost):
            await far.receive_some()
        assert buffered(pair.listening) == 0


async def test_many_small_gaps_are_bounded(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        client = RawClient(network.bind(A), B)
        await client.pump(1)
        server = await listening.accept()
        quic = client.quic
        quic.send_stream_data(0, bytes(100_000))
        sender = quic._streams[0].sender
        # Every other byte, so that nothing can be put together.
        end = 2 * limits.MAX_REASSEMBLY_GAPS + 1_000
        for start in range(0, end, 2):
            sender._pending.subtract(start, start + 1)
        sender._pending.subtract(end, 100_000)
        await client.pump(30)
        assert server.closed is not None
        assert server.closed.code == TransportCode.BUFFER_LIMIT


async def test_the_endpoint_closes_the_connection_that_holds_most(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    options = EndpointOptions(endpoint_buffer_bytes=6 * MIB)
    async with (
        open_endpoint([network.bind(B)], IDENTITY, options) as listening,
        open_endpoint([network.bind(A)], IDENTITY) as dialing,
        trio.open_nursery() as nursery,
    ):
        servers: list[Connection] = []
        for size in (MIB, 3 * MIB, 2 * MIB, MIB // 2):
            connection = await dialing.connect(B)
            stream = await connection.open_stream()
            nursery.start_soon(_send_quietly, stream, size)
            servers.append(await listening.accept())
            await trio.sleep(3)
        assert [server.closed is None for server in servers] == [True, False, True, True]
        info = servers[1].closed
        assert info is not None
        assert info.code == TransportCode.BUFFER_LIMIT
        assert buffered(listening) == MIB + 2 * MIB + MIB // 2
        assert listening.statistics().closed_for_buffer == 1


async def _send_quietly(stream: Stream, size: int) -> None:
    with contextlib.suppress(ConnectionLost):
        await stream.send_all(bytes(size))


async def test_too_many_streams_and_unidirectional_ones_are_refused(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        for port, stream_id in enumerate((limits.MAX_STREAMS_FROM_PEER * 4, 2)):
            client = RawClient(network.bind(Address("10.0.0.3", port + 1)), B)
            await client.pump(1)
            server = await listening.accept()
            client.quic._remote_max_streams_bidi = client.quic._remote_max_streams_uni = 1 << 20
            client.quic.send_stream_data(stream_id, b"x")
            await client.pump(5, ignore_limits=True)
            assert server.closed is not None
            assert server.closed.code == 4  # STREAM_LIMIT_ERROR


async def test_a_peer_that_ends_streams_itself_gets_no_more_of_them(
    autojump_clock: MockClock,
) -> None:
    # FIN and STOP_SENDING finish a stream for aioquic, which then lets the peer open another.
    network = MemoryNetwork()
    options = EndpointOptions(streams_from_peer=8)
    async with open_endpoint([network.bind(B)], IDENTITY, options) as listening:
        client = RawClient(network.bind(A), B)
        await client.pump(1)
        server = await listening.accept()
        for _ in range(40):
            client.quic._remote_max_streams_bidi = 1 << 20
            stream_id = client.quic.get_next_available_stream_id()
            client.quic.send_stream_data(stream_id, b"x", end_stream=True)
            client.quic.stop_stream(stream_id, 0)
            await client.pump(0.5)
        assert server.closed is not None
        assert server.closed.code == 4
