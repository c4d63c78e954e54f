"""What can be done to peers and their network, with whole peers to feel it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.commands import DownloadGame
from lanspread.seams import Found
from lanspread.testing import (
    Link,
    Multicast,
    VirtualLan,
    VirtualPeer,
    game_files,
    open_virtual_lan,
    until,
    until_connected,
)
from tests.testing.test_virtual_lan import at, bind, drain
from tests.testing.test_virtual_mdns import advert_of, mdns, silent


async def pair(lan: VirtualLan) -> tuple[VirtualPeer, VirtualPeer]:
    anna, ben = [await lan.start_peer(name) for name in ("anna", "ben")]
    await until_connected([anna, ben])
    return anna, ben


async def test_one_way_reachability(autojump_clock: MockClock, virtual_lan: VirtualLan) -> None:
    lan = virtual_lan
    hosts = anna, ben = lan.add_host("anna"), lan.add_host("ben")
    to_anna, to_ben = [await bind(host) for host in hosts]
    lan.block(anna, ben)
    await to_anna.send([b"lost"], at(ben, to_ben))
    await to_ben.send([b"heard"], at(anna, to_anna))
    assert await drain(to_ben) == []
    assert await drain(to_anna) == [b"heard"]
    lan.partition()
    lan.heal()
    assert not lan.reachable(anna, ben)
    lan.unblock(anna, ben)
    await to_anna.send([b"again"], at(ben, to_ben))
    assert await drain(to_ben) == [b"again"]


async def test_peers_of_a_one_way_wire_lose_and_find_each_other(
    autojump_clock: MockClock, virtual_lan: VirtualLan
) -> None:
    anna, ben = await pair(virtual_lan)
    virtual_lan.block(anna.host, ben.host)
    lost_within = limits.STALE_TIMEOUT_S + 5
    await until(lambda: not anna.connected() and not ben.connected(), lost_within)
    virtual_lan.unblock(anna.host, ben.host)
    await until_connected([anna, ben], 700)


async def test_a_record_of_a_host_long_gone_is_told_to_late_joiners_until_it_is_stale(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_lan(mdns=Multicast(stale_s=600)) as lan:
        anna, ben, carl = [lan.add_host(name) for name in ("anna", "ben", "carl")]
        async with mdns(lan, ben).open(advert_of(ben)):
            ben.vanish()
        await trio.sleep(300)
        async with mdns(lan, anna).open(advert_of(anna)) as late:
            assert (await late.next_event()).advert == advert_of(ben)  # type: ignore[union-attr]
            assert await silent(late, 250)
            assert (await late.next_event()).peer_id == "ben"  # type: ignore[union-attr]
            async with mdns(lan, carl).open(advert_of(carl)) as later:
                assert (await later.next_event()).advert == advert_of(anna)  # type: ignore[union-attr]
                assert await silent(later)


async def test_a_lost_record_is_told_again(autojump_clock: MockClock) -> None:
    async with open_virtual_lan(seed=3, mdns=Multicast(loss=0.5, jitter_s=0.2)) as lan:
        hosts = [lan.add_host(f"h{number}") for number in range(6)]
        async with (
            mdns(lan, hosts[0]).open(advert_of(hosts[0])) as listener,
            trio.open_nursery() as nursery,
        ):
            for host in hosts[1:]:
                nursery.start_soon(_advertise, lan, host)
            start = trio.current_time()
            found = [await listener.next_event() for _ in hosts[1:]]
            assert all(isinstance(event, Found) for event in found)
            assert trio.current_time() - start > 0.5  # some only by a repeat
            nursery.cancel_scope.cancel()


async def _advertise(lan: VirtualLan, host: object) -> None:
    async with mdns(lan, host).open(advert_of(host)):  # type: ignore[arg-type]
        await trio.sleep_forever()


async def test_a_crash_tells_nobody_and_keeps_the_disk(
    autojump_clock: MockClock, virtual_lan: VirtualLan
) -> None:
    anna, ben = await pair(virtual_lan)
    anna.put_game("Chess", {"chess.eti": 50_000})
    await until(lambda: ben.offers("Chess"))
    identity, instance, rev = anna.peer_id, anna.peer.instance, _rev(anna)
    await anna.crash()
    assert not anna.is_running
    assert anna.host.sockets == ()
    # As a crash leaves it: nobody took the address of the API back, or anything else.
    assert ben.connected() == {identity}
    with pytest.raises(RuntimeError, match="no peer runs on anna"):
        anna.peer.games()
    await anna.start()
    assert (anna.peer_id, _rev(anna) >= rev) == (identity, True)
    assert anna.peer.instance != instance
    await until_connected([anna, ben], 5)
    assert anna.read_game("Chess") == game_files("Chess", {"chess.eti": 50_000})


def _rev(peer: VirtualPeer) -> int:
    return peer.peer._publisher.current.rev


async def test_a_crash_in_a_download_leaves_what_was_written_by_then(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_lan(seed=2, link=Link(bytes_per_s=100_000, queue_s=1)) as lan:
        anna, ben = await pair(lan)
        anna.put_game("Large", {"large.eti": 500_000})
        await until(lambda: ben.offers("Large"))
        await ben.peer.execute(DownloadGame(id="Large"))
        await until(lambda: ben.read_game("Large"))
        before = ben.read_game("Large")
        assert "version.ini" not in before
        await ben.crash()
        assert ben.read_game("Large") == before
        await ben.start()
        await until(lambda: ben.offers("Large"))
        if not ben.peer.operations.all():
            assert (await ben.fetch("Large")).type == "download.finished"
        await until(lambda: ben.read_game("Large") == anna.read_game("Large"))


async def test_wiped_and_cloned(autojump_clock: MockClock, virtual_lan: VirtualLan) -> None:
    anna, ben = await pair(virtual_lan)
    identity = anna.peer_id
    with pytest.raises(RuntimeError, match="runs on anna"):
        anna.wipe_state()
    twin = anna.clone("twin")
    await twin.start()
    assert twin.peer_id == identity
    await twin.restart(new_identity=True)
    assert twin.peer_id != identity
    await until_connected([anna, ben, twin])
    await anna.stop()
    anna.wipe_state()
    await anna.start()
    assert anna.peer_id not in (identity, twin.peer_id)
    await until_connected([anna, ben, twin])


async def test_sleep_new_addresses_and_a_pulled_cable(
    autojump_clock: MockClock, virtual_lan: VirtualLan
) -> None:
    anna, ben = await pair(virtual_lan)
    before, clock = trio.current_time(), anna.host.suspend_clock.now()
    await anna.host.sleep_machine(3_600, missed_s=10)
    assert trio.current_time() - before == pytest.approx(10)
    assert anna.host.suspend_clock.now() - clock == pytest.approx(3_610)
    await until_connected([anna, ben])
    old = anna.host.addresses
    anna.host.change_addresses()
    assert not set(old) & set(anna.host.addresses)
    await until_connected([anna, ben], 120)
    anna.host.unplug()
    await until(lambda: not anna.connected() and not ben.connected(), 60)
    anna.host.plug_in()
    await until_connected([anna, ben], 700)


async def test_the_fallback_scan_finds_what_no_watcher_said(
    autojump_clock: MockClock, virtual_lan: VirtualLan
) -> None:
    anna = await virtual_lan.start_peer("anna", watched=False)
    anna.put_game("Chess")
    await trio.sleep(limits.FALLBACK_SCAN_S / 2)
    assert not anna.has_game("Chess")
    await until(lambda: anna.has_game("Chess"), limits.FALLBACK_SCAN_S)
    anna.remove_game("Chess")
    await until(lambda: not anna.has_game("Chess"), 2 * limits.FALLBACK_SCAN_S)


async def test_games_in_a_real_folder(
    autojump_clock: MockClock, virtual_lan: VirtualLan, tmp_path: Path
) -> None:
    anna = await virtual_lan.start_peer("anna", games=tmp_path / "games")
    ben = await virtual_lan.start_peer("ben")
    anna.put_game("Chess", {"a/b.eti": 40_000})
    assert (tmp_path / "games/Chess/a/b.eti").stat().st_size == 40_000
    await until(lambda: ben.offers("Chess"))
    assert (await ben.fetch("Chess")).type == "download.finished"
    assert ben.read_game("Chess") == anna.read_game("Chess")
    assert os.listdir(ben.games.path) == []


async def test_nothing_is_left_of_a_lan(autojump_clock: MockClock) -> None:
    async with open_virtual_lan() as lan:
        anna, ben = await pair(lan)
        folder = anna.state.parent.parent
        assert folder.is_dir()
        log = ben.events()
        await anna.stop()
        assert (await log.wait_for("peer.lost", timeout_s=2)).data["reason"] == "goodbye"
        await anna.start()
    assert not folder.exists()
    assert not anna.is_running
    assert not ben.is_running
