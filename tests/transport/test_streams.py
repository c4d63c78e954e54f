"""Streams: data, ends, resets, credit for opening them, and what is left of them."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.transport import (
    ConnectionLost,
    EndpointOptions,
    Stream,
    StreamReset,
    StreamStopped,
)
from tests.transport.memory import PUBLIC_KEY, MemoryNetwork, Pair, open_pair


async def open_both(pair: Pair) -> tuple[Stream, Stream]:
    near = await pair.client.open_stream()
    await near.send_all(b"!")
    far = await pair.server.accept_stream()
    assert await far.receive_some() == b"!"
    return near, far


async def read_all(stream: Stream) -> bytes:
    parts = []
    while data := await stream.receive_some(100_000):
        parts.append(data)
    return b"".join(parts)


async def test_a_dialer_and_a_listener_talk_and_leave_nothing(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        assert pair.client.is_dialer
        assert not pair.server.is_dialer
        assert pair.client.peer_public_key == PUBLIC_KEY
        assert pair.server.peer_public_key is None
        stream = await pair.client.open_stream()
        await stream.send_all(b"hello")
        await stream.send_eof()
        other = await pair.server.accept_stream()
        assert other.id == stream.id
        assert await read_all(other) == b"hello"
        assert await other.receive_some() == b""
        await other.send_all(b"welcome")
        await other.aclose()
        assert await read_all(stream) == b"welcome"
        await stream.aclose()
        await trio.sleep(1)
        for connection in (pair.client, pair.server):
            assert connection.statistics().streams == 0
            assert not connection._engine._quic._streams


async def test_data_survives_loss_and_reordering(autojump_clock: MockClock) -> None:
    rng = random.Random(7)
    network = MemoryNetwork(latency_s=0.003, lose=lambda *_: rng.random() < 0.05)
    data = rng.randbytes(1_000_000)
    async with open_pair(network) as pair, trio.open_nursery() as nursery:
        near = await pair.client.open_stream()

        async def send() -> None:
            await near.send_all(data)
            await near.send_eof()

        nursery.start_soon(send)
        far = await pair.server.accept_stream()
        assert await read_all(far) == data


async def test_a_reset_is_an_error_with_its_code_and_drops_what_was_unread(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        near, far = await open_both(pair)
        await near.send_all(b"half of it")
        await trio.sleep(1)
        near.reset(77)
        await trio.sleep(1)
        for _ in range(2):
            with pytest.raises(StreamReset) as caught:
                await far.receive_some()
            assert caught.value.code == 77
        with pytest.raises(trio.ClosedResourceError):
            await near.send_all(b"more")
        # The other direction goes on.
        await far.send_all(b"answer")
        assert await near.receive_some() == b"answer"


async def test_a_reset_wakes_a_waiting_receiver(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        near, far = await open_both(pair)
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(StreamReset):
                    await far.receive_some()

            nursery.start_soon(receive)
            await trio.sleep(1)
            near.reset(5)


async def test_stop_reaches_a_waiting_sender_with_its_code(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        near, far = await open_both(pair)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(StreamStopped) as caught:
                    await near.send_all(bytes(20_000_000))
                assert caught.value.code == 78

            nursery.start_soon(send)
            await trio.sleep(1)
            far.stop(78)
            with pytest.raises(trio.ClosedResourceError):
                await far.receive_some()
        with pytest.raises(StreamStopped):
            await near.send_all(b"")
        # What was queued is not kept until an acknowledgement comes.
        assert near.statistics().unacknowledged_bytes == 0


async def test_a_cut_off_send_never_looks_like_a_clean_end(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        near, far = await open_both(pair)
        with trio.move_on_after(1):
            await near.send_all(bytes(20_000_000))
        await near.aclose()
        with pytest.raises(StreamReset):
            await read_all(far)


async def test_only_one_task_sends_and_one_receives(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        near, _ = await open_both(pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all, bytes(20_000_000))
            nursery.start_soon(near.receive_some)
            await trio.sleep(1)
            with pytest.raises(trio.BusyResourceError):
                await near.send_all(b"x")
            with pytest.raises(trio.BusyResourceError):
                await near.send_eof()
            with pytest.raises(trio.BusyResourceError):
                await near.receive_some()
            nursery.cancel_scope.cancel()


async def test_send_all_waits_at_its_bound(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        near, far = await open_both(pair)
        with trio.move_on_after(5) as scope:
            await near.send_all(bytes(40_000_000))
        assert scope.cancelled_caught
        statistics = near.statistics()
        assert statistics.unacknowledged_bytes <= limits.SEND_HIGH_WATER_BYTES
        assert far.statistics().unread_bytes <= limits.QUIC_STREAM_WINDOW_BYTES
        bound = limits.SEND_HIGH_WATER_BYTES + limits.QUIC_STREAM_WINDOW_BYTES
        assert statistics.bytes_sent <= bound + 1


async def test_opening_waits_for_the_peer_to_allow_it(autojump_clock: MockClock) -> None:
    async with open_pair(options=EndpointOptions(streams_from_peer=8)) as pair:
        streams = []
        for _ in range(8):
            streams.append(await pair.client.open_stream())
            await streams[-1].send_all(b"x")
        with trio.move_on_after(30) as scope:
            await pair.client.open_stream()
        assert scope.cancelled_caught
        far = await pair.server.accept_stream()
        async with trio.open_nursery() as nursery:
            opened: list[Stream] = []

            async def open_more() -> None:
                for _ in range(3):
                    opened.append(await pair.client.open_stream())

            nursery.start_soon(open_more)
            await streams[0].aclose()
            await far.aclose()
            await trio.sleep(1)
            assert len(opened) == 1
            nursery.cancel_scope.cancel()


async def test_many_streams_one_after_the_other(autojump_clock: MockClock) -> None:
    async with open_pair(options=EndpointOptions(streams_from_peer=8)) as pair:

        async def serve() -> None:
            while True:
                stream = await pair.server.accept_stream()
                await stream.send_all(await read_all(stream))
                await stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            for number in range(200):
                stream = await pair.client.open_stream()
                await stream.send_all(b"%d" % number)
                await stream.send_eof()
                assert await read_all(stream) == b"%d" % number
            await trio.sleep(1)
            assert pair.client.statistics().streams == 0
            assert pair.server.statistics().streams == 0
            nursery.cancel_scope.cancel()


async def test_streams_are_accepted_in_order_even_if_packets_are_not(
    autojump_clock: MockClock,
) -> None:
    lost = 0

    def lose(data: bytes, *_: object) -> bool:
        # The datagram with the first stream's data is lost once.
        nonlocal lost
        if armed and not lost:
            lost += 1
            return True
        return False

    armed = False
    async with open_pair(MemoryNetwork(lose=lose)) as pair:
        await trio.sleep(1)
        armed = True
        first, second = await pair.client.open_stream(), await pair.client.open_stream()
        await first.send_all(b"first")
        await trio.sleep(0.002)
        await second.send_all(b"second")
        assert (await pair.server.accept_stream()).id == first.id
        assert (await pair.server.accept_stream()).id == second.id
        assert lost == 1


async def test_streams_nobody_accepts_count_until_they_are_let_go(
    autojump_clock: MockClock,
) -> None:
    # FIN and STOP_SENDING end both halves for the engine; the backlog must be bounded all the same.
    async with open_pair(options=EndpointOptions(streams_from_peer=8)) as pair:
        opened = 0
        with trio.move_on_after(30):
            while True:
                stream = await pair.client.open_stream()
                opened += 1
                await stream.send_all(b"x")
                await stream.aclose()
        assert opened == 8
        assert pair.server.statistics().unaccepted_streams == 8
        for _ in range(8):
            far = await pair.server.accept_stream()
            assert await far.receive_some() == b"x"
            await far.aclose()
        with trio.fail_after(5):
            await pair.client.open_stream()


async def test_a_connection_that_ends_wakes_every_waiter(autojump_clock: MockClock) -> None:
    options = EndpointOptions(streams_from_peer=2)
    async with open_pair(options=options) as pair, trio.open_nursery() as nursery:
        near, far = await open_both(pair)
        blocked = await pair.client.open_stream()
        seen: list[ConnectionLost] = []

        async def expect(call: object, *args: object) -> None:
            with pytest.raises(ConnectionLost) as caught:
                await call(*args)  # type: ignore[operator]
            seen.append(caught.value)

        nursery.start_soon(expect, near.receive_some)
        nursery.start_soon(expect, blocked.send_all, bytes(20_000_000))
        nursery.start_soon(expect, pair.client.open_stream)
        nursery.start_soon(expect, pair.client.accept_stream)
        nursery.start_soon(expect, far.receive_some)
        await trio.sleep(1)
        nursery.start_soon(expect, pair.server.accept_stream)
        await pair.server.accept_stream()
        await trio.sleep(1)
        assert not seen
        before = trio.current_time()
        pair.client.close(42, "bye\x1b[0m\n" + "x" * 500)
        assert pair.client.closed is not None
        assert pair.client.closed.by == "us"
        await pair.server.wait_closed()
        await trio.testing.wait_all_tasks_blocked(0.001)
        # Not when aioquic's own event comes, three probe timeouts later.
        assert trio.current_time() - before < 0.05
        assert len(seen) == 6
        assert {(e.info.by, e.info.code, e.info.application) for e in seen} == {
            ("us", 42, True),
            ("peer", 42, True),
        }
        assert all(e.info.reason.isprintable() and len(e.info.reason) <= 200 for e in seen)
        for stream in (near, far):
            with pytest.raises(ConnectionLost):
                await stream.send_all(b"x")


async def test_what_arrived_before_a_peers_close_can_be_read(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        near, far = await open_both(pair)
        await near.send_all(b"goodbye")
        # Nothing in between: the last words and the close leave in the same step.
        pair.client.close(1)
        await pair.server.wait_closed()
        assert await far.receive_some() == b"goodbye"
        with pytest.raises(ConnectionLost):
            await far.receive_some()
