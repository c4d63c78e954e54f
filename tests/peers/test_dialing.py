"""Dialing under adversity: who closes at once, never answers, lies in mDNS, or dials too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.commands import ConnectPeer
from lanspread.eventhub import PublishedEvent
from lanspread.identity import peer_id_of
from lanspread.peer import Peer
from lanspread.seams import Address, Advertisement
from lanspread.sync import messages as m
from lanspread.sync.session import Session
from lanspread.testing import Link, VirtualHost, VirtualLan, open_virtual_lan
from lanspread.transport import Connection
from lanspread.views import PeerState, PeerView
from tests.peers.support import Party, connected, open_party, until

DEAD = tuple(Address(f"10.0.9.{number}", 7373) for number in range(1, 9))


def stranger(number: int) -> str:
    """The peer_id of somebody who does not exist."""
    return peer_id_of(b"%d" % number)


def bogus(number: int, addresses: tuple[Address, ...] = DEAD, rev: int = 1) -> Advertisement:
    """The record of a peer that nobody is."""
    return Advertisement(
        peer_id=stranger(number), proto_ver=3, addresses=addresses, library_rev=rev, hostname="x"
    )


def record_of(peer: Peer, host: VirtualHost, *before: Address) -> Advertisement:
    """A record that names `peer`, with other addresses before its own."""
    own = Address(host.addresses[0], 7373)
    return Advertisement(peer_id=peer.peer_id, proto_ver=3, addresses=(*before, own))


def events(peer: Peer) -> list[PublishedEvent]:
    """Everything that the peer has reported since it started."""
    with peer.events.subscribe((peer.instance, 0)) as subscription:
        return list(subscription._replay)


def kinds(peer: Peer) -> Counter[str]:
    return Counter(event.type for event in events(peer))


def shown(peer: Peer, peer_id: str) -> PeerView:
    return next(view for view in peer.peers() if view.peer_id == peer_id)


def count_dials(peer: Peer) -> list[float]:
    """A list that grows by the time of every QUIC connection that `peer` begins."""
    times: list[float] = []
    real = peer.sessions._endpoint.connect

    async def connect(address: Address) -> Connection:
        times.append(trio.current_time())
        return await real(address)

    peer.sessions._endpoint.connect = connect  # type: ignore[method-assign]
    return times


# -- who answers, and closes ----------------------------------------------------------------------


async def test_a_full_peer_is_seen_as_refusing_and_left_alone(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_SESSIONS", 1)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: connected(anna) == {ben.peer_id})
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await trio.sleep(60)
    assert shown(carl, anna.peer_id).state is PeerState.REFUSED
    # Refused before HelloAck: nobody ever thought to be connected.
    assert kinds(carl)["peer.connected"] == 0
    assert kinds(anna)["peer.connected"] == kinds(ben)["peer.connected"] == 1
    # Each dial may be told twice: that it is tried, and that it was refused.
    assert kinds(carl).total() < 40


async def test_who_greets_and_closes_at_once_is_dialed_ever_more_rarely(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)
    real = ben.sessions._make_current

    def greet_and_close(session: Session, old: Session | None) -> None:
        real(session, old)
        session.close(m.CLOSE_PROTOCOL_ERROR, "no")

    ben.sessions._make_current = greet_and_close  # type: ignore[method-assign]
    dials = count_dials(anna)
    anna.dialer.take_hint(record_of(ben, host))
    await trio.sleep(600)
    assert 5 <= len(dials) <= 12
    # A person's own choice is tried more often, and still no faster than a person can follow.
    anna.dialer.add_static(f"{host.addresses[0]}:7373")
    before = len(dials)
    await trio.sleep(60)
    assert len(dials) - before <= 60


async def test_who_says_that_it_is_connected_and_is_not_is_dialed_ever_more_rarely(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)

    async def refuse(connection: Connection) -> None:
        connection.close(m.CLOSE_REPLACED, "connected meanwhile")
        await trio.lowlevel.checkpoint()

    ben.sessions._greet_inbound = refuse  # type: ignore[method-assign]
    dials = count_dials(anna)
    anna.dialer.take_hint(record_of(ben, host))
    await trio.sleep(600)
    assert 5 <= len(dials) <= 12


async def test_a_session_that_lived_long_is_dialed_again_at_once(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)
    anna.dialer.take_hint(record_of(ben, host))
    await until(lambda: connected(anna))
    await trio.sleep(2 * limits.SESSION_PROVEN_S)
    ben.sessions.all()[0].close(m.CLOSE_GOODBYE)
    await until(lambda: kinds(anna)["peer.connected"] == 2, within=0.5)


# -- who does not answer --------------------------------------------------------------------------


async def test_a_dead_mdns_peer_costs_at_most_six_dials_an_hour(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    dials = count_dials(anna)
    anna.dialer.take_hint(bogus(1, DEAD[:1]))
    await trio.sleep(4 * 3_600)
    late = [at for at in dials if at > trio.current_time() - 2 * 3_600]
    assert len(late) <= 2 * 6


async def test_a_record_that_changes_all_the_time_costs_a_dial_a_second_at_most(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)
    ben.sessions._has_room_for = lambda peer_id: False  # type: ignore[method-assign]
    dials = count_dials(anna)
    for rev in range(600):
        anna.dialer.take_hint(attrs.evolve(record_of(ben, host), library_rev=rev))
        await trio.sleep(0.05)
    assert len(dials) <= 30 + 1


async def test_dead_addresses_do_not_keep_a_peer_from_being_reached(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)
    began = trio.current_time()
    anna.dialer.take_hint(record_of(ben, host, *DEAD[:7]))
    await until(lambda: connected(anna), within=3)
    assert trio.current_time() - began < 3
    # The dials that lost were ended, not left to time out.
    await trio.sleep(limits.CLOSE_LINGER_S + 0.5)
    assert anna.statistics().connections == 1


async def test_a_person_does_not_wait_behind_what_mdns_made_up(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)
    for number in range(limits.MAX_CANDIDATES):
        anna.dialer.take_hint(bogus(number))
    await trio.sleep(1)
    with trio.fail_after(1):
        await anna.execute(ConnectPeer(address=f"{host.addresses[0]}:7373"))
    assert connected(anna) == {ben.peer_id}


async def test_a_silent_address_is_given_up_after_five_seconds(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    began = trio.current_time()
    with pytest.raises(Exception, match="nobody answers"):
        await anna.execute(ConnectPeer(address=str(DEAD[0])))
    assert trio.current_time() - began <= limits.DIAL_TIMEOUT_S + 0.1


# -- how many -------------------------------------------------------------------------------------


async def test_the_directory_and_the_targets_are_bounded(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_KNOWN_PEERS", 8)
    monkeypatch.setattr(limits, "MAX_CANDIDATES", 4)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    for number in range(60):
        anna.dialer.take_hint(bogus(number))
        # What a handshake with that identity does to the directory.
        anna.directory.greet(
            stranger(number),
            name="",
            features={},
            listen_addrs=(),
            worked=None,
            proto_ver=3,
            now=trio.current_time() + number,
        )
        anna.directory.set_state(stranger(number), PeerState.LOST, trio.current_time() + number)
    await trio.sleep(1)
    assert len(anna.directory) <= 8
    assert anna.dialer.targets <= 8
    # Those that were met last are the ones that are kept.
    assert anna.directory.get(stranger(59)) is not None


async def test_made_up_peers_do_not_keep_real_ones_out(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CANDIDATES", 2 * limits.MAX_DIALS_AT_ONCE)
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    for number in range(2 * limits.MAX_CANDIDATES):
        anna.dialer.take_hint(bogus(number))
    assert len(anna.directory) == limits.MAX_CANDIDATES
    assert anna.dialer.targets == limits.MAX_CANDIDATES
    await trio.sleep(300)
    host = lan.add_host("b")
    ben = await party.start(host, tmp_path / "b", mdns=False)
    anna.dialer.take_hint(record_of(ben, host))
    await until(lambda: connected(anna) == {ben.peer_id}, within=10)
    # It took the place of one that had been tried in vain.
    assert len(anna.directory) == limits.MAX_CANDIDATES


async def test_a_withdrawn_record_is_forgotten_unless_the_peer_was_met(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts = {name: lan.add_host(name) for name in "ab"}
    anna = await party.start(hosts["a"], tmp_path / "a")
    ben = await party.start(hosts["b"], tmp_path / "b")
    await until(lambda: connected(anna) == {ben.peer_id})
    anna.dialer.take_hint(bogus(1))
    await trio.sleep(1)
    assert anna.dialer.targets == 2
    anna.dialer.drop_hint(stranger(1))
    anna.dialer.drop_hint(ben.peer_id)
    await trio.sleep(1)
    assert [view.peer_id for view in anna.peers()] == [ben.peer_id]
    assert anna.dialer.targets == 1
    assert connected(anna) == {ben.peer_id}
    gone = [event.data for event in events(anna) if event.type == "peer.lost"]
    assert [(data["peer_id"], data["reason"]) for data in gone] == [(stranger(1), "forgotten")]


# -- crossing -------------------------------------------------------------------------------------


async def test_crossed_connects_succeed_on_both_sides(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    lan.set_default_link(Link(latency_s=0.02, jitter_s=0.02))
    for number in range(20):
        hosts = [lan.add_host(f"{name}{number}") for name in "ab"]
        peers = [await party.start(h, tmp_path / h.name, mdns=False) for h in hosts]
        async with trio.open_nursery() as nursery:
            for peer, other_host in zip(peers, reversed(hosts), strict=True):
                nursery.start_soon(peer.execute, ConnectPeer(address=f"{other_host.name}:7373"))
        await until(partial(_each_other, *peers), within=1)
        for host in hosts:
            await party.leave(host)


def _each_other(first: Peer, second: Peer) -> bool:
    return connected(first) == {second.peer_id} and connected(second) == {first.peer_id}


@pytest.mark.parametrize("seed", range(12))
async def test_an_address_and_a_record_of_one_peer_make_one_session(
    autojump_clock: MockClock, tmp_path: Path, seed: int
) -> None:
    link = Link(latency_s=0.02, jitter_s=0.03, loss=0.05)
    async with open_virtual_lan(seed=seed, link=link) as lan, open_party() as party:
        hosts = [lan.add_host(name) for name in "ab"]
        addresses = [f"{host.addresses[0]}:7373" for host in hosts]
        peers = [
            await party.start(host, tmp_path / host.name, peers=(other,))
            for host, other in zip(hosts, reversed(addresses), strict=True)
        ]
        await trio.sleep(20)
        # A close that was lost leaves the refused connection to QUIC's own timeout on one side.
        await until(
            lambda: all(peer.statistics().connections == 1 for peer in peers),
            limits.QUIC_IDLE_TIMEOUT_S,
        )
        for peer in peers:
            assert kinds(peer)["peer.connected"] == 1
            assert kinds(peer)["peer.lost"] == 0
        await party.stop()


# -- what front-ends see --------------------------------------------------------------------------


def states(peer: Peer, peer_id: str) -> list[tuple[str, str]]:
    """The events about one peer, and the state that each shows."""
    return [
        (event.type.removeprefix("peer."), event.data["state"])
        for event in events(peer)
        if event.type.startswith("peer.") and event.data["peer_id"] == peer_id
    ]


async def settled(peer: Peer, peer_id: str) -> None:
    """The last event shows the peer as `peers.list` does."""
    await trio.sleep(2 * limits.PEER_EVENT_S)
    last = [e.data for e in events(peer) if e.data.get("peer_id") == peer_id and "state" in e.data]
    view = attrs.asdict(shown(peer, peer_id), recurse=False)
    for name in view.keys() - {"last_seen", "addresses"}:
        assert last[-1][name] == view[name]


async def test_every_change_of_state_is_told(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    advert = bogus(1, DEAD[:1])
    anna.dialer.take_hint(advert)
    await trio.sleep(1.5)
    await settled(anna, stranger(1))
    assert states(anna, stranger(1))[0] == ("discovered", "discovered")
    assert ("updated", "connecting") in states(anna, stranger(1))
    await trio.sleep(30)
    anna.dialer.take_hint(attrs.evolve(advert, proto_ver=4))
    await settled(anna, stranger(1))
    assert states(anna, stranger(1))[-1] == ("updated", "incompatible")
    assert shown(anna, stranger(1)).proto_ver == 4
    assert anna.dialer.targets == 0
    # It was brought to our version: it is dialed again.
    anna.dialer.take_hint(advert)
    await settled(anna, stranger(1))
    assert states(anna, stranger(1))[-1] == ("updated", "connecting")


async def test_a_lost_peer_that_is_heard_of_again_is_discovered(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)
    await anna.execute(ConnectPeer(address=f"{host.addresses[0]}:7373"))
    await trio.sleep(5)
    await party.leave(host)
    await until(lambda: not connected(anna))
    await trio.sleep(2)
    # The smaller peer_id dials at once, the other a little later: look at the hint alone.
    anna.directory.hint(ben.peer_id, DEAD[:1], "b", 1, trio.current_time())
    anna.directory.set_state(ben.peer_id, PeerState.LOST)
    await settled(anna, ben.peer_id)
    anna.directory.hint(ben.peer_id, DEAD[:1], "b", 1, trio.current_time())
    anna.sessions.news.changed(ben.peer_id)
    assert states(anna, ben.peer_id)[-1] == ("discovered", "discovered")


async def test_a_peer_found_incompatible_by_dialing_shows_no_version_of_ours(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("b")
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(host, tmp_path / "b", mdns=False)
    real = ben.sessions._make_body
    ben.sessions._make_body = lambda: attrs.evolve(real(), proto_ver=4)
    anna.dialer.take_hint(record_of(ben, host))
    await settled(anna, ben.peer_id)
    view = shown(anna, ben.peer_id)
    assert (view.state, view.proto_ver) == (PeerState.INCOMPATIBLE, None)


async def test_a_library_that_was_taken_in_is_told(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / "a/games" / name).mkdir(parents=True)
        (tmp_path / "a/games" / name / "version.ini").write_text("1.0\n")
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: connected(ben) and shown(ben, anna.peer_id).game_count == 2)
    await settled(ben, anna.peer_id)
    (tmp_path / "a/games/three").mkdir()
    (tmp_path / "a/games/three/version.ini").write_text("1.0\n")
    await anna.library.rescan("three")
    await until(lambda: shown(ben, anna.peer_id).game_count == 3)
    await settled(ben, anna.peer_id)


def _new_ids(peer: Peer, round_number: int) -> None:
    for number in range(200):
        peer.dialer.take_hint(bogus(200 * round_number + number))


def _new_addresses(peer: Peer, round_number: int) -> None:
    for number in range(200):
        peer.dialer.take_hint(bogus(number, (DEAD[round_number % 8],)))


def _come_and_go(peer: Peer, round_number: int) -> None:
    for number in range(200):
        peer.dialer.take_hint(bogus(number))
        peer.dialer.drop_hint(stranger(number))


@pytest.mark.parametrize("noise", [_new_ids, _new_addresses, _come_and_go])
async def test_noise_in_mdns_does_not_flood_front_ends(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    noise: Callable[[Peer, int], None],
) -> None:
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben_host = lan.add_host("b")
    ben = await party.start(ben_host, tmp_path / "b", mdns=False)
    began, before = trio.current_time(), anna.events.seq
    for round_number in range(20):
        noise(anna, round_number)
        await trio.sleep(0.1)
    lasted = trio.current_time() - began
    assert anna.events.seq - before <= limits.PEER_EVENTS * (lasted / limits.PEER_EVENT_S + 2)
    # Who came to be connected is told all the same, at once.
    await ben.execute(ConnectPeer(address="a:7373"))
    await until(lambda: ("connected", "connected") in states(anna, ben.peer_id), within=0.1)
