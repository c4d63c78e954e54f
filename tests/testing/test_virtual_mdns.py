"""Virtual mDNS: found after a delay, gone when withdrawn, stale when its host vanishes."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from lanspread.seams import Address, Advertisement, DiscoverySession, Found, Gone
from lanspread.testing import VirtualHost, VirtualLan, VirtualMdns, open_virtual_lan


def advert_of(host: VirtualHost, rev: int = 1) -> Advertisement:
    return Advertisement(
        peer_id=host.name,
        proto_ver=3,
        addresses=(Address(host.addresses[0], 7373),),
        library_rev=rev,
        hostname=host.name,
    )


def mdns(lan: VirtualLan, host: VirtualHost) -> VirtualMdns:
    return VirtualMdns(lan.multicast, host)


async def silent(session: DiscoverySession, seconds: float = 60.0) -> bool:
    with trio.move_on_after(seconds) as scope:
        await session.next_event()
    return scope.cancelled_caught


async def test_both_find_each_other_and_not_themselves(autojump_clock: MockClock) -> None:
    async with open_virtual_lan() as lan:
        anna, ben = lan.add_host("anna"), lan.add_host("ben")
        async with mdns(lan, anna).open(advert_of(anna)) as at_anna:
            await trio.sleep(100)
            start = trio.current_time()
            async with mdns(lan, ben).open(advert_of(ben)) as at_ben:
                assert await at_ben.next_event() == Found(advert_of(anna))
                assert await at_anna.next_event() == Found(advert_of(ben))
                assert trio.current_time() - start == pytest.approx(lan.multicast.settings.delay_s)
                assert await silent(at_anna)
                changed = attrs.evolve(advert_of(ben), library_rev=2)
                await at_ben.update(changed)
                assert await at_anna.next_event() == Found(changed)
            assert await at_anna.next_event() == Gone("ben")
            assert await silent(at_anna)


async def test_only_the_last_state_of_a_record_waits_for_a_slow_reader(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_lan() as lan:
        anna, ben = lan.add_host("anna"), lan.add_host("ben")
        async with (
            mdns(lan, anna).open(advert_of(anna)) as at_anna,
            mdns(lan, ben).open(advert_of(ben)) as at_ben,
        ):
            for rev in range(2, 50):
                await at_ben.update(advert_of(ben, rev))
                await trio.sleep(1)
            assert await at_anna.next_event() == Found(advert_of(ben, 49))
            assert await silent(at_anna)


async def test_a_vanished_host_withdraws_nothing(autojump_clock: MockClock) -> None:
    async with open_virtual_lan() as lan:
        anna, ben = lan.add_host("anna"), lan.add_host("ben")
        async with mdns(lan, anna).open(advert_of(anna)) as at_anna:
            async with mdns(lan, ben).open(advert_of(ben)) as at_ben:
                await at_anna.next_event()
                await at_ben.next_event()
                ben.vanish()
                assert await silent(at_ben)
            assert await silent(at_anna)
            ben.come_back()
            async with mdns(lan, ben).open(advert_of(ben)):
                assert await at_anna.next_event() == Found(advert_of(ben))


async def test_a_split_network_hears_after_it_is_whole_again(autojump_clock: MockClock) -> None:
    async with open_virtual_lan() as lan:
        anna, ben = lan.add_host("anna"), lan.add_host("ben")
        lan.partition([anna], [ben])
        async with (
            mdns(lan, anna).open(advert_of(anna)) as at_anna,
            mdns(lan, ben).open(advert_of(ben)),
        ):
            assert await silent(at_anna)
            lan.heal()
            assert await at_anna.next_event() == Found(advert_of(ben))
