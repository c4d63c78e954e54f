"""Machines that move and sleep, paths that die: the others follow, and nobody is lost for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.peer import Peer
from lanspread.seams import Address
from lanspread.sync import messages as m
from lanspread.testing import Link, VirtualHost, VirtualLan
from lanspread.views import PeerState
from tests.peers.support import (
    END,
    Events,
    Party,
    begin,
    connected,
    done_bytes,
    forbid_dialing,
    large_game,
    offering,
    read_game,
    until,
    write_game,
)
from tests.peers.test_dialing import count_dials, kinds, shown

# The most from the change of an address until the other side talks to the new one.
MOVED_S = 6.0
AWAKE_S = limits.SUSPEND_CHECK_S + limits.PING_ANSWER_S + 1.0


async def two(
    lan: VirtualLan, party: Party, folder: Path, *, static: Sequence[int] | None = None
) -> tuple[list[VirtualHost], list[Peer]]:
    """Two peers, connected for a while; `static` are those that name the other, without mDNS."""
    hosts = [lan.add_host("a"), lan.add_host("b")]
    peers = []
    for number, host in enumerate(hosts):
        settings: dict[str, object] = {}
        if static is not None:
            settings["mdns"] = False
            if number in static:
                settings["peers"] = (f"{hosts[1 - number].addresses[0]}:7373",)
        peers.append(await party.start(host, folder / host.name, **settings))
    await until(lambda: all(connected(peer) for peer in peers))
    await trio.sleep(2 * limits.SESSION_PROVEN_S)
    return hosts, peers


def lost(*peers: Peer) -> int:
    return sum(kinds(peer)["peer.lost"] for peer in peers)


def talks_to(peer: Peer, hosts: Sequence[str]) -> bool:
    """Whether the one session of `peer` is with these addresses, and something just came."""
    (session,) = peer.sessions.all()
    fresh = trio.current_time() - session.connection.last_received < 0.2
    return fresh and session.connection.remote_address.host in hosts


def cut(lan: VirtualLan, dead: Callable[[Address, Address], bool]) -> None:
    """Lose every datagram whose source and target `dead` names."""
    real = lan.transmit

    def transmit(
        sender: VirtualHost, datagrams: Sequence[bytes], source: Address, target: Address
    ) -> None:
        if not dead(source, target):
            real(sender, datagrams, source, target)

    lan.transmit = transmit  # type: ignore[method-assign]


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_ipv6", [False, True])
@pytest.mark.parametrize("moves", [0, 1])
@pytest.mark.parametrize("static", [None, [0], [1], [0, 1]])
async def test_a_peer_that_moves_is_the_same_peer_elsewhere(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    static: list[int] | None,
    moves: int,
    keeps_ipv6: bool,
) -> None:
    """Whoever of the two moves, dialed, or knows where the other is: with mDNS and without."""
    hosts, peers = await two(lan, party, tmp_path, static=static)
    moved, other = peers[moves], peers[1 - moves]
    new = ("10.0.77.7", hosts[moves].addresses[1] if keeps_ipv6 else "fd00::77")
    hosts[moves].change_addresses(*new)
    expected = {f"10.0.77.7:{limits.DEFAULT_PORT}", f"[{new[1]}]:{limits.DEFAULT_PORT}"}
    await until(
        lambda: set(shown(other, moved.peer_id).addresses) == expected and talks_to(other, new),
        within=MOVED_S,
    )
    assert set(moved.listen) == expected | {"127.0.0.1:7373", "[::1]:7373"}
    assert moved.status().listen == moved.listen
    await trio.sleep(100)
    for peer, another in ((moved, other), (other, moved)):
        assert [view.peer_id for view in peer.peers()] == [another.peer_id]
        assert peer.peers()[0].state is PeerState.CONNECTED
        assert peer.statistics().connections == 1
    assert lost(*peers) == 0


async def test_a_dialer_that_moves_keeps_its_connection(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path, static=[0])
    (before,) = ben.sessions.all()
    hosts[0].change_addresses("10.0.77.7")
    await until(lambda: talks_to(ben, ("10.0.77.7",)), within=limits.ADDRESS_CHECK_S + 0.5)
    await trio.sleep(100)
    assert ben.sessions.all() == [before]
    assert before.alive
    assert connected(anna)


@pytest.mark.parametrize("moves", [0, 1])
async def test_a_download_goes_on_through_a_move(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path, moves: int
) -> None:
    write_game(tmp_path / "a", "Quake", large_game())
    lan.set_default_link(Link(bytes_per_s=300_000.0))
    hosts, (_, ben) = await two(lan, party, tmp_path)
    await until(lambda: offering(ben, "Quake"))
    events = Events(ben)
    await begin(ben, "Quake")
    await until(lambda: done_bytes(ben, "Quake") > 500_000)
    hosts[moves].change_addresses("10.0.77.7")
    assert (await events.wait_for(*END, within=60)).type == "download.finished"
    assert read_game(tmp_path / "b", "Quake") == large_game()
    assert lost(ben) == 0


async def test_addresses_that_come_and_go_all_day_leave_eight_at_most(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    for number in range(1, 30):
        hosts[0].change_addresses(f"10.0.77.{number}", *(f"fd00::{number}:{n}" for n in range(9)))
        await trio.sleep(10)
        assert len(shown(ben, anna.peer_id).addresses) <= limits.MAX_ADDRESSES_PER_PEER
    record = ben.directory.get(anna.peer_id)
    assert record is not None
    assert str(record.addresses[0].host).startswith(("10.0.77.29", "fd00::29"))
    assert connected(ben) == {anna.peer_id}
    assert lost(anna, ben) == 0


async def test_eight_addresses_that_are_gone_do_not_hide_the_new_one(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("a", ["10.0.1.1", *(f"fd00::1:{number}" for number in range(7))])
    anna = await party.start(host, tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: connected(ben))
    await party.kill(host)
    await until(lambda: shown(ben, anna.peer_id).state is PeerState.LOST)
    host.come_back()
    host.change_addresses("10.0.77.7")
    anna = await party.start(host, tmp_path / "a")
    # It is heard, and cannot dial itself: the others must find it where it is now.
    forbid_dialing(anna)
    await until(lambda: connected(ben) == {anna.peer_id}, within=15)


async def test_a_list_without_a_usable_address_takes_none_away(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    _, (anna, ben) = await two(lan, party, tmp_path)
    before = shown(ben, anna.peer_id).addresses
    anna.sessions.tell(m.ListenAddrs(peer_id=anna.peer_id, listen_addrs=("127.0.0.1:1", "x")))
    await trio.sleep(5)
    assert shown(ben, anna.peer_id).addresses == before
    assert connected(ben)


async def test_addresses_of_somebody_else_end_the_session(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    _, (anna, ben) = await two(lan, party, tmp_path)
    events = Events(ben)
    anna.sessions.tell(m.ListenAddrs(peer_id=ben.peer_id, listen_addrs=()))
    reason = (await events.wait_for("peer.lost", within=2)).data["reason"]
    assert reason == "protocol_error: addresses of somebody else"


async def test_a_machine_without_a_network_tells_nobody_of_loopback(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """A cable that is pulled takes the addresses along, and is plugged in a moment later."""
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    addresses, before = hosts[0].addresses, shown(ben, anna.peer_id).addresses
    hosts[0].unplug()
    hosts[0].change_addresses()
    await trio.sleep(20)
    hosts[0].change_addresses(*addresses)
    hosts[0].plug_in()
    await until(lambda: talks_to(ben, addresses), within=MOVED_S)
    # The record that named loopback has been replaced by then.
    await trio.sleep(limits.ADDRESS_CHECK_S + 1)
    assert set(shown(ben, anna.peer_id).addresses) == set(before)
    assert lost(anna, ben) == 0


# -- sleep ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("static", [None, [0], [1]])
async def test_a_long_sleep_ends_in_new_sessions(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    static: list[int] | None,
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path, static=static)
    # Ben gave Anna up while she slept, and what he said of it did not reach her.
    hosts[0].unplug()
    for session in ben.sessions.all():
        session.close(m.CLOSE_STALE, "nothing was heard for too long")
    await trio.sleep(1)
    assert not connected(ben)
    hosts[0].plug_in()
    hosts[0].suspend_clock.sleep_machine(8 * 3_600)
    await until(lambda: connected(anna) and connected(ben), within=AWAKE_S)
    await until(lambda: talks_to(anna, hosts[1].addresses), within=AWAKE_S)
    # Whoever slept never saw the other go.
    assert lost(anna) == 0
    await trio.sleep(60)
    assert anna.statistics().connections == ben.statistics().connections == 1


async def test_a_short_sleep_changes_nothing(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    before = (anna.sessions.all(), ben.sessions.all(), kinds(anna), kinds(ben))
    for _ in range(5):
        hosts[0].suspend_clock.sleep_machine(20)
        await trio.sleep(20)
    assert (anna.sessions.all(), ben.sessions.all(), kinds(anna), kinds(ben)) == before


async def test_who_left_while_we_slept_is_given_up_soon(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    await party.kill(hosts[1])
    hosts[0].suspend_clock.sleep_machine(3_600)
    events = Events(anna)
    await events.wait_for("peer.lost", within=limits.SUSPEND_CHECK_S + limits.WAKE_GRACE_S + 1)
    assert shown(anna, ben.peer_id).state is PeerState.LOST


async def test_after_a_sleep_the_dead_are_dialed_at_once_and_then_ever_less(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts, (anna, _) = await two(lan, party, tmp_path, static=[0])
    await party.kill(hosts[1])
    await trio.sleep(3_600)
    dials = count_dials(anna)
    hosts[0].suspend_clock.sleep_machine(3_600)
    await trio.sleep(limits.SUSPEND_CHECK_S + 1)
    assert dials
    await trio.sleep(2 * 3_600)
    late = [at for at in dials if at > trio.current_time() - 3_600]
    # Each time at both addresses that it once had.
    assert len(late) <= 2 * 6


# -- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved_at_all", [True, False])
async def test_one_path_dies_and_another_works(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path, moved_at_all: bool
) -> None:
    hosts, (anna, ben) = await two(lan, party, tmp_path)
    host = anna.sessions.all()[0].connection.remote_address.host
    kind = ":" in host
    cut(lan, lambda source, target: (":" in target.host) == kind)
    if moved_at_all:
        # Something changed at one side too, so it need not wait for a silence.
        hosts[0].change_addresses(*hosts[0].addresses, "10.0.77.7")
    in_time = MOVED_S if moved_at_all else limits.IDLE_PING_S + limits.PING_ANSWER_S + 3.0
    alive = [one.addresses[0 if kind else 1] for one in hosts]
    await until(lambda: talks_to(anna, alive) and talks_to(ben, alive), within=in_time)
    assert lost(anna, ben) == 0


@pytest.mark.parametrize("seconds", [5, 20, 40])
async def test_a_split_shorter_than_the_stale_timeout_is_no_loss(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path, seconds: int
) -> None:
    """Both sides doubt, and both dial: one connection is left, and nobody was told of a loss."""
    hosts, peers = await two(lan, party, tmp_path)
    lan.partition([hosts[0]], [hosts[1]])
    await trio.sleep(seconds)
    assert all(connected(peer) for peer in peers)
    lan.heal()
    await until(lambda: talks_to(peers[0], hosts[1].addresses), within=20)
    await trio.sleep(60)
    assert [peer.statistics().connections for peer in peers] == [1, 1]
    assert lost(*peers) == 0


async def test_an_old_connection_that_ends_before_the_new_one_is_there_is_no_loss(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    _, (anna, ben) = await two(lan, party, tmp_path)
    # The close and the HelloAck of the new one travel apart: the close may be first.
    ben.sessions.all()[0].close(m.CLOSE_REPLACED, "another connection stays")
    await trio.sleep(5)
    assert connected(anna) == {ben.peer_id}
    assert lost(anna) == 0


async def test_who_says_that_another_connection_stays_and_has_none_is_lost(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    _, (anna, ben) = await two(lan, party, tmp_path)
    events = Events(anna)
    forbid_dialing(ben)
    ben.sessions.all()[0].close(m.CLOSE_REPLACED, "another connection stays")
    lost_event = await events.wait_for("peer.lost", within=limits.OVERTAKEN_S + 0.5)
    assert lost_event.data["reason"].startswith("replaced")


@pytest.mark.parametrize("static", [None, [1]])
@pytest.mark.parametrize("deaf", [0, 1])
async def test_a_path_that_works_one_way_makes_no_storm(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    deaf: int,
    static: list[int] | None,
) -> None:
    hosts, peers = await two(lan, party, tmp_path, static=static)
    real = lan.reachable

    def reachable(sender: VirtualHost, receiver: VirtualHost) -> bool:
        return receiver is not hosts[deaf] and real(sender, receiver)

    lan.reachable = reachable  # type: ignore[method-assign]
    before = [kinds(peer) for peer in peers]
    dials = [count_dials(peer) for peer in peers]
    await trio.sleep(limits.STALE_TIMEOUT_S + 2 * limits.IDLE_PING_S)
    for peer in peers:
        assert peer.peers()[0].state in (PeerState.LOST, PeerState.CONNECTING)
    await trio.sleep(3_600)
    for peer, then, dialed in zip(peers, before, dials, strict=True):
        told = kinds(peer) - then
        assert told["peer.lost"] == 1
        assert told["peer.connected"] == 0
        # Each dial may be told twice: that it is tried, and that it failed.
        assert told.total() <= 60
        assert len(dialed) <= 80
    lan.reachable = real  # type: ignore[method-assign]
    lan.heal()
    await until(lambda: all(connected(p) for p in peers), within=1.25 * limits.DIAL_BACKOFF_MAX_S)
