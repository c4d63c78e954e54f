"""Peers that are killed, crash, restart and return; what the network says meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.peer import Peer
from lanspread.seams import Address
from lanspread.sync import messages as m
from lanspread.sync.dialer import says_something_new
from lanspread.sync.directory import PeerRecord
from lanspread.sync.remote import Position, RemoteLibrary
from lanspread.sync.session import Session
from lanspread.testing import VirtualHost, VirtualLan
from lanspread.views import PeerState
from tests.peers.support import Events, Party, connected, until
from tests.peers.test_dialing import DEAD, bogus, count_dials, kinds, record_of, shown
from tests.peers.test_liveness import lost, two

# -- killed, and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("away_s", [0.1, 5, 30, 100])
@pytest.mark.parametrize("static", [None, [0], [1], [0, 1]])
async def test_a_killed_peer_is_missed_in_time_and_soon_back(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    static: list[int] | None,
    away_s: float,
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path, static=static)
    events = Events(anna)
    await party.kill(hosts[1])
    if away_s > limits.STALE_TIMEOUT_S:
        event = await events.wait_for("peer.lost", within=limits.STALE_TIMEOUT_S + 1)
        assert event.data["reason"].startswith("timeout")
        away_s -= limits.STALE_TIMEOUT_S
    await trio.sleep(away_s)
    hosts[1].come_back()
    named = [f"{hosts[0].addresses[0]}:7373"] if static is not None and 1 in static else []
    ben = await party.start(hosts[1], tmp_path / "b", mdns=static is None, peers=tuple(named))
    within = 3.0
    if static == [0]:
        # Only the side that waits knows the other: it has to notice that it must dial.
        within += limits.IDLE_PING_S + limits.PING_ANSWER_S
    await until(
        lambda: connected(ben) and connected(anna) and instance_of(anna) == ben.instance,
        within=within,
    )
    await trio.sleep(60)
    assert lost(ben) == 0
    assert kinds(anna)["peer.lost"] == (1 if away_s > 30 else 0)
    assert anna.statistics().connections == ben.statistics().connections == 1


def instance_of(peer: Peer) -> str:
    """Of the other side, as the one session of `peer` has it."""
    (session,) = peer.sessions.all()
    return session.body.instance.hex()


@pytest.mark.parametrize("crashes", [True, False])
async def test_several_quick_restarts_in_a_row(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path, crashes: bool
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    for number in range(6):
        if crashes:
            await party.kill(hosts[1])
            hosts[1].come_back()
        else:
            await party.leave(hosts[1])
        ben = await party.start(hosts[1], tmp_path / "b")
        await trio.sleep(0.5 + number / 2)
    await until(lambda: connected(anna) and connected(ben), within=3)
    await until(lambda: instance_of(anna) == ben.instance, within=3)
    await trio.sleep(100)
    assert connected(anna) == {ben.peer_id}
    assert connected(ben) == {anna.peer_id}
    told = kinds(anna)
    if crashes:
        assert told["peer.lost"] == 0
        assert told["peer.connected"] == 1
    else:
        # Each goodbye is a loss; each return is told as well, and nothing besides.
        assert told["peer.lost"] == 6
        assert told["peer.connected"] == 7
    assert lost(ben) == 0
    assert anna.statistics().connections == 1


async def test_an_orderly_restart_is_back_at_once(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    events = Events(anna)
    await party.leave(hosts[1])
    assert (await events.wait_for("peer.lost", within=1)).data["reason"] == "goodbye"
    await trio.sleep(20)
    began = trio.current_time()
    await party.start(hosts[1], tmp_path / "b")
    await events.wait_for("peer.connected", within=3)
    assert trio.current_time() - began < 3
    assert [view.peer_id for view in anna.peers()] == [ben.peer_id]


# -- nothing changes ------------------------------------------------------------------------------


async def test_an_hour_of_nothing_costs_one_ping_in_fifteen_seconds_per_pair(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = [lan.add_host(name) for name in "abc"]
    peers = [await party.start(host, tmp_path / host.name) for host in hosts]
    await until(lambda: all(len(connected(peer)) == 2 for peer in peers))
    await trio.sleep(120)
    told: Counter[str] = Counter()
    real = Session.send

    def send(session: Session, message: m.Message) -> None:
        told[type(message).__name__] += 1
        real(session, message)

    monkeypatch.setattr(Session, "send", send)
    announced = count_announcements(lan)
    before = datagrams(hosts)
    await trio.sleep(3_600)
    pairs, an_hour = 3, int(3_600 / limits.IDLE_PING_S)
    assert told.keys() == {"Ping", "Pong"}
    assert pairs * (an_hour - 3) <= told["Ping"] <= pairs * an_hour
    assert told["Pong"] == told["Ping"]
    # A ping, its acknowledgement, a pong, its acknowledgement; and no datagram besides.
    assert datagrams(hosts) - before <= 4 * told["Ping"]
    assert announced == []
    assert all(kinds(peer) == kinds(peers[0]) for peer in peers)


def datagrams(hosts: Sequence[VirtualHost]) -> int:
    return sum(socket.statistics().sent for host in hosts for socket in host.sockets)


def count_announcements(lan: VirtualLan) -> list[object]:
    """A list that grows with every record that is announced."""
    seen: list[object] = []
    real = lan.multicast.announce

    def announce(record: object) -> None:
        seen.append(record)
        real(record)  # type: ignore[arg-type]

    lan.multicast.announce = announce  # type: ignore[method-assign]
    return seen


# -- what mDNS says -------------------------------------------------------------------------------


def test_what_is_new_in_a_record() -> None:
    record = attrs.evolve(bogus(1, DEAD[:2]), start="aaaaaa")
    assert says_something_new(None, record)
    assert not says_something_new(record, record)
    assert not says_something_new(record, attrs.evolve(record, library_rev=99))
    assert not says_something_new(record, attrs.evolve(record, hostname="y"))
    assert not says_something_new(record, attrs.evolve(record, addresses=DEAD[1::-1]))
    assert not says_something_new(record, attrs.evolve(record, addresses=DEAD[:1]))
    assert says_something_new(record, attrs.evolve(record, addresses=DEAD[:3]))
    assert says_something_new(record, attrs.evolve(record, addresses=(Address("10.0.9.1", 1),)))
    assert says_something_new(record, attrs.evolve(record, proto_ver=4))
    assert says_something_new(record, attrs.evolve(record, start="bbbbbb"))


async def test_a_stale_record_that_counts_on_costs_six_dials_an_hour(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """Somebody repeats the record of a dead peer, with ever new revisions and orders."""
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    dials = count_dials(anna)
    for rev in range(4 * 360):
        anna.dialer.take_hint(bogus(1, DEAD[:2] if rev % 2 else DEAD[1::-1], rev=rev))
        await trio.sleep(10)
    late = [at for at in dials if at > trio.current_time() - 2 * 3_600]
    assert 0 < len(late) <= 2 * 2 * 6


@pytest.mark.parametrize("news", ["address", "start", "gone and back"])
async def test_news_of_a_peer_that_was_dead_for_long_is_acted_on(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path, news: str
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)
    record = attrs.evolve(record_of(ben, host), start="aaaaaa")
    if news == "address":
        record = attrs.evolve(record, addresses=DEAD[:1])
    host.unplug()
    anna.dialer.take_hint(record)
    await trio.sleep(3_600)
    host.plug_in()
    if news == "address":
        anna.dialer.take_hint(record_of(ben, host, *record.addresses))
    elif news == "start":
        anna.dialer.take_hint(attrs.evolve(record, start="bbbbbb"))
    else:
        anna.dialer.drop_hint(ben.peer_id)
        anna.dialer.take_hint(record)
    await until(lambda: connected(anna) == {ben.peer_id}, within=3)
    assert shown(anna, ben.peer_id).state is PeerState.CONNECTED


async def test_records_that_flap_cost_a_working_session_nothing_but_pings(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    before, told = anna.sessions.all(), kinds(anna)
    dials, sent = count_dials(anna), datagrams(hosts)
    for number in range(1_000):
        anna.dialer.drop_hint(ben.peer_id)
        anna.dialer.take_hint(attrs.evolve(record_of(ben, hosts[1]), start=f"{number:06x}"))
        await trio.sleep(0.03)
    assert anna.sessions.all() == before
    assert dials == []
    # A second between two pings, four datagrams each.
    assert datagrams(hosts) - sent <= 4 * 32
    assert (kinds(anna) - told).keys() <= {"peer.updated"}
    assert (kinds(anna) - told).total() <= 32


@pytest.mark.parametrize(("held", "news"), [(None, True), (5, False), (4, True), (6, True)])
def test_whose_library_is_news(held: int | None, news: bool) -> None:
    record = PeerRecord("x", hinted_rev=5)
    if held is not None:
        record.library = RemoteLibrary(Position(b"", held, b""), {}, {})
    assert record.has_news == news


async def test_whose_library_changed_is_dialed_first(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_DIALS_AT_ONCE", 1)
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    first: list[str] = []

    async def dial(address: Address, expected: str | None) -> Session:
        assert expected is not None
        if expected not in first:
            first.append(expected)
        await trio.sleep(0.5)
        raise OSError("nobody")

    monkeypatch.setattr(anna.sessions, "dial", dial)
    adverts = [bogus(number, DEAD[:1], rev=7) for number in range(6)]
    for number, advert in enumerate(adverts):
        record = anna.directory.greet(
            advert.peer_id,
            name="x",
            features={},
            listen_addrs=advert.addresses,
            worked=None,
            proto_ver=3,
            now=0.0,
        )
        record.state = PeerState.LOST
        # Of the last three we hold another revision than the one they advertise.
        rev = 7 if number < 3 else 6
        record.library = RemoteLibrary(Position(b"", rev, b""), {}, {})
        anna.dialer.take_hint(advert)
        await trio.sleep(0.01)
    await trio.sleep(30)
    order = [advert.peer_id for advert in adverts]
    # The first was alone when it came, and those that yield to us come a little later.
    changed = [peer_id for peer_id in first[1:] if peer_id in order[3:]]
    assert len(first) == 6
    assert first[1 : 1 + len(changed)] == changed


async def test_waking_up_among_many_that_are_gone_dials_a_few_at_a_time(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("a")
    anna = await party.start(host, tmp_path / "a", mdns=False)
    for number in range(100):
        anna.dialer.take_hint(bogus(number, DEAD[:1]))
    await trio.sleep(900)
    running = most = 0
    real = anna.sessions.dial

    async def dial(address: Address, expected_peer_id: str | None) -> Session:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await real(address, expected_peer_id)
        finally:
            running -= 1

    anna.sessions.dial = dial  # type: ignore[method-assign]
    dials = count_dials(anna)
    host.suspend_clock.sleep_machine(3_600)
    await trio.sleep(limits.SUSPEND_CHECK_S + 100 / limits.MAX_DIALS_AT_ONCE * 5 + 20)
    # Every one of them got its turn.
    assert len(dials) >= 100
    assert most <= limits.MAX_DIALS_AT_ONCE


async def test_one_that_is_back_is_a_reason_to_try_the_others(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    for number in range(5):
        anna.dialer.take_hint(bogus(number, DEAD[:1]))
    await trio.sleep(2_000)
    tried: list[str | None] = []
    real = anna.sessions.dial

    async def dial(address: Address, expected_peer_id: str | None) -> Session:
        tried.append(expected_peer_id)
        return await real(address, expected_peer_id)

    anna.sessions.dial = dial  # type: ignore[method-assign]
    for round_ in (1, 2):
        tried.clear()
        lan.partition([hosts[0]], [hosts[1]])
        await until(lambda: not connected(anna))
        await trio.sleep(limits.DIAL_MET_MAX_S)
        lan.heal()
        await until(lambda: connected(anna) == {ben.peer_id}, within=2 * limits.DIAL_MET_MAX_S)
        await trio.sleep(5)
        assert set(tried) >= {bogus(number, DEAD[:1]).peer_id for number in range(5)}, round_


async def test_who_comes_and_goes_has_the_others_tried_once_a_minute(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts, (anna, _) = await two(lan, party, tmp_path)
    anna.dialer.take_hint(bogus(1, DEAD[:1]))
    await trio.sleep(2_000)
    tried: list[str | None] = []
    real = anna.sessions.dial

    async def dial(address: Address, expected_peer_id: str | None) -> Session:
        tried.append(expected_peer_id)
        return await real(address, expected_peer_id)

    anna.sessions.dial = dial  # type: ignore[method-assign]
    began = trio.current_time()
    for _ in range(20):
        await party.leave(hosts[1])
        # Long enough that it is dialed in vain.
        await trio.sleep(8)
        ben = await party.start(hosts[1], tmp_path / "b")
        await until(lambda ben=ben: connected(anna) == {ben.peer_id})  # type: ignore[misc]
    minutes = (trio.current_time() - began) / limits.DIAL_ROUND_S
    own = (trio.current_time() - began) / limits.DIAL_BACKOFF_MAX_S
    assert 2 <= tried.count(bogus(1, DEAD[:1]).peer_id) <= minutes + own + 1
