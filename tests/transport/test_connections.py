"""Making connections, refusing them, and how they end."""

from __future__ import annotations

import os

import pytest
import trio
from aioquic._buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from trio.testing import MockClock

from lanspread import limits
from lanspread.seams import Address
from lanspread.transport import (
    CloseInfo,
    ConnectionLost,
    ConnectRefused,
    ConnectTimeout,
    EndpointFull,
    EndpointOptions,
    Unreachable,
    open_endpoint,
)
from lanspread.transport.driver import Driver
from lanspread.transport.engine import Engine
from tests.transport.memory import IDENTITY, A, B, MemoryNetwork, open_pair


async def test_an_address_that_no_socket_reaches(autojump_clock: MockClock) -> None:
    async with open_endpoint([MemoryNetwork().bind(A)], IDENTITY) as endpoint:
        assert endpoint.addresses == (A,)
        with pytest.raises(Unreachable):
            await endpoint.connect(Address("fd00::1", 1))
        assert endpoint.statistics().connections == 0


async def test_nobody_answers(autojump_clock: MockClock) -> None:
    async with open_endpoint([MemoryNetwork().bind(A)], IDENTITY) as endpoint:
        before = trio.current_time()
        with pytest.raises(ConnectTimeout):
            await endpoint.connect(B)
        assert trio.current_time() - before == pytest.approx(limits.HANDSHAKE_TIMEOUT_S, abs=0.1)
        await trio.sleep(1)
        assert endpoint.statistics().connections == endpoint.statistics().routes == 0


async def test_a_cancelled_attempt_leaves_nothing_on_either_side(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork(latency_s=0.1)
    async with (
        open_endpoint([network.bind(B)], IDENTITY) as listening,
        open_endpoint([network.bind(A)], IDENTITY) as dialing,
    ):
        with trio.move_on_after(0.15) as scope:
            await dialing.connect(B)
        assert scope.cancelled_caught
        assert listening.statistics().half_open == 1
        await trio.sleep(0.01)
        assert dialing.statistics().connections == dialing.statistics().routes == 0
        # The close that the dialer sent frees the listener long before its handshake timeout.
        await trio.sleep(0.5)
        assert listening.statistics().half_open == listening.statistics().connections == 0


async def test_half_open_connections_time_out(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        async with open_endpoint([network.bind(A)], IDENTITY) as dialing:
            network.lose = lambda data, source, target: source == B
            with trio.move_on_after(1):
                await dialing.connect(B)
            network.lose = lambda *_: True
        assert listening.statistics().half_open == 1
        await trio.sleep(limits.HANDSHAKE_TIMEOUT_S)
        assert listening.statistics().half_open == 0
        assert listening.statistics().routes == 0


async def test_bounds_on_connections(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    options = EndpointOptions(max_connections_per_host=2)
    async with (
        open_endpoint([network.bind(B)], IDENTITY, options) as listening,
        open_endpoint([network.bind(A)], IDENTITY, EndpointOptions(max_connections=3)) as dialing,
    ):
        kept = [await dialing.connect(B) for _ in range(2)]
        with pytest.raises(ConnectRefused) as caught:
            await dialing.connect(B)
        assert caught.value.info == CloseInfo(2, "", "peer", application=False)
        assert listening.statistics().drops == {"host_full": 1}
        kept[0].close()
        await trio.sleep(2)
        kept += [await dialing.connect(B)]
        # Outbound connections have no bound per host, but one in all.
        own = await listening.connect(A)
        assert own.is_dialer
        await trio.sleep(0.1)
        with pytest.raises(EndpointFull):
            await dialing.connect(B)


async def test_a_full_backlog_refuses(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with (
        open_endpoint([network.bind(B)], IDENTITY, EndpointOptions(accept_backlog=1)) as listening,
        open_endpoint([network.bind(A)], IDENTITY) as dialing,
    ):
        first, second = await dialing.connect(B), await dialing.connect(B)
        assert (await second.wait_closed()).code == 2
        assert first.closed is None
        assert (await listening.accept()).closed is None


async def test_a_foreign_protocol_is_turned_away(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        # The listener's configuration is made with its first connection: make it before.
        listening._engines._configuration(is_client=False)
        monkeypatch.setattr(limits, "ALPN", "h3")
        async with open_endpoint([network.bind(A)], IDENTITY) as dialing:
            with pytest.raises(ConnectRefused) as caught:
                await dialing.connect(B)
        assert caught.value.info.code == 376
        assert not caught.value.info.application


async def test_silence_ends_a_connection_on_both_sides(autojump_clock: MockClock) -> None:
    async with open_pair() as pair:
        near = await pair.client.open_stream()
        await trio.sleep(5)
        last = pair.client.last_received
        assert trio.current_time() - last > 4
        pair.network.lose = lambda *_: True
        before = trio.current_time()
        with pytest.raises(ConnectionLost) as caught:
            await near.receive_some()
        assert caught.value.info.by == "timeout"
        assert pair.client.last_received == last
        await pair.server.wait_closed()
        assert trio.current_time() - before < limits.QUIC_IDLE_TIMEOUT_S + 1
        await trio.sleep(1)
        assert pair.dialing.statistics().connections == 0
        assert pair.dialing.statistics().routes == 0


async def test_timers_fire_again_and_again_without_traffic(autojump_clock: MockClock) -> None:
    sent: list[float] = []

    def lose(data: bytes, source: Address, target: Address) -> bool:
        if silent:
            sent.append(trio.current_time())
        return silent

    silent = False
    async with open_pair(MemoryNetwork(lose=lose)) as pair:
        await trio.sleep(1)
        silent = True
        stream = await pair.client.open_stream()
        await stream.send_all(b"is anybody there?")
        await trio.sleep(20)
        # One datagram, then probes at doubling intervals, with nothing to wake the driver.
        times = sorted(set(sent))
        assert len(times) >= 8
        assert times[-1] - times[0] > 5
        silent = False
        far = await pair.server.accept_stream()
        assert await far.receive_some() == b"is anybody there?"


async def test_an_idle_connection_does_not_spin(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    original = Engine.get_timer

    def count(self: Engine) -> float | None:
        nonlocal steps
        steps += 1
        return original(self)

    async with open_pair() as pair:
        await trio.sleep(1)
        monkeypatch.setattr(Engine, "get_timer", count)
        await trio.sleep(50)
        assert steps < 20
        assert pair.client.closed is None


async def test_the_goodbye_is_repeated_for_a_peer_that_missed_it(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        near = await pair.client.open_stream()
        await trio.sleep(1)
        pair.network.lose = lambda *_: True
        pair.client.close(9, "going")
        await trio.sleep(0.01)
        pair.network.lose = lambda *_: False
        assert pair.server.closed is None
        stream = await pair.server.open_stream()
        await stream.send_all(b"hello?")
        with trio.fail_after(1):
            info = await pair.server.wait_closed()
        assert (info.by, info.code, info.reason) == ("peer", 9, "going")
        with pytest.raises(ConnectionLost):
            await near.receive_some()
        await trio.sleep(limits.CLOSE_LINGER_S + 0.1)
        assert pair.dialing.statistics().connections == 0


async def test_closing_the_endpoint_tells_the_peers_and_ends_the_waiters(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        async with trio.open_nursery() as nursery:
            async with open_endpoint([network.bind(A)], IDENTITY) as dialing:
                client = await dialing.connect(B)
                server = await listening.accept()

                async def accept() -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await dialing.accept()

                nursery.start_soon(accept)
                await trio.sleep(0.1)
                before = trio.current_time()
            assert client.closed is not None
            assert client.closed.by == "us"
        with pytest.raises(trio.ClosedResourceError):
            await dialing.connect(B)
        with trio.fail_after(0.1):
            assert (await server.wait_closed()).by == "peer"
        assert trio.current_time() - before < limits.ENDPOINT_CLOSE_S


async def test_a_cancelled_endpoint_still_says_goodbye(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        with trio.CancelScope() as scope:
            async with open_endpoint([network.bind(A)], IDENTITY) as dialing:
                await dialing.connect(B)
                server = await listening.accept()
                scope.cancel()
                await trio.sleep_forever()
        with trio.fail_after(0.1):
            assert (await server.wait_closed()).by == "peer"
        assert network.sockets[A].closed


@pytest.mark.parametrize("rounds", range(8))
async def test_a_goodbye_that_was_made_is_sent_whenever_the_endpoint_is_cancelled(
    autojump_clock: MockClock, rounds: int
) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        with trio.CancelScope() as scope:
            async with open_endpoint([network.bind(A)], IDENTITY) as dialing:
                client = await dialing.connect(B)
                server = await listening.accept()
                await trio.sleep(1)
                client.close(7, "enough")
                for _ in range(rounds):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
                await trio.sleep_forever()
        with trio.fail_after(0.1):
            found = await server.wait_closed()
        assert (found.by, found.code) == ("peer", 7)


async def test_an_error_in_the_block_comes_out_as_itself(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError) as caught:
        async with open_endpoint([MemoryNetwork().bind(A)], IDENTITY):
            raise KeyError("mine") from ValueError("cause")
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), AssertionError(), KeyError])
async def test_an_engine_that_fails_ends_its_connection_only(
    autojump_clock: MockClock, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair() as pair:
        other = await pair.dialing.connect(B)
        other_server = await pair.listening.accept()

        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(pair.server._engine._quic, "receive_datagram", fail)
        stream = await pair.client.open_stream()
        await stream.send_all(b"boom")
        info = await pair.server.wait_closed()
        assert (info.by, info.application) == ("error", False)
        assert (await pair.client.wait_closed()).by == "peer"
        stream = await other.open_stream()
        await stream.send_all(b"fine")
        assert await (await other_server.accept_stream()).receive_some() == b"fine"
        assert pair.listening.statistics().connections == 1


async def test_unknown_versions_are_negotiated_and_garbage_is_counted(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        raw = network.bind(A)
        foreign = b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(range(8)) + b"\x04abcd"
        await raw.send([foreign + bytes(1_300), foreign], B)
        ((answer, _),) = await raw.receive()
        header = pull_quic_header(Buffer(data=answer), host_cid_length=8)
        assert header.packet_type is QuicPacketType.VERSION_NEGOTIATION
        assert header.supported_versions == [1]
        assert header.destination_cid == b"abcd"
        # Version negotiation itself is never answered, nor is anything short or senseless.
        await raw.send([answer, b"", b"\x00", b"\x40" + os.urandom(40), b"\xc0" + bytes(1_300)], B)
        await raw.send([os.urandom(n) for n in range(1, 1_400, 7)], B)
        # An Initial that is not sealed with the keys of its own connection id.
        initial = (
            b"\xc3\x00\x00\x00\x01\x08" + bytes(range(8)) + b"\x08" + bytes(8) + b"\x00\x44\xd0"
        )
        await raw.send([initial + os.urandom(1_232)], B)
        await trio.sleep(1)
        statistics = listening.statistics()
        assert statistics.connections == statistics.half_open == statistics.routes == 0
        assert statistics.versions_negotiated >= 1
        assert statistics.drops["malformed"] > 0
        assert statistics.drops["unknown_connection"] > 0
        assert statistics.drops["not_authentic"] == 1


async def test_a_full_inbox_drops_and_counts(autojump_clock: MockClock) -> None:
    async with open_pair(listener_options=EndpointOptions(datagram_queue=10)) as pair:
        await trio.sleep(1)
        (cid, *_) = pair.server.cids
        for _ in range(40):
            pair.network.sockets[B].put(b"\x40" + cid + bytes(30), A)
        await trio.sleep(1)
        assert pair.listening.statistics().drops["queue_full"] == 30
        assert pair.server.statistics().queue_drops == 30
        stream = await pair.client.open_stream()
        await stream.send_all(b"still here")
        assert await (await pair.server.accept_stream()).receive_some() == b"still here"


async def test_connection_ids_are_routed_until_they_are_retired(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        await trio.sleep(1)
        for _ in range(20):
            before = set(pair.server.cids)
            pair.client._engine._quic.change_connection_id()
            stream = await pair.client.open_stream()
            await stream.send_all(b"x")
            await pair.server.accept_stream()
            await trio.sleep(1)
            assert pair.server.cids != before
            assert len(pair.server.cids) <= 10
            assert pair.listening.statistics().routes == len(pair.server.cids)


async def test_the_peers_packets_may_come_from_another_address(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        await trio.sleep(1)
        moved = Address("10.0.0.9", 9)
        socket = pair.network.sockets.pop(A)
        socket.address = moved
        pair.network.sockets[moved] = socket
        near = await pair.client.open_stream()
        await near.send_all(b"moved")
        far = await pair.server.accept_stream()
        assert await far.receive_some() == b"moved"
        await far.send_all(b"seen")
        assert await near.receive_some() == b"seen"
        assert pair.server.remote_address == moved


async def test_a_flooded_connection_does_not_keep_another_from_its_turn(
    autojump_clock: MockClock,
) -> None:
    async with open_pair() as pair:
        other = await pair.dialing.connect(B)
        other_server = await pair.listening.accept()
        stream = await other.open_stream()
        await stream.send_all(b"x")
        far = await other_server.accept_stream()
        assert await far.receive_some() == b"x"
        await trio.sleep(1)
        caught: list[bytes] = []

        def catch(data: bytes, source: Address, target: Address) -> bool:
            caught.append(data)
            return True

        pair.network.lose = catch
        await stream.send_all(b"y")
        await trio.sleep(0.002)
        # Both inboxes are filled at the same moment, the flooded one first.
        socket = pair.network.sockets[B]
        (cid, *_) = pair.server.cids
        before = pair.server.statistics().datagrams_received
        for _ in range(500):
            assert pair.server.driver.post(b"\x40" + cid + bytes(30), A, socket)
        assert other_server.driver.post(caught[0], A, socket)
        assert await far.receive_some() == b"y"
        # A batch at a time, and then whoever else is ready.
        assert pair.server.statistics().datagrams_received - before <= 4 * limits.DATAGRAM_BATCH
        await trio.sleep(1)
        assert pair.server.statistics().datagrams_received - before == 500


async def test_connections_that_wake_together_leave_the_loop_to_others(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MemoryNetwork()
    many = 8
    async with (
        open_endpoint([network.bind(B)], IDENTITY),
        open_endpoint([network.bind(A)], IDENTITY) as dialing,
    ):
        connections = [await dialing.connect(B) for _ in range(many)]
        streams = [await connection.open_stream() for connection in connections]
        await trio.sleep(1)
        sent: list[Driver] = []
        step = Driver._step

        def noted(driver: Driver, now: float) -> list[tuple[bytes, Address]]:
            datagrams = step(driver, now)
            if datagrams and any(driver is connection.driver for connection in connections):
                sent.append(driver)
            return datagrams

        monkeypatch.setattr(Driver, "_step", noted)
        most = steps = 0
        for connection, stream in zip(connections, streams, strict=True):
            # As `send_all` does, without a checkpoint in between: they all wake together.
            connection.write(stream, b"x" * 2_000)
        while len(set(sent)) < many:
            # One round of the loop: a step after us in this one, and one before us in the next.
            await trio.lowlevel.checkpoint()
            most, steps = max(most, len(sent) - steps), len(sent)
        assert most <= 2
