"""The virtual LAN behaves like a network, in virtual time, and the same from the same seed."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.seams import Address
from lanspread.testing import Link, VirtualHost, VirtualLan, open_virtual_lan
from lanspread.testing.network import VirtualNetwork, VirtualSocket


async def bind(host: VirtualHost, address: str = "0.0.0.0", port: int = 0) -> VirtualSocket:
    return await VirtualNetwork(host).bind(Address(address, port))


def at(host: VirtualHost, socket: VirtualSocket) -> Address:
    return Address(host.addresses[0], socket.address.port)


async def drain(socket: VirtualSocket, quiet_s: float = 1.0) -> list[bytes]:
    """Everything that arrives until nothing has come for a while."""
    received: list[bytes] = []
    while True:
        with trio.move_on_after(quiet_s) as scope:
            batch = await socket.receive()
            assert len(batch) <= limits.DATAGRAM_BATCH
            received += [data for data, _ in batch]
        if scope.cancelled_caught:
            return received


async def two_hosts(lan: VirtualLan) -> tuple[VirtualHost, VirtualSocket, Address, VirtualSocket]:
    anna, ben = lan.add_host("anna"), lan.add_host("ben")
    sender, receiver = await bind(anna), await bind(ben, port=7373)
    return anna, sender, at(ben, receiver), receiver


async def test_datagrams_arrive_in_order_after_the_latency(autojump_clock: MockClock) -> None:
    async with open_virtual_lan(link=Link(latency_s=0.25)) as lan:
        anna, sender, target, receiver = await two_hosts(lan)
        start = trio.current_time()
        await sender.send([b"one", b"two"], target)
        batch = await receiver.receive()
        assert trio.current_time() - start == pytest.approx(0.25)
        assert batch == [(b"one", at(anna, sender)), (b"two", at(anna, sender))]


async def lossy_run(seed: int) -> list[bytes]:
    link = Link(loss=0.2, duplication=0.2, reordering=0.2, jitter_s=0.002)
    async with open_virtual_lan(seed=seed, link=link) as lan:
        _, sender, target, receiver = await two_hosts(lan)
        for number in range(200):
            await sender.send([b"%d" % number], target)
            await trio.sleep(0.001)
        return await drain(receiver)


async def test_the_seed_decides_what_is_lost(autojump_clock: MockClock) -> None:
    first = await lossy_run(1)
    assert first == await lossy_run(1)
    assert first != await lossy_run(2)
    distinct = set(first)
    assert 120 < len(distinct) < 190  # lost
    assert len(first) > len(distinct)  # doubled
    assert first != sorted(first, key=int)  # reordered


async def test_a_rate_spreads_datagrams_and_drops_what_queues_too_long(
    autojump_clock: MockClock,
) -> None:
    link = Link(latency_s=0.0, bytes_per_s=100_000, queue_s=0.1)
    async with open_virtual_lan(link=link) as lan:
        _, sender, target, receiver = await two_hosts(lan)
        start = trio.current_time()
        await sender.send([bytes(1_000)] * 50, target)
        assert len(await drain(receiver, 0.5)) == 11
        assert trio.current_time() - start == pytest.approx(0.11 + 0.5)


async def test_a_wire_swallows_what_is_larger_than_it_carries(autojump_clock: MockClock) -> None:
    async with open_virtual_lan(link=Link(payload_bytes=1_400)) as lan:
        anna, sender, target, receiver = await two_hosts(lan)
        await sender.send([bytes(1_400), bytes(1_401), b"small"], target)
        assert await drain(receiver) == [bytes(1_400), b"small"]
        # What the card says is another thing.
        assert sender.path_payload(target) == limits.QUIC_PAYLOAD_BYTES
        anna.payload_bytes = 8_972
        assert sender.path_payload(target) == 8_972
        assert sender.path_payload(Address("fd00::1", 1)) == 8_952


async def test_a_full_socket_buffer_drops_and_counts(autojump_clock: MockClock) -> None:
    async with open_virtual_lan(socket_buffer_bytes=10_000) as lan:
        _, sender, target, receiver = await two_hosts(lan)
        await sender.send([bytes(1_000)] * 50, target)
        await trio.sleep(1)
        assert receiver.statistics().overflowed == 40
        assert receiver.statistics().buffered_bytes == 10_000
        assert len(await drain(receiver)) == 10


async def test_a_partition_loses_what_is_on_its_way_too(autojump_clock: MockClock) -> None:
    async with open_virtual_lan(link=Link(latency_s=1.0)) as lan:
        anna, sender, target, receiver = await two_hosts(lan)
        await sender.send([b"in flight"], target)
        lan.partition([anna])
        await sender.send([b"cut off"], target)
        assert await drain(receiver, 5) == []
        lan.heal()
        await sender.send([b"again"], target)
        assert await drain(receiver, 5) == [b"again"]
        assert lan.unreachable == 2


async def test_a_pulled_cable_leaves_loopback(autojump_clock: MockClock) -> None:
    async with open_virtual_lan() as lan:
        anna, sender, target, receiver = await two_hosts(lan)
        own = await bind(anna, "127.0.0.1")
        anna.unplug()
        await sender.send([b"out"], target)
        await sender.send([b"own"], own.address)
        assert await drain(receiver) == []
        assert await drain(own) == [b"own"]
        anna.plug_in()
        await sender.send([b"out"], target)
        assert await drain(receiver) == [b"out"]


async def test_a_vanished_host_is_silent_and_its_ports_are_free_when_it_returns(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_lan() as lan:
        anna, sender, target, receiver = await two_hosts(lan)
        ben = lan.host_named("BEN")
        assert ben is not None
        ben.vanish()
        await sender.send([b"lost"], target)
        await receiver.send([b"lost"], at(anna, sender))
        await trio.sleep(1)
        ben.come_back()
        again = await bind(ben, port=7373)
        await receiver.send([b"from the dead"], at(anna, sender))
        await sender.send([b"hello"], target)
        assert await drain(again) == [b"hello"]
        assert await drain(sender) == []
        assert await drain(receiver) == []


async def test_a_new_lease(autojump_clock: MockClock) -> None:
    async with open_virtual_lan() as lan:
        _, sender, target, receiver = await two_hosts(lan)
        ben = lan.host_named("ben")
        assert ben is not None
        ben.change_addresses("10.0.0.77")
        await sender.send([b"old"], target)
        await sender.send([b"new"], Address("10.0.0.77", target.port))
        assert await drain(receiver) == [b"new"]
        with pytest.raises(ValueError, match="belongs to anna"):
            ben.change_addresses("10.0.0.1")


async def test_binding(autojump_clock: MockClock) -> None:
    async with open_virtual_lan() as lan:
        anna = lan.add_host("anna")
        network = VirtualNetwork(anna)
        first = await bind(anna, port=7373)
        assert first.address == ("0.0.0.0", 7373)
        await bind(anna, "::", 7373)
        for host in ("0.0.0.0", "127.0.0.1", anna.addresses[0]):
            with pytest.raises(OSError, match="in use"):
                await network.bind(Address(host, 7373))
        with pytest.raises(OSError, match="assign"):
            await network.bind(Address("10.9.9.9", 7373))
        first.close()
        await bind(anna, port=7373)
        free = [(await bind(anna)).address.port for _ in range(3)]
        assert len(set(free)) == 3
        assert min(free) > 1024


async def test_a_cancelled_receive_loses_nothing_and_closing_wakes(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_lan() as lan:
        _, sender, target, receiver = await two_hosts(lan)
        await sender.send([b"kept"], target)
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await receiver.receive()
        assert await receiver.receive() != []

        async def expect_closed() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await receiver.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await receiver.receive()
            receiver.close()
        await expect_closed()
        with pytest.raises(trio.ClosedResourceError):
            await receiver.send([b"x"], target)


async def test_names_resolve(autojump_clock: MockClock) -> None:
    async with open_virtual_lan() as lan:
        anna = lan.add_host("anna")
        network = VirtualNetwork(anna)
        expected = [Address(host, 5) for host in anna.addresses]
        assert await network.resolve("Anna", 5) == expected
        assert await network.resolve("10.0.0.9", 5) == [Address("10.0.0.9", 5)]
        with pytest.raises(OSError, match="nobody"):
            await network.resolve("nobody", 5)
        assert {one.host for one in await network.local_addresses()} > set(anna.addresses)
