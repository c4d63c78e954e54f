"""Who gets in: floods of first packets, Retry, and tokens."""

from __future__ import annotations

import os

import pytest
import trio
from aioquic.quic.connection import QuicConnection
from trio.testing import MockClock

from lanspread import limits
from lanspread.seams import Address
from lanspread.transport import EndpointOptions, open_endpoint
from lanspread.transport.admission import Admission, Admit, AskAddress, Drop, Ignore, Refuse
from lanspread.transport.packets import LongHeader, parse_long_header
from tests.transport.memory import IDENTITY, A, B, MemoryNetwork
from tests.transport.raw import RawClient, raw_configuration


def first_packet(now: float) -> bytes:
    quic = QuicConnection(configuration=raw_configuration())
    quic.connect(B, now)
    ((data, _), *_) = quic.datagrams_to_send(now)
    return data


async def test_ten_thousand_attempts_from_made_up_addresses(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_endpoint([network.bind(B)], IDENTITY) as listening:
        socket = network.sockets[B]
        # Distinct connections; that many real first packets would take long to make.
        packets = [first_packet(0.0) for _ in range(150)]
        most = 0
        for number in range(10_000):
            source = Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5)
            packet = packets[number % 150]
            # A new connection id for each, as a flood would have; most are never decrypted.
            if number >= 150:
                packet = packet[:6] + os.urandom(8) + packet[14:]
            socket.put(packet, source)
            if number % 64 == 0:
                await trio.sleep(0.002)
                statistics = listening.statistics()
                most = max(most, statistics.routes)
        await trio.sleep(0.1)
        statistics = listening.statistics()
        assert statistics.half_open == statistics.connections == limits.RETRY_ABOVE_HALF_OPEN
        assert statistics.retries_sent >= 9_800
        assert most <= 2 * limits.RETRY_ABOVE_HALF_OPEN
        # Whoever is real still gets in meanwhile, by way of Retry.
        async with open_endpoint([network.bind(A)], IDENTITY) as dialing:
            client = await dialing.connect(B)
            server = await listening.accept()
            stream = await client.open_stream()
            await stream.send_all(b"hello")
            assert await (await server.accept_stream()).receive_some() == b"hello"
        await trio.sleep(limits.HANDSHAKE_TIMEOUT_S + 1)
        statistics = listening.statistics()
        assert statistics.half_open == statistics.connections == statistics.routes == 0


async def test_a_token_of_someone_else_is_refused(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    options = EndpointOptions(retry_above_half_open=0)
    async with open_endpoint([network.bind(B)], IDENTITY, options) as listening:
        client = RawClient(network.bind(A), B)
        await client.pump(0.0015)
        ((data, _),) = await client.socket.receive()
        client.quic.receive_datagram(data, B, trio.current_time())
        assert client.quic._peer_token
        # The same token, from another address.
        client.socket = network.bind(Address("10.0.0.66", 6))
        await client.pump(1)
        assert client.terminated is not None
        assert client.terminated.error_code == 0xB
        assert listening.statistics().drops == {"invalid_token": 1}
        assert listening.statistics().connections == 0


def header(token: bytes = b"") -> LongHeader:
    return LongHeader(
        version=1,
        is_initial=True,
        is_reply=False,
        destination_cid=os.urandom(8),
        source_cid=os.urandom(8),
        token=token,
    )


def test_the_steps_of_admission() -> None:
    options = EndpointOptions(retry_above_half_open=2, max_half_open=4, max_connections_per_host=3)
    admission = Admission(options)
    for _ in range(2):
        first = header()
        assert admission.decide(first, 1_200, A, 0.0) == Admit(first.destination_cid, None)
        admission.opened(A)
    first = header()
    answer = admission.decide(first, 1_200, A, 0.0)
    assert isinstance(answer, AskAddress)
    second = LongHeader(1, True, False, answer.source_cid, first.source_cid, answer.token)
    assert admission.decide(second, 1_200, A, 1.0) == Admit(
        first.destination_cid, answer.source_cid
    )
    assert admission.decide(second, 1_200, B, 1.0) == Refuse(Drop.INVALID_TOKEN)
    assert admission.decide(second, 1_200, A, 40.0) == Refuse(Drop.INVALID_TOKEN)
    admission.opened(A)
    assert admission.decide(second, 1_200, A, 1.0) == Refuse(Drop.HOST_FULL)
    admission.opened(B)
    assert admission.decide(header(), 1_200, B, 1.0) == Ignore(Drop.HALF_OPEN_FULL)
    for _ in range(4):
        admission.completed()
    assert admission.decide(header(), 1_200, A, 1.0) == Refuse(Drop.HOST_FULL)
    assert isinstance(admission.decide(header(), 1_200, B, 1.0), Admit)
    admission.closed(A)
    assert isinstance(admission.decide(header(), 1_200, A, 1.0), Admit)
    assert admission.decide(header(), 1_199, A, 1.0) == Ignore(Drop.UNKNOWN_CONNECTION)


@pytest.mark.parametrize("size", [0, 1, 5, 6, 7, 20, 1_200])
def test_garbage_is_no_header(size: int) -> None:
    for _ in range(200):
        data = os.urandom(size)
        found = parse_long_header(data)
        assert found is None or data[0] & 0x80
