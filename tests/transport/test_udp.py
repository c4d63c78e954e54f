"""The real UDP socket, over loopback."""

from __future__ import annotations

import errno
import socket
import sys

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.platform import RealThreads
from lanspread.seams import Address
from lanspread.transport import udp
from lanspread.transport.udp import MAX_SEGMENTED_BYTES, MAX_SEGMENTS, UdpNetwork, UdpSocket, runs

LOOPBACK = Address("127.0.0.1", 0)


def network(*, offload: bool = True) -> UdpNetwork:
    return UdpNetwork(RealThreads(), offload=offload)


async def receive_count(sock: UdpSocket, count: int) -> list[bytes]:
    received: list[bytes] = []
    with trio.fail_after(10):
        while len(received) < count:
            batch = await sock.receive()
            assert 1 <= len(batch) <= limits.DATAGRAM_BATCH
            received += [data for data, _ in batch]
    return received


@given(st.lists(st.integers(0, 3_000) | st.just(1_472), max_size=300))
def test_runs_cover_everything_within_the_kernels_limits(sizes: list[int]) -> None:
    datagrams = [bytes(size) for size in sizes]
    cuts = list(runs(datagrams))
    assert [number for cut in cuts for number in range(*cut)] == list(range(len(sizes)))
    for start, stop in cuts:
        run = sizes[start:stop]
        assert len(run) <= MAX_SEGMENTS
        assert len(run) == 1 or (sum(run) <= MAX_SEGMENTED_BYTES and min(run) > 0)
        assert set(run[:-1]) <= {run[0]}
        assert run[-1] <= run[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("sends_offloaded", [True, False])
@pytest.mark.parametrize("receives_offloaded", [True, False])
async def test_both_paths_carry_the_same_datagrams(
    host: str, sends_offloaded: bool, receives_offloaded: bool
) -> None:
    sizes = [*[1_472] * 100, 700, 0, 1, *[1_472] * 50, 1_473, 1, 60_000]
    datagrams = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    sender = await network(offload=sends_offloaded).bind(Address(host, 0))
    receiver = await network(offload=receives_offloaded).bind(Address(host, 0))
    received: list[bytes] = []
    try:
        await sender.send(datagrams, receiver.address)
        with trio.fail_after(5):
            while len(received) < len(datagrams):
                for data, source in await receiver.receive():
                    assert source == sender.address
                    received.append(data)
        assert received == datagrams
        assert sender.statistics().sent == len(datagrams)
        assert sender.statistics().refused == {}
    finally:
        sender.close()
        receiver.close()


@pytest.mark.skipif(sys.platform != "linux", reason="segmentation offload is Linux's")
async def test_linux_offloads() -> None:
    sock = await network().bind(LOOPBACK)
    statistics = sock.statistics()
    assert statistics.sends_offloaded
    assert statistics.receives_offloaded
    sock.close()


@pytest.mark.parametrize("offload", [True, False])
async def test_ten_thousand_datagrams(offload: bool) -> None:
    sender = await network(offload=offload).bind(LOOPBACK)
    receiver = await network(offload=offload).bind(LOOPBACK)
    total, burst = 10_000, 500
    received: list[bytes] = []
    try:
        for first in range(0, total, burst):
            numbers = range(first, first + burst)
            await sender.send([n.to_bytes(4, "big") * 100 for n in numbers], receiver.address)
            received += await receive_count(receiver, burst)
        assert received == [n.to_bytes(4, "big") * 100 for n in range(total)]
    finally:
        sender.close()
        receiver.close()


async def test_a_cancelled_receive_loses_nothing() -> None:
    sender = await network().bind(LOOPBACK)
    receiver = await network().bind(LOOPBACK)
    try:
        await sender.send([b"%d" % n for n in range(200)], receiver.address)
        received: list[bytes] = []
        with trio.fail_after(5):
            while len(received) < 200:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await receiver.receive()
                assert scope.cancelled_caught
                received += [data for data, _ in await receiver.receive()]
        assert received == [b"%d" % n for n in range(200)]
    finally:
        sender.close()
        receiver.close()


async def test_closing_wakes_the_receiver_and_refuses_everything_after() -> None:
    sock = await network().bind(LOOPBACK)

    async def expect_closed() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await sock.receive()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed)
            await trio.testing.wait_all_tasks_blocked()
            sock.close()
    sock.close()
    await expect_closed()
    with pytest.raises(trio.ClosedResourceError):
        await sock.send([b"x"], Address("127.0.0.1", 9))


async def test_what_the_network_refuses_is_dropped_and_counted() -> None:
    sock = await network().bind(LOOPBACK)
    try:
        await sock.send([bytes(65_507), bytes(65_600)], sock.address)
        assert sock.statistics().refused == {"EMSGSIZE": 1}
        await sock.send([b"a", b"b"], Address("255.255.255.255", 9))
        assert sum(sock.statistics().refused.values()) == 3
        assert await receive_count(sock, 1) == [bytes(65_507)]
    finally:
        sock.close()


async def test_nobody_at_the_other_end_is_no_error() -> None:
    sock = await network().bind(LOOPBACK)
    gone = await network().bind(LOOPBACK)
    gone.close()
    try:
        for _ in range(10):
            await sock.send([b"anyone?"], gone.address)
        await sock.send([b"me"], sock.address)
        assert await receive_count(sock, 1) == [b"me"]
    finally:
        sock.close()


class _Refusing(socket.socket):
    """A socket whose segmented sends fail, as with a driver that cannot do them."""

    error = errno.EIO
    tries = 0

    def sendmsg(self, *args: object) -> int:
        self.tries += 1
        raise OSError(self.error, "refused")


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EOPNOTSUPP])
async def test_a_refused_offload_falls_back_for_good(number: int) -> None:
    refusing = _Refusing(socket.AF_INET, socket.SOCK_DGRAM)
    refusing.error = number
    refusing.setblocking(False)
    refusing.bind(("127.0.0.1", 0))
    sender = UdpSocket(refusing)
    receiver = await network().bind(LOOPBACK)
    datagrams = [b"%d" % (number % 10) for number in range(50)]
    try:
        await sender.send(datagrams, receiver.address)
        await sender.send(datagrams, receiver.address)
        assert await receive_count(receiver, 100) == datagrams * 2
        assert refusing.tries == 1
    finally:
        sender.close()
        receiver.close()


async def test_both_families_share_a_port() -> None:
    first = await network().bind(Address("::", 0))
    second = await network().bind(Address("0.0.0.0", first.address.port))
    with pytest.raises(OSError, match="in use"):
        await network().bind(second.address)
    first.close()
    second.close()


async def test_a_bad_address_is_an_os_error() -> None:
    with pytest.raises(OSError, match="not an IP address"):
        await network().bind(Address("localhost", 0))
    with pytest.raises(OSError, match="no interface"):
        await network().bind(Address("fe80::1%nosuchinterface", 0))


async def test_resolving() -> None:
    literal = await network().resolve("fe80::1%eth0", 5)
    assert literal == [Address("fe80::1%eth0", 5)]
    assert Address("127.0.0.1", 5) in await network().resolve("localhost", 5)
    for bad in ("no such host", "", "a" * 300, "a..b"):
        with pytest.raises(OSError, match=r"."):
            await network().resolve(bad, 5)


async def test_local_addresses_have_loopback_and_parse() -> None:
    found = await network().local_addresses()
    assert "127.0.0.1" in [one.host for one in found]
    assert all(one.interface for one in found)


def test_scopes_are_names_or_numbers() -> None:
    index = socket.if_nametoindex("lo")
    assert udp.interface_name(index) == "lo"
    assert udp.interface_index("lo") == udp.interface_index(str(index)) == index
    assert udp.interface_index("9" * 40) is None
    assert udp.interface_name(1 << 20) == str(1 << 20)


async def test_the_way_to_oneself_carries_what_loopback_does() -> None:
    for host, header in (("127.0.0.1", 28), ("::1", 48)):
        sock = await network().bind(Address(host, 0))
        try:
            carried = sock.path_payload(sock.address)
            # 65,536 everywhere, but IPv4 has 16 bits for a length.
            assert carried in (65_536 - header, 65_535 - header)
        finally:
            sock.close()


async def test_a_way_that_nobody_knows() -> None:
    first = await network().bind(LOOPBACK)
    second = await network().bind(Address("::1", 0))
    try:
        assert first.path_payload(Address("255.255.255.255", 9)) is None
        assert second.path_payload(Address("fe80::1%nosuchinterface", 9)) is None
    finally:
        first.close()
        second.close()


async def test_smaller_segments_are_offloaded_again() -> None:
    # What refuses large ones is a path that became narrower; the engine then sends smaller ones.
    refusing = _RefusingLarge(socket.AF_INET, socket.SOCK_DGRAM)
    refusing.setblocking(False)
    refusing.bind(("127.0.0.1", 0))
    sender = UdpSocket(refusing)
    receiver = await network().bind(LOOPBACK)
    try:
        for size, offloaded in ((2_000, 0), (2_000, 0), (1_400, 1), (2_000, 1), (1_400, 2)):
            await sender.send([bytes(size)] * 5, receiver.address)
            assert refusing.offloaded == offloaded
        assert len(await receive_count(receiver, 25)) == 25
        assert refusing.refused == 1
    finally:
        sender.close()
        receiver.close()


class _RefusingLarge(socket.socket):
    """A socket to a path that carries 1,472 bytes."""

    refused = offloaded = 0

    def sendmsg(self, buffers: list[bytes], *args: object) -> int:  # type: ignore[override]
        if len(buffers[0]) > limits.QUIC_PAYLOAD_BYTES:
            self.refused += 1
            raise OSError(errno.EINVAL, "refused")
        self.offloaded += 1
        return super().sendmsg(buffers, *args)  # type: ignore[arg-type]
