"""Real mDNS between instances in one process, on loopback only."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

import attrs
import pytest
import trio
from zeroconf._dns import DNSText

from lanspread import limits
from lanspread.identity import peer_id_of
from lanspread.platform import RealThreads
from lanspread.seams import Address, Advertisement, Found, Gone, LocalAddress
from lanspread.transport import mdns
from lanspread.transport.dns_records import RawRecord
from lanspread.transport.mdns import MdnsDiscovery, MdnsSession, choose_interfaces
from lanspread.transport.mdns_responder import Inbox, Responder
from tests.machine import at_most


def advert_of(name: str, *ports: int) -> Advertisement:
    return Advertisement(
        peer_id=peer_id_of(name.encode()),
        proto_ver=limits.PROTOCOL_VERSION,
        addresses=tuple(Address("127.0.0.1", port) for port in ports or (7373,)),
        library_rev=1,
        hostname=name,
        start=hashlib.sha256(name.encode()).hexdigest()[:6],
    )


def opened(advert: Advertisement) -> AbstractAsyncContextManager[MdnsSession]:
    return MdnsDiscovery(RealThreads(), ["127.0.0.1"]).open(advert)


async def found(session: MdnsSession, peer_id: str) -> Advertisement:
    """The next record of this peer; the network may hold others."""
    with trio.fail_after(10):
        while True:
            event = await session.next_event()
            if isinstance(event, Found) and event.advert.peer_id == peer_id:
                return event.advert


async def gone(session: MdnsSession, peer_id: str) -> None:
    with trio.fail_after(10):
        while await session.next_event() != Gone(peer_id):
            pass


async def test_two_find_each_other_see_updates_and_the_end() -> None:
    anna, ben = advert_of("anna", 1001), advert_of("ben", 1002)
    async with opened(anna) as at_anna:
        async with opened(ben) as at_ben:
            assert await found(at_anna, ben.peer_id) == ben
            assert await found(at_ben, anna.peer_id) == anna
            changed = attrs.evolve(ben, library_rev=2)
            await at_ben.update(changed)
            assert await found(at_anna, ben.peer_id) == changed
        await gone(at_anna, ben.peer_id)
        with trio.move_on_after(0.5):
            while True:
                event = await at_anna.next_event()
                assert not isinstance(event, Found) or event.advert.peer_id != anna.peer_id


async def test_several_ports_are_several_records_of_one_peer() -> None:
    anna, ben = advert_of("anna"), advert_of("ben", 1002, 1003)
    async with opened(anna) as at_anna, opened(ben) as at_ben:
        seen: set[Address] = set()
        with trio.fail_after(10):
            while seen != set(ben.addresses):
                seen = set((await found(at_anna, ben.peer_id)).addresses)
            await at_ben.update(attrs.evolve(ben, addresses=ben.addresses[:1]))
            while seen != set(ben.addresses[:1]):
                seen = set((await found(at_anna, ben.peer_id)).addresses)


async def test_two_machines_with_one_identity_do_not_break_each_other() -> None:
    first, clone = advert_of("anna", 1001), advert_of("anna", 1002)
    async with opened(first) as at_first, opened(clone) as at_clone:
        assert (await found(at_first, first.peer_id)).addresses == clone.addresses
        assert (await found(at_clone, first.peer_id)).addresses == first.addresses


async def test_no_thread_is_left_and_leaving_is_quick() -> None:
    before = {thread for thread in threading.enumerate() if "Trio" not in thread.name}
    async with opened(advert_of("anna")):
        await trio.sleep(1)
        start = time.monotonic()
    assert time.monotonic() - start < at_most(1.2)
    after = {thread for thread in threading.enumerate() if "Trio" not in thread.name}
    assert after <= before


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.01, 0.05, 0.1, 0.2])
async def test_leaving_at_any_moment_is_quick_and_clean(delay_s: float) -> None:
    start = time.monotonic()
    with trio.move_on_after(delay_s):
        async with opened(advert_of("anna")):
            await trio.sleep_forever()
    assert time.monotonic() - start < delay_s + at_most(1.2)
    with trio.fail_after(5):
        while any("lanspread-mdns" in thread.name for thread in threading.enumerate()):
            await trio.sleep(0.05)


async def test_a_responder_that_hangs_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    really_close = Responder.close

    def slow_close(responder: Responder) -> None:
        release.wait(30)
        really_close(responder)

    monkeypatch.setattr(Responder, "close", slow_close)
    async with opened(advert_of("anna")):
        await trio.sleep(0.5)
        start = time.monotonic()
    assert time.monotonic() - start < mdns.CLOSE_S + at_most(0.5)
    release.set()
    with trio.fail_after(10):
        while any("lanspread-mdns" in thread.name for thread in threading.enumerate()):
            await trio.sleep(0.05)


async def test_sockets_that_cannot_be_opened_are_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = []
    really_init = Responder.__init__

    def failing_once(responder: Responder, interfaces: tuple[str, ...], inbox: Inbox) -> None:
        tries.append(interfaces)
        if len(tries) == 1:
            raise OSError("no network")
        really_init(responder, interfaces, inbox)

    monkeypatch.setattr(Responder, "__init__", failing_once)
    monkeypatch.setattr(mdns, "_RETRY_S", 0.1)
    ben = advert_of("ben")
    async with opened(advert_of("anna")) as at_anna, opened(ben):
        await found(at_anna, ben.peer_id)
    assert len(tries) == 3


async def test_what_overflows_is_counted_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "DISCOVERY_QUEUE", 2)
    monkeypatch.setattr(mdns, "_BROWSE_AGAIN_FIRST_S", 0.1)
    others = [advert_of(f"peer {number}", 1000 + number) for number in range(4)]
    async with trio.open_nursery() as nursery:

        async def advertise(advert: Advertisement) -> None:
            async with opened(advert):
                await trio.sleep_forever()

        async with opened(advert_of("anna")) as at_anna:
            for advert in others:
                nursery.start_soon(advertise, advert)
            await trio.sleep(2)
            assert at_anna.overflowed > 0
            missing = {advert.peer_id for advert in others}
            with trio.fail_after(20):
                while missing:
                    event = await at_anna.next_event()
                    if isinstance(event, Found):
                        missing.discard(event.advert.peer_id)
        nursery.cancel_scope.cancel()


def test_the_inbox_keeps_the_last_state_of_each_name() -> None:
    woken: list[None] = []
    inbox = Inbox(lambda: woken.append(None))
    record = RawRecord(1, {}, ())
    for number in range(limits.DISCOVERY_QUEUE + 5):
        inbox.put(f"n{number}", record)
    inbox.put("n0", None)
    records, missed = inbox.take()
    assert len(records) == limits.DISCOVERY_QUEUE
    assert missed
    assert inbox.overflowed == 5
    assert list(records)[-1] == "n0"
    assert records["n0"] is None
    assert inbox.take() == ({}, False)


def test_which_interfaces_are_used() -> None:
    loopback = LocalAddress("127.0.0.1", "lo")
    assert choose_interfaces([loopback]) == ("127.0.0.1",)
    both = [loopback, LocalAddress("10.0.0.1", "eth0"), LocalAddress("fe80::1%eth0", "eth0")]
    assert choose_interfaces(both) == ("10.0.0.1",)
    assert choose_interfaces([loopback, both[2]]) == ("fe80::1%eth0",)
    assert choose_interfaces([*both, LocalAddress("10.8.0.1", "wg0")]) == ("10.0.0.1",)


async def test_a_peer_that_moves_is_told_at_its_new_address_alone() -> None:
    anna, ben = advert_of("anna", 1001), advert_of("ben", 1002)
    async with opened(anna) as at_anna, opened(ben) as at_ben:
        await found(at_anna, ben.peer_id)
        # So that the record of before is old enough to be replaced.
        await trio.sleep(1.5)
        moved = attrs.evolve(ben, addresses=(Address("127.0.0.9", 1002),))
        await at_ben.update(moved)
        while await found(at_anna, ben.peer_id) != moved:
            pass


async def test_the_same_record_once_more_is_announced_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    really_announce, really_browse = Responder.announce, Responder.browse

    async def announce(
        responder: Responder, records: Mapping[str, RawRecord], before: frozenset[str]
    ) -> None:
        calls.append("announce")
        await really_announce(responder, records, before)

    async def browse(responder: Responder) -> None:
        calls.append("browse")
        await really_browse(responder)

    monkeypatch.setattr(Responder, "announce", announce)
    monkeypatch.setattr(Responder, "browse", browse)
    anna = advert_of("anna")
    async with opened(anna) as session:
        await trio.sleep(2)
        assert sorted(calls) == ["announce", "browse"]
        await session.update(anna)
        await trio.sleep(3)
    assert sorted(calls) == ["announce", "announce", "browse", "browse"]


async def test_nobody_on_the_network_makes_the_responder_remember_without_end() -> None:
    """zeroconf bounds its cache itself; an older one, or one that stops doing so, fails here."""
    inbox = Inbox(lambda: None)
    responder = Responder(["127.0.0.1"], inbox)
    try:
        cache = responder._zeroconf.cache
        many = 30_000

        async def flood() -> int:
            for number in range(many):
                name = f"n{number}.{limits.SERVICE_TYPE}"
                cache.async_add_records([DNSText(name, 16, 1, 4_500, b"")])
            return len(cache.cache)

        with trio.fail_after(30):
            future = responder.submit(flood())
            while not future.done():
                await trio.sleep(0.05)
        assert future.result() < many / 2
    finally:
        await trio.to_thread.run_sync(responder.close)
